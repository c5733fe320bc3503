local fiber = require "fiber"

local ops = tonumber(arg[1])
local left, done, began = ops, fiber.cond(), os.clock()

local function step()
  left = left - 1
  if left > 0 then fiber.new(step) else done:signal() end
end

fiber.new(step)
done:wait()
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
os.exit(0)
