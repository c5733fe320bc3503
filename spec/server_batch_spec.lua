-- A server takes no more connections in one turn than its backlog holds, so that many of them at
-- once do not hold up what else there is.

local lh = require "loophost"
local support = require "spec.support"

it("connections that wait together are taken a backlog at a time", support.in_real_task(function()
  local turn, began = 0, {}
  local ticker = lh.create_task(function()
    while true do
      turn = turn + 1
      lh.sleep(0)
    end
  end)
  local server <close> = assert(lh.start_server(function(stream)
    began[#began + 1] = turn
    stream:close()
  end, "127.0.0.1", 0, { backlog = 1 }))
  local connecting = {}
  for i = 1, 2 do connecting[i] = lh.create_task(lh.open_connection, server:getsockname()) end
  lh.sleep(0) -- both have begun; the kernel keeps them, and the server has not looked yet
  for _, task in ipairs(connecting) do lh.await(task):close() end
  while #began < 2 do lh.sleep(0) end
  ticker:cancel()
  assert.is_true(began[2] > began[1], began[1] .. " and " .. began[2])
end, { within = 20 }))
