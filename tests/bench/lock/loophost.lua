-- A lock that goes to and fro between two tasks. Arguments: hand-overs.
local lh = require "loophost"

local ops = tonumber(arg[1])
local lock, running, began = lh.Lock(), 2, os.clock()

local function work()
  for _ = 1, ops // 2 do
    lock:acquire()
    lh.sleep(0)
    lock:release()
  end
  running = running - 1
  if running > 0 then return end
  print(("ops=%d cpu_ns=%.0f"):format(ops // 2 * 2, (os.clock() - began) * 1e9))
end

lh.create_task(work)
lh.create_task(work)
