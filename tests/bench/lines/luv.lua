-- A coroutine for each connection, over luv's callbacks.
local uv = require "luv"

local function serve(client)
  local co, buffer = coroutine.running(), ""
  client:read_start(function(_, data) assert(coroutine.resume(co, data)) end)
  while true do
    local line, rest = buffer:match "^([^\n]*)\n(.*)$"
    if line then
      buffer = rest
      client:write { line, "\n" }
    else
      local data = coroutine.yield()
      if not data then break end
      buffer = buffer .. data
    end
  end
  client:close()
end

local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(128, function(err)
  assert(not err, err)
  local client = uv.new_tcp()
  server:accept(client)
  client:nodelay(true)
  coroutine.wrap(serve)(client)
end)
print("port=" .. server:getsockname().port)
io.stdout:flush()
uv.run()
