local socket = require "socket"

local server = socket.tcp_server("127.0.0.1", 0, function(client)
  client:setsockopt("tcp", "TCP_NODELAY", true)
  while true do
    client:readable()
    local data = client:sysread(65536)
    if not data or data == "" then break end
    client:write(data)
  end
end)
print("port=" .. server:name().port)
io.stdout:flush()
