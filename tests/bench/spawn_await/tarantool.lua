local fiber = require "fiber"

local ops, began = tonumber(arg[1]), os.clock()

local function work() end

for _ = 1, ops do
  local task = fiber.new(work)
  task:set_joinable(true)
  task:join()
end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
os.exit(0)
