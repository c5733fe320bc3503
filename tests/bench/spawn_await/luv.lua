local uv, tasks = require "luv", require "luvtasks"

local ops = tonumber(arg[1])

local function work() end

tasks.spawn(function()
  local me, began = coroutine.running(), os.clock()
  for _ = 1, ops do
    tasks.spawn(function()
      work()
      tasks.soon(me)
    end)
    coroutine.yield()
  end
  print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
end)
uv.run()
