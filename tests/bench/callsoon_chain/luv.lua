-- Each callback is an idle handle's: luv has no queue of functions.
local uv = require "luv"

local ops = tonumber(arg[1])
local left, idle, began = ops, uv.new_idle(), os.clock()

local function step()
  left = left - 1
  if left > 0 then return end
  idle:close()
  print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
end

idle:start(step)
uv.run()
