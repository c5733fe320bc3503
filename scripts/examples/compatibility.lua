-- The compatibility test: the names that an asyncio program begins with.
local lh = require "loophost"

local function fetch(name, delay)
  lh.sleep(delay)
  return name
end

lh.run(function()
  local task = lh.create_task(fetch, "task", 0.001)
  assert(lh.await(task) == "task")

  local results = lh.gather(lh.create_task(fetch, "a", 0.002), lh.create_task(fetch, "b", 0.001))
  assert(results.n == 2 and results[1] == "a" and results[2] == "b")

  assert(lh.wait_for(lh.create_task(fetch, "quick", 0.001), 1) == "quick")
  local ok, err = pcall(lh.wait_for, lh.create_task(fetch, "slow", 10), 0.001)
  assert(not ok and lh.iserror(err, lh.TimeoutError))

  assert(lh.sleep(0.001, "value") == "value")
end)
print("OK")
