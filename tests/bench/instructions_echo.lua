-- A server and a client that echo in one process, so that its instructions are those of both.
-- Arguments: messages.
local lh = require "loophost"

local ops = tonumber(arg[1])
local message = ("x"):rep(64)

local server <close> = assert(lh.start_server(function(stream)
  while true do
    local data = stream:read(65536)
    if not data then break end
    stream:write(data)
  end
  stream:close()
end, "127.0.0.1", 0))

local stream <close> = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
for _ = 1, ops do
  stream:write(message)
  stream:readexactly(#message)
end
