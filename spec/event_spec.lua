-- Event: a flag that many may wait for.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

describe("Event", function()
  it("is unset when it is new", function()
    assert.is_false(lh.Event():is_set())
  end)

  it("wakes its waiters in order, after one who found it set", in_task(function()
    local event, woken = lh.Event(), expect.log()
    local function waiter(n)
      if event:wait() then woken(n) end
    end
    local t1, t2 = lh.create_task(waiter, 1), lh.create_task(waiter, 2)
    turns(1)
    assert.equal("", line(woken))

    local t3 = lh.create_task(waiter, 3)
    event:set()
    turns(1)
    assert.equal("3 1 2", line(woken))
    for _, t in ipairs { t1, t2, t3 } do
      assert.is_true(t:done())
      assert.is_nil(t:result())
    end
  end))

  it("answers true to a wait, at once when it is set", in_task(function()
    local event, other_ran = lh.Event(), false
    event:set()
    lh.create_task(function() other_ran = true end)
    assert.is_true(event:wait())
    assert.is_false(other_ran)
  end))

  it("answers true to a wait that had to wait", in_task(function()
    local event = lh.Event()
    lh.get_running_loop():call_later(1, event.set, event)
    assert.is_true(event:wait())
  end))

  it("forgets a waiter that is cancelled", in_task(function()
    local event = lh.Event()
    local waiter = lh.create_task(event.wait, event)
    lh.get_running_loop():call_soon(waiter.cancel, waiter)
    cancelled(waiter)
    event:set()
    turns(2)
    assert.is_true(waiter:cancelled())
  end))

  it("can be cleared, set and cleared again", function()
    local event = lh.Event()
    assert.is_false(event:is_set())
    event:set()
    assert.is_true(event:is_set())
    event:set()
    assert.is_true(event:is_set())
    event:clear()
    assert.is_false(event:is_set())
    event:clear()
    assert.is_false(event:is_set())
  end)

  it("wakes those who waited at the set, even if it is cleared at once", in_task(function()
    local event, woken = lh.Event(), expect.log()
    local waiter = lh.create_task(function()
      if event:wait() then woken(1) end
      return true
    end)
    turns(1)
    assert.equal("", line(woken))

    event:set()
    event:clear()
    assert.is_false(event:is_set())
    event:set()
    event:set()
    turns(1)
    assert.equal("1", line(woken))
    assert.is_true(waiter:done())
    assert.is_true(waiter:result())
  end))

  it("lets nobody through after a clear", in_task(function()
    local event = lh.Event()
    event:set()
    event:clear()
    raises(lh.TimeoutError, lh.wait_for, function() return event:wait() end, 1)
  end))

  it("lets one task wait for it again and again", in_task(function()
    local event, rounds = lh.Event(), 0
    local task = lh.create_task(function()
      for _ = 1, 3 do
        event:wait()
        event:clear()
        rounds = rounds + 1
      end
    end)
    for n = 1, 3 do
      turns(1)
      event:set()
      turns(1)
      assert.equal(n, rounds)
    end
    lh.await(task)
  end))
end)
