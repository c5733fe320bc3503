-- A server whose connections have nothing to say.
local lh = require "loophost"

local server = assert(lh.start_server(function(stream)
  stream:readline()
end, "127.0.0.1", 0, { backlog = 1024 }))
print("port=" .. select(2, server:getsockname()))
io.stdout:flush()
server:serve_forever()
