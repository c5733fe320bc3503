local uv = require "luv"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local rounds, timers, began = ops // size, {}, os.clock()

local function nothing() end

for _ = 1, rounds do
  for i = 1, size do
    local timer = uv.new_timer()
    timer:start(3600000 + i * 7919 % 1000003, 0, nothing)
    timers[i] = timer
  end
  for i = 1, size do timers[i]:close() end
  uv.run() -- closing ends in the loop
end
print(("ops=%d cpu_ns=%.0f"):format(rounds * size, (os.clock() - began) * 1e9))
