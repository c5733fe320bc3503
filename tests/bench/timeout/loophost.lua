-- wait_for around a wait for a future that the next turn settles. Arguments: waits.
local lh = require "loophost"

local ops = tonumber(arg[1])
local loop, wait_for, began = lh.get_event_loop(), lh.wait_for, os.clock()

for i = 1, ops do
  local future = loop:create_future()
  loop:call_soon(future.set_result, future, i)
  wait_for(future, 30)
end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
