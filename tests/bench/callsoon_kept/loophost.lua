-- A callback that schedules itself and keeps the handle, which it could cancel. Arguments: calls.
local lh = require "loophost"

local ops = tonumber(arg[1])
local loop, left, began, handle = lh.get_event_loop(), ops, os.clock(), nil

local function step()
  left = left - 1
  if left > 0 then
    handle = loop:call_soon(step)
  else
    assert(not handle:cancelled())
    print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
  end
end

loop:call_soon(step)
