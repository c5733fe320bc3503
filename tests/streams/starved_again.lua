-- A server that runs out of descriptors says so once each time: again, once it had taken all
-- who waited.
-- descriptors: 40

local lh = require "loophost"

local held <close> = lh.timeout(60)
local reports = {}
lh.get_event_loop():set_exception_handler(function(_, context)
  reports[#reports + 1] = context.message
end)

local server = assert(lh.start_server(function(stream)
  stream:write "served"
  stream:close()
end, "127.0.0.1", 0))

for episode = 1, 3 do
  local connecting = {}
  for i = 1, 3 do
    connecting[i] = lh.create_task(lh.open_connection, server:getsockname())
  end
  lh.sleep(0) -- they have their sockets, and the server has not looked yet
  local files = {}
  repeat
    local file = io.open "/dev/null"
    files[#files + 1] = file
  until not file
  while #reports < episode do lh.sleep(0.001) end
  lh.sleep(0.25) -- it tries again meanwhile, and says nothing
  for _, file in ipairs(files) do file:close() end
  collectgarbage()
  for _, task in ipairs(connecting) do
    local stream = assert(lh.await(task))
    assert(stream:read "a" == "served")
    stream:close()
  end
  assert(#reports == episode, ("%d reports"):format(#reports))
  assert(reports[episode]:find("EMFILE", 1, true), reports[episode])
end
server:close()
server:wait_closed()
