-- A server that sends each line back.
local lh = require "loophost"

local server = assert(lh.start_server(function(stream)
  while true do
    local line = stream:readline()
    if not line then break end
    stream:write(line, "\n")
  end
end, "127.0.0.1", 0))
print("port=" .. select(2, server:getsockname()))
io.stdout:flush()
server:serve_forever()
