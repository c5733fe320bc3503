-- A server that sends back what it gets.
local lh = require "loophost"

local server = assert(lh.start_server(function(stream)
  while true do
    local data = stream:read(65536)
    if not data then break end
    stream:write(data)
  end
end, "127.0.0.1", 0))
print("port=" .. select(2, server:getsockname()))
io.stdout:flush()
server:serve_forever()
