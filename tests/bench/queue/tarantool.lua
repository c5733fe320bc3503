local fiber = require "fiber"

local ops = tonumber(arg[1])
local channel, began = fiber.channel(1), os.clock()

fiber.new(function()
  for i = 1, ops do channel:put(i) end
end)
for _ = 1, ops do channel:get() end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
os.exit(0)
