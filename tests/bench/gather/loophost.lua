-- gather of many functions that wait once. Arguments: functions, how many at a time.
local lh = require "loophost"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local rounds, began = ops // size, os.clock()

local function work() lh.sleep(0) end

for _ = 1, rounds do
  local list = {}
  for i = 1, size do list[i] = work end
  lh.gather(list)
end
print(("ops=%d cpu_ns=%.0f"):format(rounds * size, (os.clock() - began) * 1e9))
