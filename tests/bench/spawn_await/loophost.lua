-- Tasks that are spawned and awaited, one after another. Arguments: tasks.
local lh = require "loophost"
local create_task, await = lh.create_task, lh.await

local ops = tonumber(arg[1])
local began = os.clock()

local function work() end

for _ = 1, ops do await(create_task(work)) end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
