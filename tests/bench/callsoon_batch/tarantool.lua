local fiber = require "fiber"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local done, began = 0, os.clock()

local function step() done = done + 1 end

for _ = 1, math.floor(ops / size) do
  for _ = 1, size do fiber.new(step) end
  fiber.yield()
end
print(("ops=%d cpu_ns=%.0f"):format(done, (os.clock() - began) * 1e9))
os.exit(0)
