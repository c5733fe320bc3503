-- A queue of one place between two tasks. Arguments: items.
local lh = require "loophost"

local ops = tonumber(arg[1])
local queue, began = lh.Queue(1), os.clock()

lh.create_task(function()
  for i = 1, ops do queue:put(i) end
end)

for _ = 1, ops do queue:get() end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
