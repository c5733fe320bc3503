-- An event that wakes many tasks, again and again. Arguments: wakes, tasks.
local lh = require "loophost"

local ops, tasks = tonumber(arg[1]), tonumber(arg[2])
local rounds, event, woken = ops // tasks, lh.Event(), 0

local function work()
  for _ = 1, rounds do
    event:wait()
    woken = woken + 1
  end
end

for _ = 1, tasks do lh.create_task(work) end
lh.sleep(0)
local began = os.clock()
for round = 1, rounds do
  event:set()
  event:clear()
  while woken < round * tasks do lh.sleep(0) end
end
print(("ops=%d cpu_ns=%.0f"):format(woken, (os.clock() - began) * 1e9))
