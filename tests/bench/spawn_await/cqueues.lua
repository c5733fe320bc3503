local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local ops = tonumber(arg[1])
local cq = cqueues.new()

local function work() end

cq:wrap(function()
  local began, ended = os.clock(), condition.new()
  for _ = 1, ops do
    cq:wrap(function()
      work()
      ended:signal()
    end)
    ended:wait()
  end
  print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
end)
assert(cq:loop())
