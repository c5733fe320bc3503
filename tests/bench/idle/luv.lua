-- A coroutine for each connection, over luv's callbacks.
local uv = require "luv"

local function serve(client)
  local co = coroutine.running()
  client:read_start(function(_, data) assert(coroutine.resume(co, data)) end)
  coroutine.yield()
  client:close()
end

local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(1024, function(err)
  assert(not err, err)
  local client = uv.new_tcp()
  server:accept(client)
  coroutine.wrap(serve)(client)
end)
print("port=" .. server:getsockname().port)
io.stdout:flush()
uv.run()
