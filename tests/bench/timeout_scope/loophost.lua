-- A timeout's block around a wait for a future that the next turn settles. Arguments: waits.
local lh = require "loophost"

local ops = tonumber(arg[1])
local loop, await, timeout, began = lh.get_event_loop(), lh.await, lh.timeout, os.clock()

for i = 1, ops do
  local _ <close> = timeout(30)
  local future = loop:create_future()
  loop:call_soon(future.set_result, future, i)
  await(future)
end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
