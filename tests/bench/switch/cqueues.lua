local cqueues = require "cqueues"
local sleep = cqueues.sleep

local ops, count = tonumber(arg[1]), tonumber(arg[2])
local each, cq = ops // count, cqueues.new()

local function work()
  for _ = 1, each do sleep(0) end
end

for _ = 1, count do cq:wrap(work) end
local began = os.clock()
assert(cq:loop())
print(("ops=%d cpu_ns=%.0f"):format(each * count, (os.clock() - began) * 1e9))
