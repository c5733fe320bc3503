-- The event loop itself: running, stopping, closing, its errors, its current one.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises = support.on_loop, support.turns, expect.raises

local function nothing() end

describe("new_event_loop", function()
  it("refuses options and clocks that there are not, in the caller's line", function()
    local function refused(text, opts)
      local here
      local err = raises(text, function()
        here = support.here(1)
        local _ = lh.new_event_loop(opts)
      end)
      assert.equal(("%s: bad argument #1 to 'new_event_loop' (%s)"):format(here, text), err)
    end
    refused("no such option: clok", { clok = "virtual" })
    refused("no such option: 1", { "virtual" })
    refused("no such clock: wall", { clock = "wall" })
    refused("table expected, got string", "virtual")
  end)
end)

describe("run_until_complete", function()
  it("returns what the function returns", on_loop(function(loop)
    local result = table.pack(loop:run_until_complete(function() return 1, nil, 3 end))
    assert.same({ n = 3, 1, nil, 3 }, result)
  end))

  it("waits as long as the function waits, by the real clock", on_loop(function(loop)
    local began = loop:time()
    loop:run_until_complete(function() lh.sleep(0.02) end)
    assert.is_true(loop:time() - began >= 0.02)
  end, { clock = "monotonic" }))

  it("takes a future or a task, too", on_loop(function(loop)
    local fut = loop:create_future()
    loop:call_later(1, fut.set_result, fut, "future")
    assert.equal("future", loop:run_until_complete(fut))
    assert.equal("future", loop:run_until_complete(fut))
    assert.equal("task", loop:run_until_complete(loop:create_task(function() return "task" end)))
  end))

  it("takes nothing else", on_loop(function(loop)
    raises("bad argument", loop.run_until_complete, loop, "blah")
    raises("bad argument", loop.run_until_complete, loop, {})
    raises("bad argument", loop.run_until_complete, loop)
  end))

  it("raises what the function raises, and can run again", on_loop(function(loop)
    local problem = { "problem" }
    local _, err = lh.rawpcall(loop.run_until_complete, loop, function() error(problem) end)
    assert.equal(problem, err)
    assert.equal(1, loop:run_until_complete(function() return 1 end))
  end))

  it("says so when the loop was stopped before the end", on_loop(function(loop)
    raises("Event loop stopped before Future completed.", loop.run_until_complete, loop, function()
      loop:stop()
      lh.sleep(0.1)
    end)
  end))

  it("can be taken up again after it was stopped", on_loop(function(loop)
    local x = 0
    local began = loop:time()
    local task = loop:create_task(function()
      while x < 10 do
        lh.sleep(0.1)
        x = x + 1
        if x == 2 then loop:stop() end
      end
      return x
    end)
    raises("Event loop stopped before Future completed.", loop.run_until_complete, loop, task)
    assert.is_false(task:done())
    assert.equal(2, x)
    assert.near(0.2, loop:time() - began, 1e-9)
    assert.equal(10, loop:run_until_complete(task))
    assert.near(1.0, loop:time() - began, 1e-9)
  end))

  it("does not stop a later run when its own future is done", on_loop(function(loop)
    -- The first run breaks off; its future ends during the second run, which must go on.
    local first = loop:create_task(lh.sleep, 1)
    loop:call_soon(loop.stop, loop)
    raises("Event loop stopped", loop.run_until_complete, loop, first)
    local began = loop:time()
    loop:run_until_complete(function() lh.sleep(2) end)
    assert.near(2, loop:time() - began, 1e-9)
    assert.is_true(first:done())
  end))

  it("leaves no stop behind when the function fails", on_loop(function(loop)
    local called = false
    raises("boom", loop.run_until_complete, loop, function() error("boom") end)
    loop:call_soon(function() loop:call_soon(function()
      called = true
      loop:stop()
    end) end)
    loop:run_forever()
    assert.is_true(called)
  end))

  it("does not report the error that it raises", on_loop(function(loop)
    local reports = support.reports(loop)
    raises("boom", loop.run_until_complete, loop, function() error("boom") end)
    collectgarbage()
    collectgarbage()
    turns(loop)
    assert.same({}, reports)
  end))

  it("cannot be called from inside the loop", on_loop(function(loop)
    raises("This event loop is already running", loop.run_until_complete, loop, function()
      assert.is_true(loop:is_running())
      loop:run_until_complete(function() lh.sleep(0) end)
    end)
    assert.is_false(loop:is_running())
  end))

  it("cannot be called from inside another loop", on_loop(function(loop)
    support.with_loop(function(outer)
      for _, run in ipairs { loop.run_forever, loop.run_until_complete } do
        raises("Cannot run the event loop while another loop is running",
          outer.run_until_complete, outer, function() run(loop, nothing) end)
      end
    end)
    assert.equal(1, loop:run_until_complete(function() return 1 end))
  end))
end)

describe("run_forever and stop", function()
  it("run until stop, and finish the turn", on_loop(function(loop)
    local log = {}
    loop:call_soon(function()
      log[#log + 1] = "stop"
      loop:stop()
      loop:call_soon(function() log[#log + 1] = "next turn" end)
    end)
    loop:call_soon(function() log[#log + 1] = "same turn" end)
    loop:run_forever()
    assert.same({ "stop", "same turn" }, log)
    turns(loop)
    assert.same({ "stop", "same turn", "next turn" }, log)
  end))

  it("run one turn when stop was called before", on_loop(function(loop)
    local log = {}
    loop:call_soon(function()
      log[#log + 1] = 1
      loop:call_soon(function() log[#log + 1] = 2 end)
    end)
    loop:call_later(5, function() log[#log + 1] = "timer" end)
    local began = loop:time()
    loop:stop()
    loop:run_forever()
    assert.same({ 1 }, log)
    assert.equal(began, loop:time())
  end))

  it("run each callback once, though the loop was stopped in between", on_loop(function(loop)
    local count = 0
    loop:call_soon(function() count = count + 1 end)
    for _ = 1, 3 do turns(loop) end
    assert.equal(1, count)
  end))

  it("is_running tells whether it runs", on_loop(function(loop)
    local inside
    assert.is_false(loop:is_running())
    loop:call_soon(function()
      inside = loop:is_running()
      loop:stop()
    end)
    loop:run_forever()
    assert.is_true(inside)
    assert.is_false(loop:is_running())
  end))

  it("leave the loop not running after an error", on_loop(function(loop)
    raises("boom", loop.run_until_complete, loop, function() error("boom") end)
    assert.is_false(loop:is_running())
    raises("no running event loop", lh.get_running_loop)
  end))
end)

describe("close", function()
  it("closes a loop, and may be called again", on_loop(function(loop)
    assert.is_false(loop:is_closed())
    loop:close()
    assert.is_true(loop:is_closed())
    loop:close()
    loop:close()
    assert.is_true(loop:is_closed())
  end))

  it("leaves nothing that could be run or scheduled", on_loop(function(loop)
    local fut = loop:create_future()
    loop:close()
    local refused = {
      { loop.run_forever }, { loop.run_until_complete, fut },
      { loop.run_until_complete, nothing }, { loop.run_once },
      { loop.call_soon, nothing }, { loop.call_soon_with_priority, 1, nothing },
      { loop.call_later, 1, nothing }, { loop.call_at, 1, nothing },
      { loop.create_task, nothing },
    }
    for _, call in ipairs(refused) do
      raises("Event loop is closed", call[1], loop, table.unpack(call, 2))
    end
  end))

  it("still answers questions", on_loop(function(loop)
    loop:close()
    assert.is_false(loop:is_running())
    assert.is_false(loop:get_debug())
    assert.equal("number", type(loop:time()))
    assert.equal("string", type(tostring(loop)))
  end))

  it("is refused while the loop runs", on_loop(function(loop)
    raises("Cannot close a running event loop", loop.run_until_complete, loop, function()
      loop:close()
    end)
    assert.is_false(loop:is_closed())
  end))

  it("forgets callbacks, timers and tasks that are left", on_loop(function(loop)
    local log = {}
    loop:call_soon(function() log[#log + 1] = "soon" end)
    loop:call_later(1, function() log[#log + 1] = "later" end)
    loop:create_task(function() log[#log + 1] = "task" end)
    loop:close()
    collectgarbage()
    assert.same({}, log)
  end))

  it("leaves futures and handles that can be asked, and cancelled", on_loop(function(loop)
    local fut = loop:create_future()
    local handle, timer = loop:call_soon(nothing), loop:call_later(1, nothing)
    loop:close()
    assert.is_false(fut:done())
    handle:cancel()
    timer:cancel()
    assert.equal("number", type(timer:when()))
    fut:cancel()
    assert.is_true(fut:cancelled())
  end))
end)

describe("the exception handler", function()
  it("is none at first, can be set and unset", on_loop(function(loop)
    assert.is_nil(loop:get_exception_handler())
    loop:set_exception_handler(nothing)
    assert.equal(nothing, loop:get_exception_handler())
    loop:set_exception_handler(nil)
    assert.is_nil(loop:get_exception_handler())
  end))

  it("must be a function", on_loop(function(loop)
    raises("bad argument", loop.set_exception_handler, loop, "spam")
    assert.is_nil(loop:get_exception_handler())
  end))

  it("gets the loop and a context when a callback fails", on_loop(function(loop)
    for _, mode in ipairs { true, false } do
      loop:set_debug(mode)
      local given_loop, context
      loop:set_exception_handler(function(l, ctx) given_loop, context = l, ctx end)
      local problem = { "problem" }
      local handle = loop:call_soon(function() error(problem) end)
      turns(loop)
      assert.equal(loop, given_loop)
      assert.equal(problem, context.exception)
      assert.equal(handle, context.handle)
      assert.matches("Exception in callback", context.message)
    end
  end))

  it("gets a plain error message as it was raised", on_loop(function(loop)
    local reports = support.reports(loop)
    loop:call_soon(function() error("boom", 0) end)
    loop:call_later(-1, function() error("bang", 0) end)
    turns(loop)
    assert.equal("boom", reports[1].exception)
    assert.equal("bang", reports[2].exception)
  end))

  it("is called by call_exception_handler with the context as it is", on_loop(function(loop)
    local given
    loop:set_exception_handler(function(_, ctx) given = ctx end)
    local context = { message = "look", extra = 1 }
    loop:call_exception_handler(context)
    assert.equal(context, given)
  end))

  it("may fail itself: the default one hears of both errors, and the loop goes on", function()
    local reported, after = {}, false
    local Watched = lh.EventLoop:subclass {
      default_exception_handler = function(_, context) reported[#reported + 1] = context end,
    }
    local loop = Watched { clock = "virtual" }
    local problem, worse = { "problem" }, { "worse" }
    loop:set_exception_handler(function() error(worse) end)
    loop:call_soon(error, problem)
    loop:call_soon(function() after = true end)
    turns(loop)
    assert.equal(1, #reported)
    assert.matches("Unhandled error in exception handler", reported[1].message, 1, true)
    assert.equal(worse, reported[1].exception)
    assert.equal(problem, reported[1].context.exception)
    assert.is_true(after)
    loop:close()
  end)

  it("is the loop's default_exception_handler as long as none is set", function()
    local reported
    local Watched = lh.EventLoop:subclass {
      default_exception_handler = function(_, context) reported = context end,
    }
    local loop = Watched { clock = "virtual" }
    local problem = { "problem" }
    loop:call_soon(error, problem)
    turns(loop)
    assert.equal(problem, reported.exception)
    loop:close()
  end)

  it("is not needed: the default one prints, and may fail as well", on_loop(function(loop)
    local printed = support.stderr_of(function()
      loop:call_soon(error, "boom")
      turns(loop)
    end)
    assert.matches("Exception in callback", printed)
    assert.matches("boom", printed)
    printed = support.stderr_of(function()
      loop.default_exception_handler = function() error "even worse" end
      loop:call_soon(error, "boom")
      turns(loop)
    end)
    assert.matches("Exception in default exception handler", printed)
    assert.matches("even worse", printed)
  end))

  it("prints, by default, all that the context has, in an order of its own", on_loop(function(loop)
    local printed = support.stderr_of(function()
      loop:call_exception_handler {
        traceback = "its traceback", exception = "an error", message = "a message",
        e = 5, c = 3, a = 1, d = 4, b = 2,
      }
    end)
    assert.equal("a message\na: 1\nb: 2\nc: 3\nd: 4\ne: 5\nan error\nits traceback\n", printed)
  end))

  it("does not keep the later callbacks of the turn from running", on_loop(function(loop)
    local reports, log = support.reports(loop), {}
    loop:call_soon(function() error("boom") end)
    loop:call_soon(function() log[#log + 1] = "after" end)
    turns(loop)
    assert.equal(1, #reports)
    assert.same({ "after" }, log)
  end))

  it("ends the turn of a callback that was alone and failed", on_loop(function(loop)
    local log = {}
    loop:set_exception_handler(function(_, ctx) log[#log + 1] = ctx.exception end)
    local function fail()
      loop:call_soon(function() log[#log + 1] = "later" end)
      error("one", 0)
    end
    loop:call_soon(fail)
    loop:run_once()
    assert.same({ "one" }, log)
    loop:run_once()
    assert.same({ "one", "later" }, log)
    loop:call_soon(function()
      loop:stop()
      fail()
    end)
    loop:run_forever()
    assert.same({ "one", "later", "one" }, log)
  end))

  it("is not asked for the error that a task's waiter gets", on_loop(function(loop)
    local reports = support.reports(loop)
    loop:run_until_complete(function()
      lh.pcall(lh.await, lh.create_task(function() error("boom") end))
    end)
    collectgarbage()
    collectgarbage()
    turns(loop)
    assert.same({}, reports)
  end))
end)

describe("debug mode", function()
  it("is off, and can be switched", on_loop(function(loop)
    assert.is_false(loop:get_debug())
    loop:set_debug(true)
    assert.is_true(loop:get_debug())
    loop:set_debug(false)
    assert.is_false(loop:get_debug())
  end))

  it("can be asked for when the loop is made", on_loop(function(loop)
    assert.is_true(loop:get_debug())
  end, { clock = "virtual", debug = true }))

  it("has a limit for slow callbacks that can be set", on_loop(function(loop)
    assert.equal(0.1, loop.slow_callback_duration)
    loop.slow_callback_duration = 1.5
    assert.equal(1.5, loop.slow_callback_duration)
  end))

  it("names the callbacks and tasks that took too long", on_loop(function(loop)
    local function printed_when(limit)
      return support.stderr_of(function()
        loop.slow_callback_duration = limit
        loop:set_debug(true)
        loop:create_task(nothing):set_name("slowcoach")
        loop:call_soon(nothing)
        turns(loop)
      end)
    end
    local printed = printed_when(0)
    assert.matches("Executing <Task[^\n]*slowcoach[^\n]* took %d[%d.]* seconds", printed)
    assert.matches("Executing <Handle[^\n]* took %d[%d.]* seconds", printed)
    assert.equal("", printed_when(3600))
  end))

  it("has a limit that may change while the loop runs", on_loop(function(loop)
    loop:set_debug(true)
    local printed = support.stderr_of(function()
      loop:call_soon(function() loop.slow_callback_duration = 0 end)
      loop:call_soon(nothing)
      loop:call_soon(function() loop.slow_callback_duration = 3600 end)
      turns(loop)
    end)
    assert.equal(2, select(2, printed:gsub("Executing <Handle", "")))
  end))

  it("tells of the tasks that are left when the loop is closed", on_loop(function(loop)
    loop:set_debug(true)
    local reports = support.reports(loop)
    local task = loop:create_task(lh.sleep, 10)
    turns(loop)
    loop:close()
    assert.equal(1, #reports)
    assert.matches("Task was destroyed but it is pending", reports[1].message, 1, true)
    assert.equal(task, reports[1].task)
  end))
end)

describe("the running and the current loop", function()
  it("are the same while a loop runs", on_loop(function(loop)
    raises("no running event loop", lh.get_running_loop)
    local running, current
    loop:call_soon(function() running, current = lh.get_running_loop(), lh.get_event_loop() end)
    turns(loop)
    assert.equal(loop, running)
    assert.equal(loop, current)
    raises("no running event loop", lh.get_running_loop)
  end))

  it("the current one can be set", on_loop(function(loop)
    support.keep_current(function()
      lh.set_event_loop(loop)
      assert.equal(loop, lh.get_event_loop())
      raises("bad argument", lh.set_event_loop, {})
      assert.equal(loop, lh.get_event_loop())
    end)
  end))

  it("there is no current one once none is wanted", function()
    support.keep_current(function()
      lh.set_event_loop(nil)
      raises("no current event loop", lh.get_event_loop)
    end)
  end)

  it("a running loop is the current one though another was set", on_loop(function(loop)
    support.keep_current(function()
      support.with_loop(function(other)
        for _, set in ipairs { other, false } do
          lh.set_event_loop(set or nil)
          assert.equal(loop, loop:run_until_complete(lh.get_event_loop))
        end
      end)
    end)
  end))
end)

describe("an EventLoopPolicy", function()
  it("makes a current loop when it is asked for the first time", function()
    local policy = lh.EventLoopPolicy()
    local loop = policy:get_event_loop()
    assert.equal(loop, policy:get_event_loop())
    loop:close()
  end)

  it("sets the loop that it makes with its own set_event_loop", function()
    local seen
    local policy = lh.EventLoopPolicy:subclass {
      set_event_loop = function(self, loop)
        seen = loop
        return lh.EventLoopPolicy.set_event_loop(self, loop)
      end,
    }()
    local loop = policy:get_event_loop()
    assert.equal(loop, seen)
    loop:close()
  end)

  it("has none after it was told to have none", function()
    local policy = lh.EventLoopPolicy()
    policy:set_event_loop(nil)
    raises("no current event loop", policy.get_event_loop, policy)
  end)

  it("makes new loops", function()
    local policy = lh.EventLoopPolicy()
    local one, two = policy:new_event_loop(), policy:new_event_loop()
    assert.are_not.equal(one, two)
    one:close()
    two:close()
  end)

  it("keeps the loop that it was given, and takes nothing else", function()
    local policy = lh.EventLoopPolicy()
    local old, new = policy:new_event_loop(), policy:new_event_loop()
    policy:set_event_loop(old)
    raises("bad argument", policy.set_event_loop, policy, {})
    policy:set_event_loop(new)
    assert.equal(new, policy:get_event_loop())
    old:close()
    new:close()
  end)

  it("is asked by the module's functions once it is set", function()
    support.keep_current(function()
      local before = lh.get_event_loop_policy()
      assert.equal(before, lh.get_event_loop_policy())
      raises("bad argument", lh.set_event_loop_policy, {})
      local made
      local policy = lh.EventLoopPolicy:subclass {
        get_event_loop = function() error("asked", 0) end,
        new_event_loop = function(self)
          made = lh.EventLoopPolicy.new_event_loop(self)
          return made
        end,
      }()
      lh.set_event_loop_policy(policy)
      assert.equal(policy, lh.get_event_loop_policy())
      assert.are_not.equal(before, policy)

      local loop = lh.new_event_loop()
      assert.equal(made, loop)
      raises("asked", lh.get_event_loop)
      assert.equal(loop, loop:run_until_complete(lh.get_event_loop))
      lh.set_event_loop(loop)
      raises("asked", lh.get_event_loop)
      lh.set_event_loop(nil)
      loop:close()
    end)
  end)
end)
