local socket = require "socket"

local server = socket.tcp_server("127.0.0.1", 0, function(client)
  client:setsockopt("tcp", "TCP_NODELAY", true)
  while true do
    local line = client:read "\n"
    if not line or line == "" then break end
    client:write(line)
  end
end)
print("port=" .. server:name().port)
io.stdout:flush()
