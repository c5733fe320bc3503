local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local ops, count = tonumber(arg[1]), tonumber(arg[2])
local rounds, event, woken, cq = ops // count, condition.new(), 0, cqueues.new()

for _ = 1, count do
  cq:wrap(function()
    for _ = 1, rounds do
      event:wait()
      woken = woken + 1
    end
  end)
end
cq:wrap(function()
  cqueues.sleep(0)
  local began = os.clock()
  for round = 1, rounds do
    event:signal()
    while woken < round * count do cqueues.sleep(0) end
  end
  print(("ops=%d cpu_ns=%.0f"):format(woken, (os.clock() - began) * 1e9))
end)
assert(cq:loop())
