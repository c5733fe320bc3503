-- Tasks, futures and queues where memory runs out at each allocation in turn, on a loop that has
-- nothing in store: what fails says so, nobody is left waiting, nothing that was put is lost, and
-- the loop works afterwards.
-- preload: scarce

local lh = require "loophost"
local rawpcall, sleep = lh.rawpcall, lh.sleep -- to look them up first allocates

local library = os.getenv("LOOPHOST"):gsub("[^/]*$", "tests/preload/scarce.so")
local starve = assert(package.loadlib(library, "starve"))

local function turns(n)
  for _ = 1, n do sleep(0) end
end

-- ---- what is tried: by name, a function that runs in a task and returns what it has checked ----

local OPERATIONS = {}

function OPERATIONS.tasks()
  local tasks = {}
  for i = 1, 40 do
    tasks[i] = lh.create_task(function(...)
      sleep(0)
      return select("#", ...)
    end, table.unpack(tasks, 1, i % 12))
  end
  for i = 1, 40 do assert(lh.await(tasks[i]) == i % 12) end
end

OPERATIONS["tasks that end otherwise"] = function()
  local failed = lh.create_task(error, "on purpose")
  local unbegun, cancelled = lh.create_task(sleep, 5), lh.create_task(sleep, 5)
  unbegun:cancel "message"
  turns(1)
  cancelled:cancel "message"
  assert(not rawpcall(lh.await, failed))
  assert(not rawpcall(lh.await, unbegun))
  assert(not rawpcall(lh.await, cancelled))
end

OPERATIONS["cancelling with a message"] = function()
  local lock, held = lh.Lock(), false
  lock:acquire()
  local task = lh.create_task(function()
    lock:acquire()
    held = true
  end)
  turns(1)
  local ok, err = rawpcall(task.cancel, task, "message")
  turns(2)
  assert(not held and task:done() == ok) -- what was not cancelled waits still
  if not ok then task:cancel() end
  turns(2)
  assert(not held and task:done())
  if not ok then error(err, 0) end
end

function OPERATIONS.callbacks()
  local future, called = lh.get_running_loop():create_future(), 0
  local task = lh.create_task(lh.await, future)
  turns(1)
  for _ = 1, 20 do future:add_done_callback(function() called = called + 1 end) end
  local ok, err = rawpcall(future.set_result, future, 5)
  if not ok then future:set_result(5) end -- it was as if nothing had been tried
  assert(lh.await(task) == 5)
  turns(1)
  assert(called == 20)
  if not ok then error(err, 0) end
end

OPERATIONS["callbacks of a task"] = function()
  local task = lh.create_task(sleep, 0, 5)
  local awaiting = lh.create_task(lh.await, task)
  for _ = 1, 20 do task:add_done_callback(function() end) end
  assert(lh.await(awaiting) == 5)
end

function OPERATIONS.Queue()
  local q, put, got = lh.Queue(), 0, 0
  local function take_all()
    while not q:empty() do
      got = got + 1
      assert(q:get_nowait() == got)
    end
  end
  local ok, err = rawpcall(function()
    for round = 1, 3 do
      for _ = 1, 13 * round do
        q:put_nowait(put + 1)
        put = put + 1
      end
      for _ = 1, 7 do
        got = got + 1
        assert(q:get_nowait() == got)
      end
    end
  end)
  take_all()
  assert(put == got)
  if not ok then error(err, 0) end
end

function OPERATIONS.timeouts()
  local t <close> = lh.timeout(5)
  t:reschedule(lh.get_running_loop():time() + 7)
  assert(lh.wait_for(function() return sleep(0, 3) end, 5) == 3)
  local ok, err = rawpcall(lh.wait_for, function() sleep(5) end, 0.0001)
  assert(not ok)
  if not lh.iserror(err, "TimeoutError") then error(err, 0) end
end

-- Of calls whose handles nobody keeps, and timers, as many as no array of the loop's has room for.
OPERATIONS["statements of call_soon"] = function()
  local loop, scheduled, called = lh.get_running_loop(), 0, 0
  local function call() called = called + 1 end
  local ok, err = rawpcall(function()
    for _ = 1, 100 do
      loop:call_soon(call)
      scheduled = scheduled + 1
    end
  end)
  turns(1)
  assert(called == scheduled)
  if not ok then error(err, 0) end
end

function OPERATIONS.timers()
  local loop, last, scheduled, called = lh.get_running_loop(), nil, 0, 0
  local function call() called = called + 1 end
  local ok, err = rawpcall(function()
    for i = 1, 60 do
      last = i <= 50 and loop:call_later(i % 7 / 1e6, call) or
        loop:call_soon_with_priority(i % 7, call)
      scheduled = scheduled + 1
    end
  end)
  if last then last:cancel() end
  local slept = rawpcall(sleep, 0.001)
  if not slept then sleep(0.001) end
  assert(called == scheduled - (last and 1 or 0))
  if not ok then error(err, 0) end
end

-- ---- trying ----

-- Runs it where the n-th allocation fails: whether it works, or why not; how often it allocated.
local function attempt(operation, n)
  local loop, hung = lh.new_event_loop(), false
  loop:set_exception_handler(function() end)
  loop:call_later(10, function()
    hung = true
    for _, task in ipairs(lh.all_tasks(loop)) do task:cancel() end
  end)
  starve(n)
  local works, why = rawpcall(loop.run_until_complete, loop, operation)
  local used = starve(0)
  assert(not hung, "somebody waits for ever")
  for _, task in ipairs(lh.all_tasks(loop)) do
    task:traceback()
    task:cancel()
  end
  for _ = 1, 2 do rawpcall(loop.run_until_complete, loop, function() turns(5) end) end
  assert(#lh.all_tasks(loop) == 0)
  loop:close()
  return works, tostring(why), used
end

for name, operation in pairs(OPERATIONS) do
  assert(attempt(operation, 1000000000)) -- what is loaded when first needed is
  local n, failed = 0, 0
  repeat
    n = n + 1
    local works, why, used = attempt(operation, n)
    if not works then failed = failed + 1 end
    assert(works or why:find "not enough memory", ("%s, allocation %d: %s"):format(name, n, why))
  until used < n
  print(("  %-24s failed at %d of %d allocations"):format(name, failed, n - 1))
end
