local fiber = require "fiber"

local ops, count = tonumber(arg[1]), tonumber(arg[2])
local rounds, event, woken = math.floor(ops / count), fiber.cond(), 0

local function work()
  for _ = 1, rounds do
    event:wait()
    woken = woken + 1
  end
end

for _ = 1, count do fiber.new(work) end
fiber.yield()
local began = os.clock()
for round = 1, rounds do
  event:broadcast()
  while woken < round * count do fiber.yield() end
end
print(("ops=%d cpu_ns=%.0f"):format(woken, (os.clock() - began) * 1e9))
os.exit(0)
