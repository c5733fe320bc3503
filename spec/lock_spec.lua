-- Lock: one owner at a time, and those who wait get it in the order in which they asked.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

describe("Lock", function()
  it("is free when it is new, and can be made outside any loop", function()
    local lock = lh.Lock()
    assert.is_false(lock:locked())
  end)

  it("goes from hand to hand in the order in which it was asked for", in_task(function()
    local lock, got = lh.Lock(), expect.log()
    local function taker(n)
      lock:acquire()
      got(n)
      return true
    end
    lock:acquire()
    local t1, t2 = lh.create_task(taker, 1), lh.create_task(taker, 2)
    turns(1)
    assert.equal("", line(got))

    lock:release()
    turns(1)
    assert.equal("1", line(got))
    turns(1)
    assert.equal("1", line(got))

    local t3 = lh.create_task(taker, 3)
    lock:release()
    turns(1)
    assert.equal("1 2", line(got))
    lock:release()
    turns(1)
    assert.equal("1 2 3", line(got))
    for _, t in ipairs { t1, t2, t3 } do
      assert.is_true(t:done())
      assert.is_true(t:result())
    end
  end))

  it("is returned by its own acquire", in_task(function()
    local lock = lh.Lock()
    assert.equal(lock, lock:acquire())
  end))

  it("is not itself something to await", in_task(function()
    local lock = lh.Lock()
    raises("bad argument #1", lh.await, lock)
    assert.is_false(lock:locked())
  end))

  it("is taken without a turn passing when nobody holds it", in_task(function()
    local lock, other_ran = lh.Lock(), false
    lh.create_task(function() other_ran = true end)
    lock:acquire()
    assert.is_false(other_ran)
  end))

  it("is not taken by a waiter that is cancelled", in_task(function()
    local lock = lh.Lock()
    lock:acquire()
    local waiter = lh.create_task(lock.acquire, lock)
    lh.get_running_loop():call_soon(waiter.cancel, waiter)
    cancelled(waiter)
    assert.is_true(lock:locked())
    lock:release()
    assert.is_false(lock:locked())
  end))

  it("passes over a waiter cancelled in the very turn of the release", in_task(function()
    local lock = lh.Lock()
    local gate = lh.get_running_loop():create_future()
    local function hold(blocker)
      local _ <close> = lock:acquire()
      if blocker then lh.await(blocker) end
    end
    local a = lh.create_task(hold, gate)
    turns(1)
    assert.is_true(lock:locked())
    local b = lh.create_task(hold)
    turns(1)
    local c = lh.create_task(hold)
    turns(1)

    gate:set_result()
    b:cancel()
    turns(1)
    assert.is_true(a:done())
    assert.is_true(b:cancelled())
    lh.await(c)
    assert.is_false(lock:locked())
  end))

  it("is handed to one waiter only when cancel and release come together", in_task(function()
    local lock, takes, calls = lh.Lock(), 0, 0
    local function take()
      calls = calls + 1
      lock:acquire()
      takes = takes + 1
    end
    lock:acquire()
    local t1 = lh.create_task(take)
    local t2 = lh.create_task(take)
    local t3 = lh.create_task(take)
    turns(1)
    lh.get_running_loop():call_soon(function()
      t1:cancel()
      lock:release()
    end)
    cancelled(t1)
    assert.equal(1, takes)
    assert.equal(3, calls)
    assert.is_true(t2:done())
    assert.is_false(t3:done())

    t3:cancel()
    turns(1)
    assert.is_true(t3:cancelled())
  end))

  it("wakes the second waiter when the first was woken and cancelled at once", in_task(function()
    local lock = lh.Lock()
    lock:acquire()
    local first = lh.create_task(lock.acquire, lock)
    turns(1)
    local second = lh.create_task(lock.acquire, lock)
    first:cancel()
    lock:release()
    turns(1)
    assert.is_true(lock:locked())
    assert.is_true(first:cancelled())
    lh.await(second)
  end))

  it("says so when it is released and nobody holds it", function()
    raises("Lock is not acquired.", function() lh.Lock():release() end)
  end)

  it("is free after a release that nobody waited for", in_task(function()
    local lock = lh.Lock()
    lock:acquire()
    assert.is_true(lock:locked())
    lock:release()
    assert.is_false(lock:locked())
  end))

  it("is released at the end of the block that closes it", in_task(function()
    local lock = lh.Lock()
    do
      local _ <close> = lock:acquire()
      assert.is_true(lock:locked())
    end
    assert.is_false(lock:locked())
  end))

  it("is released when an error leaves the block", in_task(function()
    local lock = lh.Lock()
    raises("broken body", function()
      local _ <close> = lock:acquire()
      error("broken body")
    end)
    assert.is_false(lock:locked())
  end))

  it("is released when a cancelled owner unwinds", in_task(function()
    local lock = lh.Lock()
    local owner = lh.create_task(function()
      local _ <close> = lock:acquire()
      lh.sleep(100)
    end)
    turns(1)
    assert.is_true(lock:locked())
    owner:cancel()
    cancelled(owner)
    assert.is_false(lock:locked())
  end))

  it("does not let its last owner overtake those who wait", in_task(function()
    local lock, got = lh.Lock(), expect.log()
    lock:acquire()
    local waiter = lh.create_task(function()
      local _ <close> = lock:acquire()
      got("waiter")
    end)
    turns(1)
    lock:release()
    lock:acquire()
    got("owner again")
    lock:release()
    lh.await(waiter)
    assert.equal("waiter owner again", line(got))
  end))

  it("serves a hundred takers one after another", in_task(function()
    local lock, inside, worst, order = lh.Lock(), 0, 0, {}
    local tasks = {}
    for i = 1, 100 do
      tasks[i] = lh.create_task(function()
        local _ <close> = lock:acquire()
        inside = inside + 1
        worst = math.max(worst, inside)
        lh.sleep(0.001)
        order[#order + 1] = i
        inside = inside - 1
      end)
    end
    lh.gather(tasks)
    assert.equal(1, worst)
    for i = 1, 100 do assert.equal(i, order[i]) end
  end))

  it("can be waited for with a time-out, and the waiter leaves no trace", in_task(function()
    local lock = lh.Lock()
    lock:acquire()
    raises(lh.TimeoutError, lh.wait_for, function() return lock:acquire() end, 0.5)
    lock:release()
    assert.is_false(lock:locked())
    assert.equal(lock, lock:acquire())
  end))
end)
