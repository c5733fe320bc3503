local uv, tasks = require "luv", require "luvtasks"
local yield = tasks.yield

local ops, count = tonumber(arg[1]), tonumber(arg[2])
local each, running, began = ops // count, count, nil

local function work()
  for _ = 1, each do yield() end
  running = running - 1
  if running > 0 then return end
  print(("ops=%d cpu_ns=%.0f"):format(each * count, (os.clock() - began) * 1e9))
end

for _ = 1, count do tasks.spawn(work) end
began = os.clock()
uv.run()
