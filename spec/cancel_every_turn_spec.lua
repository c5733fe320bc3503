-- For every primitive: cancel a waiter at every turn around its wake-up, and see that
-- nothing was lost and nobody is stuck.
--
-- A scenario starts a victim that waits, and mostly an heir that waits behind it. Then it
-- calls try(victim, wake): that wakes the victim and cancels it `offset` turns later
-- (0: in the same turn; -1: in the same turn, but before; -2: one turn before ...), and says
-- what became of it, and whether the cancellation came before the wake-up. Whatever it was,
-- the scenario then finds everything accounted for. Who is stuck shows
-- as a DeadlockError, since time is virtual, or as a task that is left over at the end.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, line = expect.in_task, expect.turns, expect.raises, expect.line

local FIRST, LAST = -3, 10
local SETTLE = 5 -- turns until everybody waits, or has gone

-- What became of a task: "finished", "cancelled" or "failed".
local function outcome_of(task)
  lh.wait { task }
  if task:cancelled() then return "cancelled" end
  return task:exception() == nil and "finished" or "failed"
end

local function attempt(offset, cancels)
  return function(victim, wake)
    local accepted
    turns(SETTLE)
    if offset < 0 then
      accepted = victim:cancel()
      turns(-offset - 1)
      wake()
    else
      wake()
      turns(offset)
      accepted = victim:cancel()
    end
    for _ = 2, cancels do
      turns(1)
      victim:cancel()
    end
    local outcome = outcome_of(victim)
    if accepted then
      assert.equal("cancelled", outcome) -- a cancellation is never swallowed
    end
    if offset == LAST then
      assert.is_false(accepted) -- else there are turns left that were not tried
    end
    turns(SETTLE)
    return outcome, offset < 0
  end
end

local function when(offset)
  if offset > 0 then return ("%d turns after its wake-up"):format(offset) end
  if offset == 0 then return "in the turn of its wake-up" end
  if offset == -1 then return "just before its wake-up" end
  return ("%d turns before its wake-up"):format(-offset - 1)
end

local function scenario(name, body)
  describe("A waiter of " .. name .. " that is cancelled", function()
    for offset = FIRST, LAST do
      it(when(offset) .. " loses nothing", function()
        for cancels = 1, 2 do
          in_task(function()
            body(attempt(offset, cancels))
            turns(SETTLE)
            assert.equal(1, #lh.all_tasks()) -- only this one is left
          end)()
        end
      end)
    end
  end)
end

-- A future that is ready when `seconds` have passed, in the same turn as, but before,
-- whatever is scheduled for that time afterwards.
local function alarm(seconds)
  local future = lh.get_running_loop():create_future()
  lh.get_running_loop():call_later(seconds, future.set_result, future)
  return future
end

-- Runs fn, which ends with an error of `class`, or is cancelled; then goes on for some turns.
local function survive(class, fn)
  local ok, err = lh.pcall(fn)
  if not ok and not lh.iserror(err, class) then error(err, 0) end
  turns(2)
end

-- Tasks that wait for the event, and then return their number.
local function children(event, n)
  local tasks = {}
  for i = 1, n do
    tasks[i] = lh.create_task(function()
      event:wait()
      return i
    end)
  end
  return tasks
end

scenario("sleep", function(try)
  local loop = lh.get_running_loop()
  local start, over = loop:time(), alarm(1)
  local victim = lh.create_task(function()
    lh.sleep(1)
    turns(2)
  end)
  try(victim, function() lh.await(over) end)
  assert.is_true(loop:time() - start < 1.001)
end)

scenario("a future", function(try)
  local future = lh.get_running_loop():create_future()
  local victim = lh.create_task(function()
    assert.equal("value", lh.await(future))
    turns(2)
  end)
  local _, before = try(victim, function()
    if not future:done() then future:set_result("value") end
  end)
  assert.equal(before, future:cancelled())
end)

scenario("a task", function(try)
  local event = lh.Event()
  local inner = children(event, 1)[1]
  local victim = lh.create_task(function()
    assert.equal(1, lh.await(inner))
    turns(2)
  end)
  local _, before = try(victim, function() event:set() end)
  assert.is_true(inner:done())
  if before then assert.is_true(inner:cancelled()) end
end)

scenario("a Lock", function(try)
  local lock = lh.Lock()
  local function owner()
    local _ <close> = lock:acquire()
    turns(2)
  end
  lock:acquire()
  local victim, heir = lh.create_task(owner), lh.create_task(owner)
  try(victim, function() lock:release() end)
  lh.await(heir)
  assert.is_false(lock:locked())
end)

scenario("an Event", function(try)
  local event = lh.Event()
  local victim = lh.create_task(function()
    event:wait()
    turns(2)
  end)
  local heir = lh.create_task(event.wait, event)
  try(victim, function()
    event:set()
    event:clear()
  end)
  assert.is_true(lh.await(heir))
end)

-- The stock is what a notification stands for: whoever leaves without it must pass it on.
local function condition_scenario(wake_up)
  return function(try)
    local cond, stock, taken = lh.Condition(), 0, 0
    local function consumer()
      local _ <close> = cond:acquire()
      cond:wait_for(function() return stock > 0 end)
      stock, taken = stock - 1, taken + 1
      turns(2)
    end
    local function supply()
      cond:acquire()
      stock = stock + 1
      wake_up(cond)
    end
    local victim, heir = lh.create_task(consumer), lh.create_task(consumer)
    try(victim, supply)
    if taken == 1 and not heir:done() then
      turns(SETTLE)
      if not heir:done() then supply() end
    end
    lh.await(heir)
    assert.equal(0, stock)
    turns(SETTLE)
    assert.is_false(cond:locked())
  end
end

scenario("a Condition", condition_scenario(function(cond)
  cond:notify()
  cond:release()
end))

scenario("a Condition whose lock is kept for a while", condition_scenario(function(cond)
  cond:notify()
  lh.create_task(function()
    turns(3)
    cond:release()
  end)
end))

scenario("a Condition that notifies all", condition_scenario(function(cond)
  cond:notify_all()
  cond:release()
end))

local function semaphore_scenario(class, permits, waiters)
  return function(try)
    local sem = lh[class](permits)
    for _ = 1, permits do sem:acquire() end
    local function user()
      local _ <close> = sem:acquire()
      turns(2)
    end
    local victim, heirs = lh.create_task(user), {}
    for i = 1, waiters do heirs[i] = lh.create_task(user) end
    try(victim, function()
      for _ = 1, permits do sem:release() end
    end)
    for _, heir in ipairs(heirs) do lh.await(heir) end
    for _ = 1, permits do
      assert.is_false(sem:locked())
      sem:acquire()
    end
    assert.is_true(sem:locked())
  end
end

scenario("a Semaphore", semaphore_scenario("Semaphore", 1, 1))
scenario("a Semaphore with two permits", semaphore_scenario("Semaphore", 2, 3))
scenario("a BoundedSemaphore", semaphore_scenario("BoundedSemaphore", 1, 2))

scenario("a Barrier", function(try)
  local barrier, parties = lh.Barrier(3), {}
  local function start() parties[#parties + 1] = lh.create_task(barrier.wait, barrier) end
  local victim = lh.create_task(function()
    barrier:wait()
    turns(2)
  end)
  start()
  try(victim, start)
  if barrier:n_waiting() > 0 then -- the victim left too early
    assert.equal(2, barrier:n_waiting())
    start()
  end
  for _, party in ipairs(parties) do lh.await(party) end
  assert.equal(0, barrier:n_waiting())
  assert.is_false(barrier:broken())
  local again = function() return barrier:wait() end
  local indices = lh.gather(again, again, again)
  table.sort(indices)
  assert.equal("0 1 2", line(indices))
end)

for _, verb in ipairs { "reset", "abort" } do
  scenario("a Barrier at its " .. verb, function(try)
    local barrier = lh.Barrier(3)
    local function party()
      survive(lh.BrokenBarrierError, function() barrier:wait() end)
    end
    local victim, other = lh.create_task(party), lh.create_task(party)
    try(victim, function() barrier[verb](barrier) end)
    lh.await(other)
    assert.equal(0, barrier:n_waiting())
    assert.equal(verb == "abort", barrier:broken())
    barrier:reset()
    lh.gather(party, party, party)
    assert.equal(0, barrier:n_waiting())
  end)
end

-- `get` is how the victim gets an item of the queue.
local function get_scenario(class, get)
  return function(try)
    local q, victims, heirs = lh[class](), expect.log(), expect.log()
    local victim = lh.create_task(function()
      victims(get(q))
      turns(2)
    end)
    local heir = lh.create_task(function() heirs(q:get()) end)
    try(victim, function() q:put_nowait("first") end)
    if victims.n == 1 then q:put_nowait("second") end
    lh.await(heir)
    assert.equal(victims.n == 1 and "first" or "", line(victims))
    assert.equal(victims.n == 1 and "second" or "first", line(heirs))
    assert.is_true(q:empty())
    q:put_nowait("third")
    assert.equal("third", q:get())
  end
end

local function put_scenario(class)
  return function(try)
    local q, put = lh[class](1), false
    q:put_nowait("a")
    local victim = lh.create_task(function()
      q:put("b")
      put = true
      turns(2)
    end)
    local heir = lh.create_task(q.put, q, "c")
    try(victim, function() assert.equal("a", q:get_nowait()) end)
    local items = expect.log()
    for _ = 1, put and 2 or 1 do items(q:get()) end
    lh.await(heir)
    assert.equal(put and "b c" or "c", line(items))
    assert.is_true(q:empty())
    q:put("d")
    assert.is_true(q:full())
  end
end

for _, class in ipairs { "Queue", "LifoQueue", "PriorityQueue" } do
  scenario("get of a " .. class, get_scenario(class, function(q) return q:get() end))
  scenario("put of a " .. class, put_scenario(class))

  scenario("join of a " .. class, function(try)
    local q = lh[class]()
    q:put_nowait(1)
    q:get_nowait()
    local victim = lh.create_task(function()
      q:join()
      turns(2)
    end)
    local heir = lh.create_task(q.join, q)
    try(victim, function() q:task_done() end)
    lh.await(heir)
  end)

  scenario("get of a " .. class .. " at its shutdown", function(try)
    local q = lh[class]()
    local victim = lh.create_task(survive, lh.QueueShutDown, function() q:get() end)
    local heir = lh.create_task(q.get, q)
    try(victim, function() q:shutdown() end)
    raises(lh.QueueShutDown, lh.await, heir)
  end)
end

scenario("gather of futures", function(try)
  local loop = lh.get_running_loop()
  local a, b = loop:create_future(), loop:create_future()
  local victim = lh.create_task(function()
    local r = lh.gather(a, b)
    assert.equal("1 2", line(r))
    turns(2)
  end)
  local _, before = try(victim, function()
    for i, future in ipairs { a, b } do
      if not future:done() then future:set_result(i) end
    end
  end)
  assert.equal(before, a:cancelled())
  assert.equal(before, b:cancelled())
end)

for _, return_exceptions in ipairs { false, true } do
  scenario("gather with return_exceptions=" .. tostring(return_exceptions), function(try)
    local event = lh.Event()
    local tasks = children(event, 3)
    local victim = lh.create_task(function()
      local r = lh.gather(tasks, { return_exceptions = return_exceptions })
      assert.equal("1 2 3", line(r))
      turns(2)
    end)
    local _, before = try(victim, function() event:set() end)
    for _, task in ipairs(tasks) do
      assert.is_true(task:done())
      if before then assert.is_true(task:cancelled()) end
    end
  end)
end

for _, return_when in ipairs { "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION" } do
  scenario("wait for " .. return_when, function(try)
    local event = lh.Event()
    local tasks = children(event, 3)
    local victim = lh.create_task(function()
      lh.wait(tasks, { return_when = return_when, timeout = 100 })
      turns(2)
    end)
    try(victim, function() event:set() end)
    for i, task in ipairs(tasks) do assert.equal(i, lh.await(task)) end
  end)
end

scenario("as_completed", function(try)
  local event = lh.Event()
  local tasks = children(event, 3)
  local victim = lh.create_task(function()
    local seen = expect.log()
    for task in lh.as_completed(tasks, 100) do seen(lh.await(task)) end
    assert.equal("1 2 3", line(seen))
    turns(2)
  end)
  try(victim, function() event:set() end)
  for i, task in ipairs(tasks) do assert.equal(i, lh.await(task)) end
end)

scenario("shield", function(try)
  local event = lh.Event()
  local inner = children(event, 1)[1]
  local victim = lh.create_task(function()
    assert.equal(1, lh.shield(inner))
    turns(2)
  end)
  try(victim, function() event:set() end)
  assert.equal(1, lh.await(inner))
end)

scenario("wait_for with a future", function(try)
  local future = lh.get_running_loop():create_future()
  local victim = lh.create_task(function()
    assert.equal("value", lh.wait_for(future, 100))
    turns(2)
  end)
  local _, before = try(victim, function()
    if not future:done() then future:set_result("value") end
  end)
  assert.equal(before, future:cancelled())
end)

scenario("wait_for with the get of a Queue", get_scenario("Queue", function(q)
  return lh.wait_for(function() return q:get() end, 100)
end))

scenario("wait_for whose time is over", function(try)
  local over = alarm(1)
  local victim = lh.create_task(survive, lh.TimeoutError, function()
    lh.wait_for(function() lh.sleep(10) end, 1)
  end)
  try(victim, function() lh.await(over) end)
end)

scenario("a timeout that is over", function(try)
  local over = alarm(1)
  local victim = lh.create_task(survive, lh.TimeoutError, function()
    local _ <close> = lh.timeout(1)
    lh.sleep(10)
  end)
  try(victim, function() lh.await(over) end)
end)

scenario("two timeouts that are over", function(try)
  local over = alarm(1)
  local victim = lh.create_task(survive, lh.TimeoutError, function()
    local _ <close> = lh.timeout(1)
    local _ <close> = lh.timeout(1)
    lh.sleep(10)
  end)
  try(victim, function() lh.await(over) end)
end)

scenario("a TaskGroup", function(try)
  local event, finished = lh.Event(), 0
  local victim = lh.create_task(function()
    do
      local tg <close> = lh.TaskGroup()
      for _ = 1, 2 do
        tg:create_task(function()
          event:wait()
          finished = finished + 1
        end)
      end
    end
    assert.equal(2, finished)
    turns(2)
  end)
  try(victim, function() event:set() end)
end)

-- A group whose task has failed is not among these: as in CPython 3.11, its errors win
-- over a cancellation that comes while it closes.

scenario("a TaskGroup within a timeout that is over", function(try)
  local over = alarm(1)
  local victim = lh.create_task(survive, lh.TimeoutError, function()
    local _ <close> = lh.timeout(1)
    local tg <close> = lh.TaskGroup()
    tg:create_task(lh.sleep, 100)
    tg:create_task(lh.sleep, 100)
  end)
  try(victim, function() lh.await(over) end)
end)

describe("A cancelled wait", function()
  local waits = {
    sleep = function() lh.sleep(1000) end,
    timeout = function()
      local _ <close> = lh.timeout(1000)
      lh.await(lh.get_running_loop():create_future())
    end,
    wait_for = function() lh.wait_for(lh.get_running_loop():create_future(), 1000) end,
    wait = function()
      lh.wait({ lh.get_running_loop():create_future() }, { timeout = 1000 })
    end,
  }
  for name, wait in pairs(waits) do
    it("of " .. name .. " leaves no timer behind that would make time pass", function()
      local loop = lh.new_event_loop { clock = "virtual" }
      local start = loop:time()
      raises(lh.DeadlockError, loop.run_until_complete, loop, function()
        local task = lh.create_task(wait)
        turns(1)
        task:cancel()
        lh.await(loop:create_future()) -- for ever: the time of the deadlock is what we look at
      end)
      assert.is_true(loop:time() - start < 1000)
      loop:close()
    end)
  end
end)
