-- Tasks that sleep(0) in turn. Arguments: switches, tasks.
local lh = require "loophost"
local sleep = lh.sleep

local ops, tasks = tonumber(arg[1]), tonumber(arg[2])
local each, running, began = ops // tasks, tasks, nil

local function work()
  for _ = 1, each do sleep(0) end
  running = running - 1
  if running > 0 then return end
  print(("ops=%d cpu_ns=%.0f"):format(each * tasks, (os.clock() - began) * 1e9))
end

for _ = 1, tasks do lh.create_task(work) end
began = os.clock()
