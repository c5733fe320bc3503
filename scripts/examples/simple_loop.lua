-- SimpleEventLoop, Task and Sleep: a ready queue, a heap of timers, and coroutines that
-- yield what they wait for to the step of their task.
local lh = require "loophost"
local loop = lh.new_event_loop { clock = "virtual" } -- sleeps cost no real time

local function worker(name, delay)
  for i = 1, 3 do
    print(("[%.1f] %s: step %d"):format(loop:time(), name, i))
    coroutine.yield(lh.Sleep(delay)) -- the same wait as lh.sleep(delay)
  end
  return name .. " is done"
end

local a = loop:create_task(worker, "A", 0.5)
local b = loop:create_task(coroutine.create(worker), "B", 0.2)
print(loop:run_until_complete(a), a:done(), b:done())
print(b:result())

-- A value that means nothing to the loop: the task goes on in the next turn.
print(loop:run_until_complete(function()
  coroutine.yield("what is this?")
  coroutine.yield()
  return "went on"
end))

-- An error is the task's result, and is raised where that is asked for.
local failing = loop:create_task(function()
  lh.sleep(1)
  error({ code = 42 })
end)
local ok, err = pcall(loop.run_until_complete, loop, failing)
print(ok, err.code, failing:exception() == err)

-- run_forever ends with stop(), after the turn under way.
loop:call_later(2, function()
  print(("[%.1f] stopping"):format(loop:time()))
  loop:stop()
  loop:call_soon(print, "this belongs to the next turn")
end)
loop:run_forever()
print("stopped")

-- A loop stopped early leaves its future without a result, and says so.
loop:call_soon(loop.stop, loop)
print(pcall(loop.run_until_complete, loop, loop:create_future()))

-- With nothing left that could ever wake it, a loop does not block for ever.
ok, err = pcall(loop.run_until_complete, loop, loop:create_future())
print(ok, lh.iserror(err, lh.DeadlockError))
loop:close()
