-- Handle and TimerHandle: a callback that was scheduled, when it comes, and how it is called off.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises = support.on_loop, support.turns, expect.raises

local function nothing() end

-- A list, and a function that makes callbacks which append to it.
local function recorder()
  local log = {}
  return log, function(word) return function() log[#log + 1] = word end end
end

describe("call_soon", function()
  it("calls with the arguments that follow, nils included", on_loop(function(loop)
    local got
    loop:call_soon(function(...) got = table.pack(...) end, "hello", nil, "world", nil)
    assert.is_nil(got)
    turns(loop)
    assert.same({ n = 4, "hello", nil, "world", nil }, got)
  end))

  it("calls in the order of the calls", on_loop(function(loop)
    local log, say = recorder()
    for i = 1, 5 do loop:call_soon(say(i)) end
    turns(loop)
    assert.same({ 1, 2, 3, 4, 5 }, log)
  end))

  it("calls once", on_loop(function(loop)
    local log, say = recorder()
    loop:call_soon(say "x")
    turns(loop, 3)
    assert.same({ "x" }, log)
  end))

  it("puts off to the next turn what a callback schedules", on_loop(function(loop)
    local log = {}
    local function again(n)
      log[#log + 1] = n
      if n < 10 then loop:call_soon(again, n + 1) end
    end
    loop:call_soon(again, 1)
    turns(loop)
    assert.same({ 1 }, log)
    turns(loop)
    assert.same({ 1, 2 }, log)
  end))

  it("refuses what cannot be called", on_loop(function(loop)
    for _, mode in ipairs { true, false } do
      loop:set_debug(mode)
      raises("bad argument", loop.call_soon, loop, 1)
      raises("bad argument", loop.call_soon, loop)
      raises("bad argument", loop.call_soon, loop, "nothing")
      raises("bad argument", loop.call_soon, loop, coroutine.create(nothing))
    end
  end))
end)

describe("call_soon_threadsafe", function()
  it("is there for who knows asyncio: scripts have but the loop's thread", on_loop(function(loop)
    local log, say = recorder()
    loop:call_soon_threadsafe(say "a")
    loop:call_soon(say "b")
    turns(loop)
    assert.same({ "a", "b" }, log)
  end))
end)

describe("a Handle", function()
  it("is cancelled once it was told so", on_loop(function(loop)
    local log, say = recorder()
    local handle = loop:call_soon(say "x")
    assert.is_false(handle:cancelled())
    handle:cancel()
    assert.is_true(handle:cancelled())
    handle:cancel()
    assert.is_true(handle:cancelled())
    turns(loop)
    assert.same({}, log)
  end))

  it("calls off its own callback and no other", on_loop(function(loop)
    local log, say = recorder()
    loop:call_soon(say "a")
    local handle = loop:call_soon(say "b")
    loop:call_soon(say "c")
    handle:cancel()
    turns(loop)
    assert.same({ "a", "c" }, log)
  end))

  it("can be called off in the very turn in which it stands", on_loop(function(loop)
    local log, say = recorder()
    local handle
    loop:call_soon(function() handle:cancel() end)
    handle = loop:call_soon(say "b")
    turns(loop)
    assert.same({}, log)
  end))

  it("may be cancelled by its own callback and after it ran", on_loop(function(loop)
    local runs = 0
    local handle
    handle = loop:call_soon(function()
      runs = runs + 1
      handle:cancel()
    end)
    turns(loop)
    handle:cancel()
    turns(loop)
    assert.equal(1, runs)
  end))

  it("lets go of what it was to call, once it is cancelled", on_loop(function(loop)
    local held = setmetatable({}, { __mode = "k" })
    local function schedule()
      local object = {}
      held[object] = true
      return loop:call_soon(nothing, object), loop:call_later(3600, nothing, object)
    end
    local handle, timer = schedule()
    collectgarbage()
    assert.is_truthy(next(held))
    handle:cancel()
    timer:cancel()
    turns(loop)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(held))
    assert.is_true(timer:cancelled())
  end))

  it("is let go of itself, but for the last one that was cancelled", on_loop(function(loop)
    local held = setmetatable({}, { __mode = "k" })
    local function count()
      collectgarbage()
      local n = 0
      for _ in pairs(held) do n = n + 1 end
      return n
    end
    for _ = 1, 100 do
      local timer = loop:call_later(3600, nothing)
      held[timer] = true
      timer:cancel()
    end
    assert.is_true(count() <= 1)
    local timers = {}
    for i = 1, 100 do
      timers[i] = loop:call_later(3600, nothing)
      held[timers[i]] = true
    end
    for _, timer in ipairs(timers) do timer:cancel() end
    timers = nil -- luacheck: ignore
    assert.is_true(count() <= 1)
    local log, say = recorder()
    loop:call_soon(say "a")
    loop:call_later(0, say "b"):cancel()
    loop:call_soon(say "c")
    turns(loop, 2)
    assert.same({ "a", "c" }, log)
  end))

  it("shows as a string whether it was cancelled", on_loop(function(loop)
    local handle = loop:call_soon(nothing)
    assert.matches("Handle", tostring(handle))
    assert.not_matches("cancelled", tostring(handle))
    handle:cancel()
    assert.matches("cancelled", tostring(handle))
    local timer = loop:call_later(123, nothing)
    assert.matches("TimerHandle", tostring(timer))
    timer:cancel()
    assert.matches("cancelled", tostring(timer))
  end))

  it("names its callback in the report when the callback fails", on_loop(function(loop)
    local reports = support.reports(loop)
    local problem = { "problem" }
    local handle = loop:call_soon(function() error(problem) end)
    turns(loop)
    assert.equal(1, #reports)
    assert.matches("^Exception in callback", reports[1].message)
    assert.equal(problem, reports[1].exception)
    assert.equal(handle, reports[1].handle)
    assert.equal("string", type(reports[1].traceback))
  end))

  it("refuses methods that are called on something else", on_loop(function(loop)
    local handle = loop:call_soon(nothing)
    raises("bad argument", handle.cancel, {})
    raises("bad argument", handle.cancelled, loop)
  end))
end)

describe("a TimerHandle", function()
  it("knows when it is due", on_loop(function(loop)
    local when = loop:time() + 10
    assert.near(when, loop:call_at(when, nothing):when(), 1e-9)
    assert.near(when, loop:call_later(10, nothing):when(), 1e-9)
  end))

  it("keeps its time after it was cancelled", on_loop(function(loop)
    local timer = loop:call_later(5, nothing)
    local when = timer:when()
    timer:cancel()
    timer:cancel()
    assert.is_true(timer:cancelled())
    assert.equal(when, timer:when())
  end))

  it("is not run when it was cancelled, and delays nobody", on_loop(function(loop)
    local log, say = recorder()
    local began = loop:time()
    loop:call_later(1, say "a"):cancel()
    loop:call_later(2, say "b")
    loop:call_later(3, loop.stop, loop)
    loop:call_later(4000, say "c"):cancel()
    loop:run_forever()
    assert.same({ "b" }, log)
    assert.near(3, loop:time() - began, 1e-9)
  end))

  it("can be called off by one that is due at the same time", on_loop(function(loop)
    local log, say = recorder()
    local timer
    loop:call_later(1, function() timer:cancel() end)
    timer = loop:call_later(1, say "never")
    loop:call_later(2, loop.stop, loop)
    loop:run_forever()
    assert.same({}, log)
  end))

  it("is forgotten in masses when most are cancelled", on_loop(function(loop)
    local held = setmetatable({}, { __mode = "k" })
    local kept = {}
    local function schedule(n, keep)
      for i = 1, n do
        local object = {}
        held[object] = true
        local timer = loop:call_later(3600 + i, nothing, object)
        if keep then kept[#kept + 1] = timer else timer:cancel() end
      end
    end
    schedule(50, true)
    schedule(500, false)
    turns(loop)
    collectgarbage()
    collectgarbage()
    local left = 0
    for _ in pairs(held) do left = left + 1 end
    assert.equal(50, left)
    for _, timer in ipairs(kept) do assert.is_false(timer:cancelled()) end
  end))
end)

describe("call_later and call_at", function()
  it("call after the delay, with the arguments", on_loop(function(loop)
    local got
    local began = loop:time()
    loop:call_later(0.1, function(...)
      got = table.pack(...)
      loop:stop()
    end, "hello world", nil)
    loop:run_forever()
    assert.same({ n = 2, "hello world", nil }, got)
    assert.near(0.1, loop:time() - began, 1e-9)
  end))

  it("are never early by the real clock", on_loop(function(loop)
    local when = loop:time() + 0.02
    local at
    loop:call_at(when, function()
      at = loop:time()
      loop:stop()
    end)
    loop:run_forever()
    assert.is_true(at >= when)
    assert.is_true(at < when + 5)
  end, { clock = "monotonic" }))

  it("go by the deadline, not by the order of the calls", on_loop(function(loop)
    local log, say = recorder()
    loop:call_later(3, say "c")
    loop:call_at(loop:time() + 1, say "a")
    loop:call_later(2, say "b")
    loop:call_later(4, loop.stop, loop)
    loop:run_forever()
    assert.same({ "a", "b", "c" }, log)
  end))

  it("go by the order of the calls when the deadline is the same", on_loop(function(loop)
    local log, say = recorder()
    local when = loop:time() + 1
    for i = 1, 20 do loop:call_at(when, say(i)) end
    loop:call_at(when, loop.stop, loop)
    loop:run_forever()
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 }, log)
  end))

  it("are due at once with a negative delay, the earlier one first", on_loop(function(loop)
    local log, say = recorder()
    local began = loop:time()
    loop:call_later(-1, say "a")
    loop:call_later(-2, say "b")
    turns(loop, 2)
    assert.same({ "b", "a" }, log)
    assert.equal(began, loop:time())
  end))

  it("are due at once with a moment that is over", on_loop(function(loop)
    local log, say = recorder()
    loop:call_at(loop:time() - 5, say "x")
    turns(loop)
    assert.same({ "x" }, log)
  end))

  it("come behind what was ready before them", on_loop(function(loop)
    local log, say = recorder()
    loop:call_later(0, say "timer")
    loop:call_soon(say "soon")
    turns(loop)
    assert.same({ "soon", "timer" }, log)
  end))

  it("leave what their callbacks schedule to the next turn", on_loop(function(loop)
    local log, say = recorder()
    loop:call_later(-1, function() loop:call_soon(say "later") end)
    turns(loop)
    assert.same({}, log)
    turns(loop)
    assert.same({ "later" }, log)
  end))

  it("need a time and a function", on_loop(function(loop)
    for _, schedule in ipairs { loop.call_later, loop.call_at } do
      raises("bad argument", schedule, loop, nil, nothing)
      raises("bad argument", schedule, loop, "soon", nothing)
      raises("bad argument", schedule, loop, 1)
      raises("bad argument", schedule, loop, 1, 2)
      raises("NaN", schedule, loop, 0 / 0, nothing)
    end
  end))

  it("do not turn more often than their timers need", function()
    -- However short a sleep is, the loop must not spin until the clock has reached it.
    local count = 0
    local Counting = lh.EventLoop:subclass {
      run_once = function(self, ...)
        count = count + 1
        return lh.EventLoop.run_once(self, ...)
      end,
    }
    local loop = Counting()
    loop:run_until_complete(function()
      for _, delay in ipairs { 1e-2, 1e-4, 1e-6, 1e-8, 1e-10 } do lh.sleep(delay) end
    end)
    loop:close()
    assert.is_true(count <= 20, count .. " turns")
    assert.is_true(count >= 6, count .. " turns")
  end)
end)

describe("run_once of a loop on which nothing can happen", function()
  it("returns, as after a callback that was called off", function()
    for _, clock in ipairs { "virtual", "monotonic" } do
      support.with_loop(function(loop)
        loop:run_once()
        loop:call_soon(error, "never"):cancel()
        loop:call_soon_with_priority(1, error, "never"):cancel()
        loop:call_later(0, error, "never"):cancel()
        loop:create_task(lh.await, loop:create_future())
        for _ = 1, 3 do loop:run_once() end
      end, { clock = clock })
    end
  end)

  it("tells run_until_complete of a deadlock though it is a method of the script's", function()
    local Looking = lh.EventLoop:subclass {
      run_once = function(self) lh.EventLoop.run_once(self) end,
    }
    local loop = Looking { clock = "virtual" }
    raises(lh.DeadlockError, loop.run_until_complete, loop, loop:create_future())
    loop:close()
  end)
end)

describe("call_soon_with_priority", function()
  it("calls the smaller number sooner, and equals in the order of the calls", on_loop(function(loop)
    local log, say = recorder()
    loop:call_soon_with_priority(5, say "5a")
    loop:call_soon_with_priority(1, say "1a")
    loop:call_soon_with_priority(5, say "5b")
    loop:call_soon_with_priority(-3, say "-3")
    loop:call_soon_with_priority(1, say "1b")
    turns(loop)
    assert.same({ "-3", "1a", "1b", "5a", "5b" }, log)
  end))

  it("goes before what call_soon scheduled", on_loop(function(loop)
    local log, say = recorder()
    loop:call_soon(say "soon")
    loop:call_soon_with_priority(100, say "priority")
    turns(loop)
    assert.same({ "priority", "soon" }, log)
  end))

  it("passes arguments and can be called off", on_loop(function(loop)
    local got
    loop:call_soon_with_priority(1, function(...) got = table.pack(...) end, 1, nil)
    local handle = loop:call_soon_with_priority(0, error, "never")
    handle:cancel()
    assert.is_true(handle:cancelled())
    turns(loop)
    assert.same({ n = 2, 1, nil }, got)
  end))

  it("lets an urgent one overtake, yet runs no more than stood there", on_loop(function(loop)
    local log, say = recorder()
    loop:call_soon_with_priority(1, function()
      log[#log + 1] = "first"
      loop:call_soon_with_priority(0, say "urgent")
    end)
    loop:call_soon_with_priority(2, say "second")
    loop:run_once()
    assert.same({ "first", "urgent" }, log)
    loop:run_once()
    assert.same({ "first", "urgent", "second" }, log)
  end))

  it("needs a number and a function", on_loop(function(loop)
    raises("bad argument", loop.call_soon_with_priority, loop, nothing)
    raises("bad argument", loop.call_soon_with_priority, loop, 1)
    raises("bad argument", loop.call_soon_with_priority, loop, 1, 2)
  end))
end)

describe("set_priority", function()
  -- The steps of two tasks, of which the second is given to prepare.
  local function order(prepare)
    return on_loop(function(loop)
      local log, say = recorder()
      local function steps(name)
        for i = 1, 3 do
          say(name .. i)()
          lh.sleep(0)
        end
      end
      loop:create_task(steps, "a")
      local task = loop:create_task(steps, "b")
      local expected = prepare(task)
      loop:run_until_complete(task)
      turns(loop, 3)
      assert.equal(expected, table.concat(log, " "))
    end)
  end

  it("has the steps of a task overtake what is ready, after the first", order(function(task)
    task:set_priority(-1)
    return "a1 b1 b2 b3 a2 a3"
  end))

  it("can be taken back", order(function(task)
    task:set_priority(-1)
    task:set_priority(nil)
    return "a1 b1 a2 b2 a3 b3"
  end))

  it("refuses what is no number", on_loop(function(loop)
    local task = loop:create_task(nothing)
    raises("number expected", task.set_priority, task, "soon")
    raises("NaN", task.set_priority, task, 0 / 0)
    loop:run_until_complete(task)
  end))
end)
