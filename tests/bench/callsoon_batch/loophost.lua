-- Batches of callbacks. Arguments: calls, how many are in a batch.
local lh = require "loophost"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local loop, rounds, done, began = lh.get_event_loop(), ops // size, 0, os.clock()

local function step() done = done + 1 end

for _ = 1, rounds do
  for _ = 1, size do loop:call_soon(step) end
  lh.sleep(0)
end
assert(done == rounds * size)
print(("ops=%d cpu_ns=%.0f"):format(done, (os.clock() - began) * 1e9))
