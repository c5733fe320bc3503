-- Cancelling a task: asked for from outside, raised once at the wait, counted, refusable.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns = support.on_loop, support.turns
local raises, caught = expect.raises, expect.caught

local function ends_cancelled(loop, task)
  local err = raises(lh.CancelledError, loop.run_until_complete, loop, task)
  assert.is_true(task:done())
  assert.is_true(task:cancelled())
  assert.is_false(task:cancel())
  return err
end

describe("task:cancel at a yield of stock Lua's, where nothing can be raised,", function()
  it("is raised at the next wait, and so is a later one", on_loop(function(loop)
    local yield = _G.coroutine.yield -- in the host ours, which does raise
    local log = {}
    local task = loop:create_task(function()
      caught(yield)
      caught(yield, "value")
      for i = 1, 2 do log[i] = caught(lh.sleep, 10) ~= nil end
    end)
    turns(loop)
    turns(loop)
    if yield ~= lh.coroutine.yield then task:cancel() end
    turns(loop)
    turns(loop)
    if yield == lh.coroutine.yield then task:cancel() end
    turns(loop)
    turns(loop)
    task:cancel()
    loop:run_until_complete(task)
    assert.same({ true, true }, log)
  end))

  it("is raised in the waits that follow", on_loop(function(loop)
    local task = loop:create_task(function()
      _G.coroutine.yield()
      return (lh.rawpcall(lh.sleep, 10))
    end)
    loop:call_later(1, task.cancel, task)
    assert.is_false(loop:run_until_complete(task))
  end))
end)

describe("task:cancel", function()
  it("ends a task that sleeps, in no time", on_loop(function(loop)
    local task = loop:create_task(function()
      lh.sleep(10)
      return 12
    end)
    local began = loop:time()
    loop:call_soon(task.cancel, task)
    ends_cancelled(loop, task)
    assert.equal(began, loop:time())
  end))

  it("ends a task that only lets turns pass", on_loop(function(loop)
    local task = loop:create_task(function()
      lh.sleep(0)
      lh.sleep(0)
      return 12
    end)
    turns(loop)
    assert.is_true(task:cancel())
    ends_cancelled(loop, task)
  end))

  it("keeps a task from starting that did not start yet", on_loop(function(loop)
    local started = false
    local task = loop:create_task(function() started = true end)
    assert.is_true(task:cancel())
    ends_cancelled(loop, task)
    assert.is_false(started)
  end))

  it("takes no effect before the next turn", on_loop(function(loop)
    local task = loop:create_task(lh.sleep, 10)
    turns(loop)
    task:cancel()
    assert.is_false(task:done())
    assert.is_false(task:cancelled())
    turns(loop)
    assert.is_true(task:cancelled())
  end))

  it("cancels the future that the task waits for", on_loop(function(loop)
    local fut = loop:create_future()
    local task = loop:create_task(lh.await, fut)
    turns(loop)
    task:cancel()
    assert.is_true(fut:cancelled())
    ends_cancelled(loop, task)
  end))

  it("goes down through functions and tasks to the innermost wait", on_loop(function(loop)
    local fut, proof = loop:create_future(), 0
    local function inner()
      local err = caught(lh.await, fut)
      proof = proof + 1
      error(err)
    end
    local task = loop:create_task(function()
      assert(caught(inner))
      proof = proof + 100
    end)
    turns(loop)
    task:cancel()
    loop:run_until_complete(task)
    assert.equal(101, proof)
    assert.is_true(fut:cancelled())
    assert.is_false(task:cancelled())
  end))

  it("reaches the task that the cancelled one awaits", on_loop(function(loop)
    local fut, nested = loop:create_future(), nil
    local task
    task = loop:create_task(function()
      nested = lh.create_task(lh.await, fut)
      lh.sleep(0)
      task:cancel()
      lh.await(nested)
    end)
    ends_cancelled(loop, task)
    assert.is_true(nested:cancelled())
    assert.is_true(fut:cancelled())
  end))

  it("works on a task that cancels itself, at its next wait", on_loop(function(loop)
    local passed = false
    local task
    task = loop:create_task(function()
      task:cancel()
      lh.sleep(100)
      passed = true
    end)
    assert.is_false(task:cancelled())
    local began = loop:time()
    ends_cancelled(loop, task)
    assert.is_false(passed)
    assert.equal(began, loop:time())
  end))

  it("works on a task that cancels itself and returns", on_loop(function(loop)
    local task
    task = loop:create_task(function()
      task:cancel()
      return 12
    end)
    ends_cancelled(loop, task)
  end))

  it("stops the timer of a sleep", function()
    local handle
    local Watched = lh.EventLoop:subclass {
      call_later = function(self, ...)
        handle = lh.EventLoop.call_later(self, ...)
        return handle
      end,
      call_at = function(self, ...)
        handle = lh.EventLoop.call_at(self, ...)
        return handle
      end,
    }
    local loop = Watched { clock = "virtual" }
    local task = loop:create_task(lh.sleep, 10, "yeah")
    turns(loop)
    assert.is_false(handle:cancelled())
    task:cancel()
    turns(loop)
    assert.is_true(handle:cancelled())
    loop:close()
  end)

  it("wakes the task that waits for the cancelled one, at that moment", on_loop(function(loop)
    local began = loop:time()
    local outcome = loop:run_until_complete(function()
      local sleeper = lh.create_task(lh.sleep, 5000)
      loop:call_later(0.1, sleeper.cancel, sleeper)
      return caught(lh.await, sleeper) and "cancelled" or "slept in"
    end)
    assert.equal("cancelled", outcome)
    assert.near(0.1, loop:time() - began, 1e-9)
  end))

  it("is answered with false once the task is done", on_loop(function(loop)
    local task = loop:create_task(function() return 1 end)
    loop:run_until_complete(task)
    assert.is_false(task:cancel())
    assert.is_false(task:cancelled())
    assert.equal(1, task:result())
  end))

  it("reports nothing to the exception handler", on_loop(function(loop)
    local reports = support.reports(loop)
    loop:run_until_complete(function()
      local task = lh.create_task(function() error("boom") end)
      lh.sleep(0.05)
      task:cancel()
    end)
    collectgarbage()
    collectgarbage()
    turns(loop)
    assert.same({}, reports)
  end))
end)

describe("a future that is cancelled", function()
  it("takes the task along that waits for it", on_loop(function(loop)
    local fut = loop:create_future()
    local task = loop:create_task(lh.await, fut)
    turns(loop)
    fut:cancel()
    ends_cancelled(loop, task)
    assert.is_true(fut:cancelled())
  end))

  it("may be cancelled together with its task", on_loop(function(loop)
    local fut = loop:create_future()
    local task = loop:create_task(lh.await, fut)
    turns(loop)
    fut:cancel()
    task:cancel()
    ends_cancelled(loop, task)
    assert.is_true(fut:cancelled())
  end))
end)

describe("a task that is cancelled", function()
  it("may catch it and return a result", on_loop(function(loop)
    local fut1, fut2 = loop:create_future(), loop:create_future()
    local task = loop:create_task(function()
      lh.await(fut1)
      if caught(lh.await, fut2) then return 42 end
    end)
    turns(loop)
    fut1:set_result()
    turns(loop)
    task:cancel()
    assert.is_true(fut2:cancelled())
    assert.equal(42, loop:run_until_complete(task))
    assert.is_false(task:cancelled())
  end))

  it("may ignore it and wait on", on_loop(function(loop)
    local fut1, fut2, fut3 = loop:create_future(), loop:create_future(), loop:create_future()
    local task = loop:create_task(function()
      lh.await(fut1)
      caught(lh.await, fut2)
      return (lh.await(fut3))
    end)
    turns(loop)
    fut1:set_result()
    turns(loop)
    task:cancel()
    assert.is_true(fut2:cancelled())
    turns(loop)
    assert.is_false(task:done())
    fut3:set_result(42)
    assert.equal(42, loop:run_until_complete(task))
    assert.is_false(fut3:cancelled())
    assert.is_false(task:cancelled())
  end))

  it("is told once, not again at its next wait", on_loop(function(loop)
    local hits = 0
    local task = loop:create_task(function()
      for _ = 1, 3 do
        if caught(lh.sleep, 1) then hits = hits + 1 end
      end
    end)
    turns(loop)
    task:cancel()
    loop:run_until_complete(task)
    assert.equal(1, hits)
  end))

  it("may answer with another error", on_loop(function(loop)
    local problem = { "problem" }
    local task = loop:create_task(function()
      caught(lh.sleep, 10)
      error(problem)
    end)
    turns(loop)
    task:cancel()
    assert.is_false(task:done())
    turns(loop)
    assert.is_true(task:done())
    assert.is_false(task:cancelled())
    assert.equal(problem, task:exception())
  end))

  it("counts as cancelled when it raises a CancelledError of its own", on_loop(function(loop)
    local task = loop:create_task(function() error(lh.CancelledError("mine")) end)
    local err = ends_cancelled(loop, task)
    assert.equal("mine", err.message)
  end))

  it("closes its variables on its way out, and may wait for that", on_loop(function(loop)
    local log = {}
    local task = loop:create_task(function()
      local _ <close> = setmetatable({}, {
        __close = function()
          log[#log + 1] = "closing"
          lh.sleep(1)
          log[#log + 1] = "closed"
        end,
      })
      lh.sleep(10)
      log[#log + 1] = "never"
    end)
    turns(loop)
    task:cancel()
    local began = loop:time()
    ends_cancelled(loop, task)
    assert.same({ "closing", "closed" }, log)
    assert.near(1, loop:time() - began, 1e-9)
  end))

  it("is not stopped by lh.pcall and lh.xpcall", on_loop(function(loop)
    for _, protect in ipairs { lh.pcall, function(fn, ...) return lh.xpcall(fn, print, ...) end } do
      local passed = false
      local task = loop:create_task(function()
        protect(lh.sleep, 10)
        passed = true
      end)
      turns(loop)
      task:cancel()
      ends_cancelled(loop, task)
      assert.is_false(passed)
    end
  end))

  it("is cancelled inside a coroutine of its own, too", on_loop(function(loop)
    local cleaned, passed = false, false
    local task = loop:create_task(function()
      local next_item = lh.coroutine.wrap(function()
        local _ <close> = setmetatable({}, { __close = function() cleaned = true end })
        lh.sleep(10)
      end)
      next_item()
      passed = true
    end)
    turns(loop)
    task:cancel()
    ends_cancelled(loop, task)
    assert.is_false(passed)
    assert.is_true(cleaned)
  end))

  it("fails when cleaning up there fails, as it does where it would wait", on_loop(function(loop)
    for _, clean_up in ipairs { lh.sleep, function() error "on purpose" end } do
      local task = loop:create_task(function()
        lh.coroutine.wrap(function()
          local _ <close> = setmetatable({}, { __close = function() clean_up(0) end })
          lh.sleep(10)
        end)()
      end)
      turns(loop)
      task:cancel()
      local ok, err = lh.rawpcall(loop.run_until_complete, loop, task)
      assert.is_false(ok)
      assert.is_truthy(err:find(clean_up == lh.sleep and "cannot wait" or "on purpose"))
      assert.matches("task_cancel_spec.lua", task:traceback(), 1, true)
    end
  end))
end)

describe("cancelling and uncancel", function()
  it("count the requests", on_loop(function(loop)
    local task = loop:create_task(lh.sleep, 10)
    assert.equal(0, task:cancelling())
    assert.is_true(task:cancel())
    assert.equal(1, task:cancelling())
    assert.is_true(task:cancel())
    assert.equal(2, task:cancelling())
    ends_cancelled(loop, task)
  end))

  it("count up to two million", on_loop(function(loop)
    local most = 2 ^ 21 - 1
    local task = loop:create_task(function()
      while caught(lh.sleep, 10) do end
    end)
    loop:run_until_complete(function() lh.sleep(0) end)
    for _ = 1, most + 5 do task:cancel() end
    assert.equal(most, task:cancelling())
    loop:run_until_complete(function() lh.sleep(0) end)
    assert.equal(most, task:cancelling())
    assert.equal(most - 1, task:uncancel())
  end))

  it("take a request back, and the next one counts anew", on_loop(function(loop)
    local task = loop:create_task(function()
      if caught(lh.sleep, 10) then
        lh.current_task():uncancel()
        lh.sleep(10)
      end
    end)
    loop:run_until_complete(function() lh.sleep(0.01) end)
    assert.is_true(task:cancel())
    assert.equal(1, task:cancelling())
    assert.is_false(task:cancelled())
    loop:run_until_complete(function() lh.sleep(0.01) end)

    assert.equal(0, task:cancelling())
    assert.is_false(task:cancelled())

    assert.is_true(task:cancel())
    assert.equal(1, task:cancelling())
    assert.is_false(task:cancelled())
    ends_cancelled(loop, task)

    task:uncancel()
    assert.is_true(task:cancelled())
    assert.is_true(task:done())
  end))

  it("return what is left, which never falls below nothing", on_loop(function(loop)
    local task = loop:create_task(function() caught(lh.sleep, 10) end)
    turns(loop)
    assert.equal(0, task:uncancel())
    task:cancel()
    task:cancel()
    assert.equal(1, task:uncancel())
    assert.equal(0, task:uncancel())
    assert.equal(0, task:uncancel())
    loop:run_until_complete(task)
  end))

  -- A timeout written by hand: cancel by a timer, turned into an own outcome afterwards.
  local function with_timeout(loop, delay, limit)
    local task, timed_out, finished = lh.current_task(), false, false
    local timer = loop:call_later(limit, function()
      timed_out = true
      task:cancel()
    end)
    local err = caught(function()
      lh.sleep(delay)
      finished = true
    end)
    timer:cancel()
    if timed_out and task:uncancel() == 0 and err then
      err = nil
    end
    if err then error(err) end
    lh.sleep(0)
    return timed_out, finished, "outside"
  end

  it("let a block of a task be cancelled, and the rest go on", on_loop(function(loop)
    local task = loop:create_task(with_timeout, loop, 10, 0.1)
    assert.same({ true, false, "outside" }, { loop:run_until_complete(task) })
    assert.equal(0, task:cancelling())

    task = loop:create_task(with_timeout, loop, 0, 10)
    assert.same({ false, true, "outside" }, { loop:run_until_complete(task) })
    assert.equal(0, task:cancelling())
  end))
end)

describe("the turns of a cancellation", function()
  it("are two for one who waits: the task's, then its own", function()
    assert.equal("cancel@1 hit@2 saw@3", support.turn_log(function(note)
      local task = lh.create_task(function()
        local err = caught(lh.sleep, 10)
        note "hit"
        error(err)
      end)
      lh.sleep(0)
      note "cancel"
      task:cancel()
      caught(lh.await, task)
      note "saw"
    end))
  end)

  it("are as many for a task that had not started", function()
    assert.equal("cancel@0 saw@2", support.turn_log(function(note)
      local task = lh.create_task(function() note "never" end)
      task:cancel()
      note "cancel"
      caught(lh.await, task)
      note "saw"
    end))
  end)

  it("are one more for each task on the way", function()
    assert.equal("cancel@2 inner@3 outer@4 saw@5", support.turn_log(function(note)
      local function telling(word, fn, ...)
        local err = caught(fn, ...)
        note(word)
        error(err)
      end
      local task = lh.create_task(function()
        telling("outer", lh.await, lh.create_task(telling, "inner", lh.sleep, 10))
      end)
      lh.sleep(0)
      lh.sleep(0)
      note "cancel"
      task:cancel()
      caught(lh.await, task)
      note "saw"
    end))
  end)

  it("start at the next wait when a task asks for its own", function()
    assert.equal("asked@1 hit@2 on@3 done@4", support.turn_log(function(note)
      local task = lh.create_task(function()
        lh.current_task():cancel()
        note "asked"
        caught(lh.sleep, 0)
        note "hit"
        lh.sleep(0)
        note "on"
      end)
      lh.await(task)
      note "done"
    end))
  end)
end)
