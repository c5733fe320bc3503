-- Semaphore and BoundedSemaphore: a count of permits, handed out first come first served.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

-- A task that takes a permit, writes its number down and keeps the permit.
local function taker(sem, log, n)
  return lh.create_task(function()
    sem:acquire()
    log(n)
    return true
  end)
end

for _, class in ipairs { "Semaphore", "BoundedSemaphore" } do
  describe(class, function()
    local new = lh[class]

    it("with no permits is locked from the start", function()
      assert.is_true(new(0):locked())
    end)

    it("has one permit unless told otherwise", in_task(function()
      local sem = new()
      assert.is_false(sem:locked())
      sem:acquire()
      assert.is_true(sem:locked())
    end))

    it("refuses a negative number of permits", function()
      raises("bad argument #1", new, -1)
    end)

    it("refuses a number of permits that is no number", function()
      raises("bad argument #1", new, {})
    end)

    it("is not itself something to await", in_task(function()
      local sem = new()
      raises("bad argument #1", lh.await, sem)
      assert.is_false(sem:locked())
    end))

    it("is returned by its acquire, and takes the permit back when closed", in_task(function()
      local sem = new(1)
      do
        local held <close> = sem:acquire()
        assert.equal(sem, held)
        assert.is_true(sem:locked())
      end
      assert.is_false(sem:locked())
    end))

    it("gives the permit back when an error leaves the block", in_task(function()
      local sem = new(1)
      raises("broken body", function()
        local _ <close> = sem:acquire()
        error("broken body")
      end)
      assert.is_false(sem:locked())
    end))

    it("forgets a waiter that is cancelled", in_task(function()
      local sem = new()
      sem:acquire()
      local waiter = lh.create_task(sem.acquire, sem)
      lh.get_running_loop():call_soon(waiter.cancel, waiter)
      cancelled(waiter)
      sem:release()
      assert.is_false(sem:locked())
    end))

    it("is free after a release that nobody waited for", in_task(function()
      local sem = new()
      sem:acquire()
      assert.is_true(sem:locked())
      sem:release()
      assert.is_false(sem:locked())
    end))

    it("is not stuck when a waiter is cancelled just as a permit comes back", in_task(function()
      local sem = new(1)
      local second
      local first = lh.create_task(function()
        do
          local _ <close> = sem:acquire()
          turns(1)
        end
        second:cancel()
      end)
      second = lh.create_task(function()
        local _ <close> = sem:acquire()
        error("the cancelled waiter got in")
      end)
      local r = lh.gather({ first, second }, { return_exceptions = true })
      assert.is_nil(r[1])
      assert.is_true(lh.iserror(r[2], lh.CancelledError))
      lh.wait_for(function() return sem:acquire() end, 1)
    end))

    it("alternates fairly between tasks that take and give back", in_task(function()
      local sem, log = new(1), expect.log()
      local function worker(name)
        for round = 1, 2 do
          sem:acquire()
          log(name .. round)
          lh.sleep(0.01)
          sem:release()
        end
      end
      do
        local tg <close> = lh.TaskGroup()
        for _, name in ipairs { "a", "b", "c" } do tg:create_task(worker, name) end
      end
      assert.equal("a1 b1 c1 a2 b2 c2", line(log))
    end))

    it("never lets more in than it has permits", in_task(function()
      local sem, inside, worst, served = new(3), 0, 0, 0
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = lh.create_task(function()
          local _ <close> = sem:acquire()
          inside = inside + 1
          worst = math.max(worst, inside)
          lh.sleep(1)
          inside, served = inside - 1, served + 1
        end)
      end
      local before = lh.get_running_loop():time()
      lh.gather(tasks)
      assert.equal(3, worst)
      assert.equal(20, served)
      assert.is_true(math.abs(lh.get_running_loop():time() - before - 7) < 1e-6)
    end))
  end)
end

describe("Semaphore", function()
  it("hands released permits to the first who wait", in_task(function()
    local sem, log = lh.Semaphore(3), expect.log()
    sem:acquire()
    sem:acquire()
    assert.is_false(sem:locked())
    local t1, t2, t3 = taker(sem, log, 1), taker(sem, log, 2), taker(sem, log, 3)
    turns(1)
    assert.equal("1", line(log))
    assert.is_true(sem:locked())

    local t4 = taker(sem, log, 4)
    sem:release()
    sem:release()
    turns(1)
    assert.equal("1 2 3", line(log))
    assert.is_true(sem:locked())
    assert.is_true(t1:result() and t2:result() and t3:result())
    assert.is_false(t4:done())

    sem:release()
    lh.gather(t2, t3, t4)
    assert.equal("1 2 3 4", line(log))
  end))

  it("gives the permit to the first waiter that is still there", in_task(function()
    local sem = lh.Semaphore(0)
    local t = {}
    for i = 1, 4 do t[i] = lh.create_task(sem.acquire, sem) end
    turns(1)
    t[1]:cancel()
    t[2]:cancel()
    sem:release()
    turns(2)
    assert.is_true(t[3]:done())
    assert.is_false(t[3]:cancelled())
    assert.is_false(t[4]:done())
    t[4]:cancel()
    turns(1)
    assert.is_true(t[4]:cancelled())
  end))

  it("wakes the second waiter when the first was cancelled before the release", in_task(function()
    local sem = lh.Semaphore(0)
    local t1 = lh.create_task(sem.acquire, sem)
    local t2 = lh.create_task(sem.acquire, sem)
    turns(1)
    t1:cancel()
    sem:release()
    turns(2)
    assert.is_true(sem:locked())
    assert.is_true(t2:done())
    assert.is_false(t2:cancelled())
  end))

  it("passes a permit on when its receiver is cancelled before it could run", in_task(function()
    local sem = lh.Semaphore(0)
    local t1 = lh.create_task(sem.acquire, sem)
    local t2 = lh.create_task(sem.acquire, sem)
    turns(1)
    sem:release()
    t1:cancel()
    turns(2)
    assert.is_true(t1:cancelled())
    assert.is_true(t2:done())
  end))

  it("puts a task that comes back behind those who wait already", in_task(function()
    local sem, log = lh.Semaphore(1), expect.log()
    local t1 = taker(sem, log, 1)
    local t2 = lh.create_task(function()
      sem:acquire()
      log(2)
      sem:release()
      sem:acquire()
      log(4)
    end)
    local t3 = taker(sem, log, 3)
    turns(1)
    sem:release()
    sem:release()
    lh.gather(t1, t2, t3)
    assert.equal("1 2 3 4", line(log))
  end))

  it("serves the others in order after the first was cancelled", in_task(function()
    local sem, log = lh.Semaphore(0), expect.log()
    local t1, t2, t3 = taker(sem, log, 1), taker(sem, log, 2), taker(sem, log, 3)
    turns(1)
    t1:cancel()
    turns(1)
    sem:release()
    sem:release()
    lh.gather({ t1, t2, t3 }, { return_exceptions = true })
    assert.equal("2 3", line(log))
  end))

  -- A case that came with CPython 3.13, where the order is 1 2 3 4; here it is 3.11's.
  it("wakes one after another those whom its permits allow", in_task(function()
    local sem, log, t4 = lh.Semaphore(0), expect.log(), nil
    local t1 = lh.create_task(function()
      sem:acquire()
      t4 = lh.create_task(function() log(4) end)
      log(1)
    end)
    local t2 = lh.create_task(function()
      for _ = 1, 3 do sem:release() end
      assert.is_true(sem:locked()) -- t1 was promised a permit and comes first
      sem:acquire()
      log(2)
    end)
    local t3 = taker(sem, log, 3)
    lh.gather(t1, t2, t3)
    assert.is_true(t4:done())
    assert.equal("1 2 4 3", line(log))
  end))

  it("can be released above the number that it began with", in_task(function()
    local sem = lh.Semaphore(0)
    sem:release()
    sem:release()
    sem:acquire()
    sem:acquire()
    assert.is_true(sem:locked())
  end))

  it("makes a newcomer wait while one who was woken has not run yet", in_task(function()
    local sem, log = lh.Semaphore(0), expect.log()
    local first = taker(sem, log, "first")
    turns(1)
    sem:release()
    local newcomer = taker(sem, log, "newcomer")
    sem:release()
    lh.gather(first, newcomer)
    assert.equal("first newcomer", line(log))
  end))
end)

describe("BoundedSemaphore", function()
  it("refuses to be released more often than it was acquired", in_task(function()
    raises("BoundedSemaphore released too many times", function()
      lh.BoundedSemaphore():release()
    end)
    local sem = lh.BoundedSemaphore(2)
    sem:acquire()
    sem:release()
    raises("BoundedSemaphore released too many times", sem.release, sem)
    sem:acquire()
    sem:acquire()
    assert.is_true(sem:locked())
  end))
end)
