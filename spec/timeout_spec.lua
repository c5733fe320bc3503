-- timeout, timeout_at: a block with a deadline. Who runs over it is cancelled, and the
-- block, not the caller's code, turns that cancellation into a TimeoutError.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled =
  expect.in_task, expect.turns, expect.raises, expect.cancelled
local finally = support.finally

local function now() return lh.get_running_loop():time() end

-- A test whose subject is the real clock.
local function in_real_time(fn)
  return function()
    local loop = lh.new_event_loop { clock = "monotonic" }
    local _ <close> = finally(function() loop:close() end)
    loop:run_until_complete(fn)
  end
end

local function busy(seconds)
  local loop = lh.get_running_loop()
  local stop = loop:time() + seconds
  while loop:time() < stop do end -- the point is that nothing else can run
end

describe("timeout", function()
  it("is told by the trace of its loop", in_task(function()
    local loop = lh.get_running_loop()
    loop:set_trace(true)
    lh.timeout(5)
    loop:set_trace(false)
    local events = {}
    for i, entry in ipairs(loop:get_trace()) do events[i] = entry.event end
    assert.same({ "call_at" }, events)
  end))

  it("raises TimeoutError when the block takes too long", in_task(function()
    local t, before = nil, now()
    raises(lh.TimeoutError, function()
      t = lh.timeout(0.01)
      local _ <close> = t
      lh.sleep(10)
    end)
    assert.is_true(t:expired())
    assert.is_true(math.abs(now() - before - 0.01) < 1e-6)
  end))

  it("can be given as a point in time", in_task(function()
    local t, deadline = nil, now() + 0.01
    raises(lh.TimeoutError, function()
      t = lh.timeout_at(deadline)
      local _ <close> = t
      lh.sleep(10)
    end)
    assert.is_true(t:expired())
    assert.equal(deadline, t:when())
    assert.is_true(now() >= deadline)
  end))

  it("is seen as a cancellation by the code inside", in_task(function()
    local inside
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(0.01)
      inside = raises(lh.CancelledError, lh.sleep, 10)
      error(inside, 0)
    end)
    assert.is_true(lh.iserror(inside, lh.CancelledError))
  end))

  it("does nothing when the block ends in time", in_task(function()
    local t
    do
      local block <close> = lh.timeout(10)
      t = block
      lh.sleep(0.01)
    end
    assert.is_false(t:expired())
    assert.is_true(t:when() > now())
  end))

  it("goes on when the script has dropped it without closing it", in_task(function()
    lh.timeout(0.5)
    collectgarbage()
    collectgarbage()
    local ok, err = lh.rawpcall(lh.sleep, 1)
    assert.is_false(ok)
    assert.is_true(lh.iserror(err, "CancelledError"))
    lh.current_task():uncancel()
  end))

  it("goes on when the coroutine whose block it is was dropped", in_task(function()
    local step = lh.coroutine.wrap(function()
      lh.wait_for(function() lh.coroutine.yield "inside" end, 0.2)
    end)
    assert.equal("inside", step())
    step = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    local ok, err = lh.rawpcall(lh.sleep, 1)
    assert.is_false(ok)
    assert.is_true(lh.iserror(err, "CancelledError"))
    lh.current_task():uncancel()
  end))

  it("is harmless to a loop that was closed under it", function()
    local loop = lh.new_event_loop { clock = "virtual" }
    local task, block
    loop:run_until_complete(function()
      task = lh.create_task(function()
        block = lh.timeout(100)
        lh.sleep(1000)
      end)
      lh.sleep(0.1)
    end)
    loop:close()
    assert.is_false(task:done())
    assert.is_false(block:expired())
    getmetatable(block).__close(block)
    assert.equal("<Timeout [finished]>", tostring(block))
  end)

  it("leaves no timer behind when the block ends in time", function()
    local loop = lh.new_event_loop { clock = "virtual" }
    local before = loop:time()
    loop:run_until_complete(function()
      do local _ <close> = lh.timeout(1000) end
      lh.sleep(1)
    end)
    assert.is_true(loop:time() - before < 2)
    loop:close()
  end)

  it("of nil is none", in_task(function()
    for _, new in ipairs { lh.timeout, lh.timeout_at } do
      local t
      do
        local block <close> = new(nil)
        t = block
        lh.sleep(0.01)
      end
      assert.is_false(t:expired())
      assert.same({ n = 1 }, table.pack(t:when())) -- a nil, not nothing
    end
  end))

  it("of zero expires at the first wait", in_task(function()
    local t, before = nil, now()
    raises(lh.TimeoutError, function()
      t = lh.timeout(0)
      local _ <close> = t
      lh.sleep(10)
    end)
    assert.is_true(t:expired())
    assert.is_true(before <= t:when() and t:when() <= now())
  end))

  it("of zero expires even if the wait is a single turn", in_task(function()
    local t
    raises(lh.TimeoutError, function()
      t = lh.timeout(0)
      local _ <close> = t
      lh.sleep(0)
    end)
    assert.is_true(t:expired())
  end))

  it("of zero lets a block pass that never waits", in_task(function()
    local t
    do
      local block <close> = lh.timeout(0)
      t = block
    end
    assert.is_false(t:expired())
    turns(3) -- and nothing comes afterwards
  end))

  it("in the past expires at the first wait", in_task(function()
    local t, before = nil, now()
    raises(lh.TimeoutError, function()
      t = lh.timeout(-11)
      local _ <close> = t
      lh.sleep(0)
    end)
    assert.is_true(t:expired())
    assert.is_true(before >= t:when())
  end))

  it("lets an error of the block pass", in_task(function()
    local t
    raises("broken body", function()
      t = lh.timeout(0.01)
      local _ <close> = t
      error("broken body")
    end)
    assert.is_false(t:expired())
  end))

  it("lets an error pass that the cleanup raises after the deadline", in_task(function()
    raises("broken cleanup", function()
      local _ <close> = lh.timeout(0.01)
      local _ <close> = finally(function() error("broken cleanup") end)
      lh.sleep(1)
    end)
  end))

  it("gives way to the errors of a group inside that was cut off", in_task(function()
    local group = raises(lh.ExceptionGroup, function()
      local _ <close> = lh.timeout(0.01)
      local tg <close> = lh.TaskGroup()
      tg:create_task(function()
        local _ <close> = finally(function() error("broken cleanup", 0) end)
        lh.sleep(2)
      end)
      lh.sleep(1)
    end)
    assert.same({ "broken cleanup" }, group.exceptions)
  end))

  it("lets a foreign cancellation pass", in_task(function()
    local t
    local task = lh.create_task(function()
      t = lh.timeout(10)
      local _ <close> = t
      lh.current_task():cancel()
      lh.sleep(10)
    end)
    cancelled(task)
    assert.is_false(t:expired())
  end))

  it("leaves the task that it cut off uncancelled", in_task(function()
    local task = lh.create_task(function()
      raises(lh.TimeoutError, function()
        local _ <close> = lh.timeout(0.001)
        lh.sleep(10)
      end)
      return lh.current_task():cancelling()
    end)
    assert.equal(0, lh.await(task))
    assert.is_false(task:cancelled())
  end))

  it("does not hide a cancellation that comes in the same turn", in_task(function()
    local task = lh.create_task(function()
      local _ <close> = lh.timeout(1)
      lh.sleep(10)
    end)
    turns(1)
    lh.get_running_loop():call_later(1, task.cancel, task)
    cancelled(task)
  end))

  it("is no error when the body caught the cancellation and came to its end", in_task(function()
    local t, value
    do
      local block <close> = lh.timeout(0.01)
      t = block
      raises(lh.CancelledError, lh.sleep, 1)
      value = "made it"
    end
    assert.equal("made it", value)
    assert.is_true(t:expired())
    assert.equal(0, lh.current_task():cancelling())
  end))

  it("works around a wait inside pcall, whose handler does not see it", in_task(function()
    local swallowed = false
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(0.01)
      lh.pcall(lh.sleep, 10)
      swallowed = true
    end)
    assert.is_false(swallowed)
  end))
end)

describe("nested timeouts", function()
  it("with one deadline raise TimeoutError at the outermost only", in_task(function()
    local outer, inner, seen
    local deadline = now() + 0.01
    raises(lh.TimeoutError, function()
      outer = lh.timeout_at(deadline)
      local _ <close> = outer
      seen = raises(lh.CancelledError, function()
        inner = lh.timeout_at(deadline)
        local _ <close> = inner
        lh.sleep(10)
      end)
      error(seen, 0)
    end)
    assert.is_true(outer:expired())
    assert.is_true(inner:expired())
  end))

  it("each stop at their own deadline", in_task(function()
    local before = now()
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(3)
      raises(lh.TimeoutError, function()
        local _ <close> = lh.timeout(1)
        lh.sleep(10)
      end)
      assert.is_true(math.abs(now() - before - 1) < 1e-6)
      lh.sleep(10)
    end)
    assert.is_true(math.abs(now() - before - 3) < 1e-6)
  end))

  it("let the outer one cut through the inner one", in_task(function()
    local inner
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(1)
      inner = lh.timeout(3)
      local _ <close> = inner
      lh.sleep(10)
    end)
    assert.is_false(inner:expired())
  end))

  it("with a busy loop raise at the outer one, once its deadline is over", in_real_time(function()
    local inner
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(0.002)
      inner = lh.timeout(0.1)
      local _ <close> = inner
      busy(0.01)
      lh.sleep(1)
    end)
    assert.is_false(inner:expired())
  end))

  it("with a busy loop stop the outer block, though both are over", in_real_time(function()
    local before, went_on = now(), false
    lh.get_running_loop().slow_callback_duration = 10
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(0.05)
      lh.pcall(function()
        local _ <close> = lh.timeout(0.01)
        busy(0.05)
        lh.sleep(1)
      end)
      lh.sleep(10)
      went_on = true
    end)
    assert.is_false(went_on)
    assert.is_true(now() - before < 1)
  end))

  it("give the cleanup after a deadline a deadline of its own", in_task(function()
    local before, cleaned = now(), false
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(0.01)
      local _ <close> = finally(function()
        raises(lh.TimeoutError, function()
          local _ <close> = lh.timeout(0.01)
          lh.sleep(10)
        end)
        cleaned = true
      end)
      lh.sleep(1)
    end)
    assert.is_true(cleaned)
    assert.is_true(math.abs(now() - before - 0.02) < 1e-6)
  end))
end)

describe("timeout in a task that was cancelled before", function()
  local function cancelled_once(fn)
    return in_task(function()
      lh.await(lh.create_task(function()
        lh.current_task():cancel()
        raises(lh.CancelledError, lh.sleep, 1)
        fn()
      end))
    end)
  end

  it("still raises TimeoutError", cancelled_once(function()
    raises(lh.TimeoutError, function()
      local _ <close> = lh.timeout(0)
      lh.sleep(1)
    end)
    assert.equal(1, lh.current_task():cancelling())
  end))

  it("still lets a new cancellation pass", cancelled_once(function()
    raises(lh.CancelledError, function()
      local _ <close> = lh.timeout(1)
      lh.current_task():cancel()
      lh.sleep(2)
    end)
  end))
end)

describe("reschedule", function()
  it("moves the deadline, or takes it away", in_task(function()
    local got = lh.get_running_loop():create_future()
    local deadline = now() + 10
    local task = lh.create_task(function()
      local t <close> = lh.timeout_at(deadline)
      got:set_result(t)
      lh.sleep(50)
    end)
    local t = lh.await(got)
    assert.equal(deadline, t:when())
    t:reschedule(deadline + 20)
    assert.equal(deadline + 20, t:when())
    t:reschedule(nil)
    assert.is_nil(t:when())
    task:cancel()
    cancelled(task)
    assert.is_false(t:expired())
  end))

  it("makes the block end earlier or later than it would have", in_task(function()
    for _, seconds in ipairs { 1, 20 } do
      local before = now()
      raises(lh.TimeoutError, function()
        local t <close> = lh.timeout(10)
        t:reschedule(now() + seconds)
        lh.sleep(50)
      end)
      assert.is_true(math.abs(now() - before - seconds) < 1e-6)
    end
  end))

  it("into the past ends the block at its next wait", in_task(function()
    local before = now()
    raises(lh.TimeoutError, function()
      local t <close> = lh.timeout(10)
      t:reschedule(now() - 1)
      lh.sleep(0)
    end)
    assert.equal(before, now())
  end))

  it("is refused after the block has ended", in_task(function()
    local t
    do
      local block <close> = lh.timeout(0.01)
      t = block
    end
    raises("finished", t.reschedule, t, 0.02)
  end))

  it("is refused after the block has run over", in_task(function()
    local t
    raises(lh.TimeoutError, function()
      t = lh.timeout(0.01)
      local _ <close> = t
      lh.sleep(1)
    end)
    raises("expired", t.reschedule, t, 0.02)
  end))

  it("is refused while the block is being cut off", in_task(function()
    local t <close> = lh.timeout(0.01)
    raises(lh.CancelledError, lh.sleep, 1)
    raises("expiring", t.reschedule, t, 0.02)
  end))
end)

describe("timeout misused", function()
  it("outside a task is refused", function()
    local loop = lh.new_event_loop { clock = "virtual" }
    local ok, err
    loop:call_soon(function()
      ok, err = lh.rawpcall(lh.timeout, 0.01)
      loop:stop()
    end)
    loop:run_forever()
    loop:close()
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("task", 1, true))
  end)

  it("with something that is no number is refused", in_task(function()
    raises("bad argument #1", lh.timeout, "soon")
    raises("bad argument #1", lh.timeout_at, {})
  end))
end)
