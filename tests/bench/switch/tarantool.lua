local fiber = require "fiber"
local yield = fiber.yield

local ops, count = tonumber(arg[1]), tonumber(arg[2])
local each, running, done = math.floor(ops / count), count, fiber.cond()

local function work()
  for _ = 1, each do yield() end
  running = running - 1
  if running == 0 then done:signal() end
end

for _ = 1, count do fiber.new(work) end
local began = os.clock()
done:wait()
print(("ops=%d cpu_ns=%.0f"):format(each * count, (os.clock() - began) * 1e9))
os.exit(0)
