-- Condition: tasks that hold a lock wait until another one tells them that something changed.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

-- A task that waits once and writes its number down; `keep`s the lock or gives it back.
local function waiter(cond, log, n, keep)
  return lh.create_task(function()
    cond:acquire()
    if cond:wait() then
      log(n)
      if not keep then cond:release() end
    end
    return true
  end)
end

local function notify(cond, n)
  cond:acquire()
  cond:notify(n)
  cond:release()
end

describe("Condition", function()
  it("wakes a notified waiter only when the lock is free again", in_task(function()
    local cond, log = lh.Condition(), expect.log()
    local tasks = {}
    for n = 1, 3 do tasks[n] = waiter(cond, log, n, true) end
    turns(1)
    assert.equal("", line(log))
    assert.is_false(cond:locked())

    cond:acquire()
    cond:notify()
    turns(1)
    assert.equal("", line(log))
    assert.is_true(cond:locked())
    cond:release()
    turns(1)
    assert.equal("1", line(log))
    assert.is_true(cond:locked())

    cond:notify(2)
    turns(1)
    assert.equal("1", line(log))
    cond:release()
    turns(1)
    assert.equal("1 2", line(log))
    assert.is_true(cond:locked())
    cond:release()
    turns(1)
    assert.equal("1 2 3", line(log))
    assert.is_true(cond:locked())
    for _, t in ipairs(tasks) do assert.is_true(t:result()) end
  end))

  it("is returned by its own acquire", in_task(function()
    local cond = lh.Condition()
    assert.equal(cond, cond:acquire())
  end))

  it("has the lock again when a cancelled wait ends", in_task(function()
    local cond = lh.Condition()
    cond:acquire()
    local wait = lh.create_task(cond.wait, cond)
    lh.get_running_loop():call_soon(wait.cancel, wait)
    cancelled(wait)
    assert.is_true(cond:locked())
    cond:notify() -- there is nobody left to hear it
    cond:release()
    assert.is_false(cond:locked())
  end))

  it("holds the lock after a cancelled wait that had to contend for it", in_task(function()
    local cond = lh.Condition()
    cond:acquire()
    local wait = lh.create_task(cond.wait, cond)
    turns(1)
    assert.is_false(cond:locked())

    cond:acquire()
    cond:notify()
    local loop = lh.get_running_loop()
    loop:call_soon(wait.cancel, wait)
    loop:call_soon(cond.release, cond)
    lh.rawpcall(lh.await, wait)
    assert.is_true(cond:locked())
  end))

  it("cancels a notified waiter only once it has the lock again", in_task(function()
    local cond, entered = lh.Condition(), false
    local task = lh.create_task(function()
      local _ <close> = cond:acquire()
      entered = true
      cond:wait()
    end)
    turns(1)
    cond:acquire()
    cond:notify()
    turns(1)
    task:cancel()
    turns(1)
    assert.is_false(task:done()) -- still without the lock
    cond:release()
    turns(1)
    assert.is_true(task:cancelled())
    assert.is_true(entered)
    assert.is_false(cond:locked())
  end))

  it("cannot be waited for without the lock", in_task(function()
    raises("cannot wait on un-acquired lock", function() lh.Condition():wait() end)
  end))

  it("waits on until the predicate holds", in_task(function()
    local cond, log, holds = lh.Condition(), expect.log(), false
    local task = lh.create_task(function()
      cond:acquire()
      if cond:wait_for(function() return holds end) then
        log(1)
        cond:release()
      end
      return true
    end)
    turns(1)
    assert.equal("", line(log))
    notify(cond)
    turns(1)
    assert.equal("", line(log))
    holds = true
    notify(cond)
    turns(1)
    assert.equal("1", line(log))
    assert.is_true(task:result())
  end))

  it("needs no lock for a predicate that holds, and returns what it said", in_task(function()
    local cond, said = lh.Condition(), { 1, 2, 3 }
    assert.equal(said, cond:wait_for(function() return said end))
    raises("cannot wait on un-acquired lock", cond.wait_for, cond, function() return false end)
  end))

  it("passes an error of the predicate on, with the lock held", in_task(function()
    local cond = lh.Condition()
    local _ <close> = cond:acquire()
    raises("no opinion", cond.wait_for, cond, function() error("no opinion") end)
    assert.is_true(cond:locked())
  end))

  it("notifies as many as were asked for, and no more than there are", in_task(function()
    local cond, log = lh.Condition(), expect.log()
    local tasks = {}
    for n = 1, 3 do tasks[n] = waiter(cond, log, n) end
    turns(1)
    assert.equal("", line(log))
    notify(cond, 1)
    turns(1)
    assert.equal("1", line(log))

    cond:acquire()
    cond:notify(1)
    cond:notify(2048)
    cond:release()
    turns(1)
    assert.equal("1 2 3", line(log))
    for _, t in ipairs(tasks) do assert.is_true(t:result()) end
  end))

  it("notifies one when no number is given", in_task(function()
    local cond, log = lh.Condition(), expect.log()
    for n = 1, 2 do waiter(cond, log, n) end
    turns(1)
    notify(cond)
    turns(3)
    assert.equal("1", line(log))
    notify(cond)
    turns(3)
    assert.equal("1 2", line(log))
  end))

  it("notifies everybody at once", in_task(function()
    local cond, log = lh.Condition(), expect.log()
    local t1, t2 = waiter(cond, log, 1), waiter(cond, log, 2)
    turns(1)
    assert.equal("", line(log))
    cond:acquire()
    cond:notify_all()
    cond:release()
    turns(1)
    assert.equal("1 2", line(log))
    assert.is_true(t1:result() and t2:result())
  end))

  it("does not wake a task that begins to wait after the notification", in_task(function()
    local cond, log = lh.Condition(), expect.log()
    notify(cond, 5)
    local late = waiter(cond, log, "late")
    turns(5)
    assert.equal("", line(log))
    notify(cond)
    lh.await(late)
  end))

  it("cannot be notified without the lock", function()
    raises("cannot notify on un-acquired lock", function() lh.Condition():notify() end)
    raises("cannot notify on un-acquired lock", function() lh.Condition():notify_all() end)
  end)

  it("releases the lock at the end of the block that closes it", in_task(function()
    local cond = lh.Condition()
    assert.is_false(cond:locked())
    do
      local _ <close> = cond:acquire()
      assert.is_true(cond:locked())
    end
    assert.is_false(cond:locked())
  end))

  it("shares the lock that it was given", in_task(function()
    local lock = lh.Lock()
    local cond = lh.Condition(lock)
    do
      local _ <close> = cond:acquire()
      assert.is_true(lock:locked())
      assert.is_true(cond:locked())
    end
    assert.is_false(lock:locked())
    do
      local _ <close> = lock:acquire()
      assert.is_true(lock:locked())
      assert.is_true(cond:locked())
    end
    assert.is_false(cond:locked())
  end))

  it("lets two conditions wait on one lock", in_task(function()
    local lock, log = lh.Lock(), expect.log()
    local full, empty = lh.Condition(lock), lh.Condition(lock)
    waiter(full, log, "full")
    waiter(empty, log, "empty")
    turns(1)
    notify(empty)
    turns(2)
    assert.equal("empty", line(log))
    notify(full)
    turns(2)
    assert.equal("empty full", line(log))
  end))

  it("refuses a lock that is none", function()
    raises("bad argument #1", lh.Condition, 42)
  end)

  it("says when it is released and nobody holds it", function()
    raises("Lock is not acquired.", function() lh.Condition():release() end)
  end)

  it("lets a time-out end the wait inside the block", in_task(function()
    local cond = lh.Condition()
    do
      local _ <close> = cond:acquire()
      raises(lh.TimeoutError, lh.wait_for, function() return cond:wait() end, 0.5)
      assert.is_true(cond:locked())
    end
    assert.is_false(cond:locked())
  end))

  describe("keeps the cancellation's own error", function()
    local function waiting_task(cond, state)
      return lh.create_task(function()
        local _ <close> = cond:acquire()
        state.seen = raises(lh.CancelledError, function()
          cond:wait_for(function() return state.wake end)
        end)
        error(state.seen, 0)
      end)
    end

    it("when it comes during the wait", in_task(function()
      local cond, state = lh.Condition(), { wake = false }
      local task = waiting_task(cond, state)
      turns(1)
      task:cancel("enough")
      local err = cancelled(task)
      assert.equal("enough", err.message)
      assert.equal("enough", state.seen.message)
      assert.equal(state.seen, err)
    end))

    it("when it comes while the lock is taken again", in_task(function()
      local cond, state = lh.Condition(), { wake = false }
      local task = waiting_task(cond, state)
      turns(1)
      cond:acquire()
      state.wake = true
      cond:notify()
      turns(1)
      task:cancel("enough")
      cond:release()
      local err = cancelled(task)
      assert.equal("enough", err.message)
      assert.equal(state.seen, err)
    end))
  end)

  -- CPython 3.13's cases (3.11 loses the notification): a waiter that was notified and is
  -- cancelled before it can act on that hands the notification to the next one.
  describe("does not lose a notification", function()
    local function consumers(cond, stock)
      local tasks = {}
      for i = 1, 2 do
        tasks[i] = lh.create_task(function()
          local _ <close> = cond:acquire()
          while true do
            cond:wait_for(function() return stock.n ~= 0 end)
            if stock.n < 0 then return end
            stock.n = stock.n - 1
          end
        end)
      end
      return tasks
    end

    local function check(turns_until_cancel)
      local cond, stock = lh.Condition(), { n = 0 }
      local tasks = consumers(cond, stock)
      turns(1)
      do
        local _ <close> = cond:acquire()
        stock.n = stock.n + 1
        cond:notify(1)
        turns(turns_until_cancel)
        tasks[1]:cancel()
        lh.pcall(lh.wait_for, function() -- nobody will notify us: time is to pass
          return cond:wait_for(function() return stock.n == 0 end)
        end, 0.01)
        assert.equal(0, stock.n)
        stock.n = -1
        cond:notify_all()
      end
      lh.await(tasks[2])
      assert.is_true(tasks[1]:cancelled())
    end

    it("when its receiver is cancelled as it wakes", in_task(function()
      check(0)
    end))

    it("when its receiver is cancelled while it takes the lock again", in_task(function()
      check(1)
    end))
  end)
end)
