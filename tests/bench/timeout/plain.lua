-- A wait for a future that the next turn settles: the limit of the same with a timeout.
-- Arguments: waits.
local lh = require "loophost"

local ops = tonumber(arg[1])
local loop, await, began = lh.get_event_loop(), lh.await, os.clock()

for i = 1, ops do
  local future = loop:create_future()
  loop:call_soon(future.set_result, future, i)
  await(future)
end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
