-- A callback that schedules itself. Arguments: calls.
local lh = require "loophost"

local ops = tonumber(arg[1])
local loop, left, began = lh.get_event_loop(), ops, os.clock()

local function step()
  left = left - 1
  if left > 0 then
    loop:call_soon(step)
  else
    print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
  end
end

loop:call_soon(step)
