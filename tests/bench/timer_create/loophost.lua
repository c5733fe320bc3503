-- Timers that are created, all of them, and then cancelled. Arguments: timers, how many at once.
local lh = require "loophost"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local loop, rounds, handles, began = lh.get_event_loop(), ops // size, {}, os.clock()

local function nothing() end

for _ = 1, rounds do
  for i = 1, size do handles[i] = loop:call_later(3600 + i * 7919 % 1000003 / 1000, nothing) end
  for i = 1, size do handles[i]:cancel() end
end
print(("ops=%d cpu_ns=%.0f"):format(rounds * size, (os.clock() - began) * 1e9))
