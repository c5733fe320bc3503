-- Faults that a hostile reader of the bindings once found; each test is one.

local lh = require "loophost"
local support = require "spec.support"

local coroutine = lh.coroutine

describe("A task whose coroutine is a script's", function()
  it("keeps it from being closed before its first step", function()
    support.run(function()
      local body = coroutine.create(function() return 9 end)
      local task = lh.create_task(body)
      assert.is_false((lh.rawpcall(coroutine.close, body)))
      assert.equal(9, lh.await(task))
    end)
  end)

  it("leaves it dead when it is cancelled before its first step", function()
    support.run(function()
      local body = coroutine.create(error)
      local task = lh.create_task(body, "must not run")
      task:cancel()
      lh.sleep(0)
      assert.is_true(task:cancelled())
      assert.equal("dead", coroutine.status(body))
      local ok, err = coroutine.resume(body)
      assert.is_false(ok)
      assert.equal("cannot resume dead coroutine", err)
    end)
  end)

  it("cannot be resumed by the script while it waits", function()
    support.run(function()
      local body = coroutine.create(lh.sleep)
      lh.create_task(body, 1)
      lh.sleep(0)
      assert.is_false((coroutine.resume(body)))
      assert.is_false((lh.rawpcall(coroutine.close, body)))
    end)
  end)
end)

describe("A task whose coroutine is resumed outside of a task, as stock Lua lets one do", function()
  it("can be cancelled, whatever it awaited", function()
    for _, kind in ipairs { "future", "task" } do
      local loop = lh.new_event_loop { clock = "virtual" }
      local awaited = kind == "future" and loop:create_future() or loop:create_task(lh.sleep, 5)
      local task = loop:create_task(lh.await, awaited)
      loop:call_later(1, loop.stop, loop)
      loop:run_forever()
      _G.coroutine.resume(task:get_coro()) -- in the host, it is refused
      assert.is_true(task:cancel())
      lh.rawpcall(loop.run_until_complete, loop, task)
      assert.is_true(task:done())
      loop:close()
    end
  end)
end)

describe("A task whose coroutine stock Lua lets one take away from it", function()
  local function waiting(loop, wait)
    local task = loop:create_task(wait)
    loop:run_once()
    return task, task:get_coro()
  end

  -- In the host it is refused.
  local function is_refused(...)
    local ok, err = _G.coroutine.resume(...)
    return not ok and err == "cannot resume the coroutine of a task"
  end

  it("fails, whatever it waited for", function()
    local waits = {
      function() lh.Event():wait() end,
      function() lh.Semaphore(0):acquire() end,
      function() lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } }:recvfrom() end,
      function() lh.start_server(print, "127.0.0.1", 0):wait_closed() end,
      function() lh.to_thread "return 1" end,
    }
    for _, wait in ipairs(waits) do
      local loop = lh.new_event_loop()
      local task, body = waiting(loop, wait)
      local refused = is_refused(body)
      assert.is_true(task:cancel())
      assert.is_false((lh.rawpcall(loop.run_until_complete, loop, task)))
      assert.equal(refused, task:cancelled())
      loop:close()
      collectgarbage()
    end
  end)

  it("tells where it waits, although that was in a coroutine of its own", function()
    local loop = lh.new_event_loop { clock = "virtual" }
    local task, body = waiting(loop, lh.coroutine.wrap(function() lh.sleep(1) end))
    assert.is_string(task:traceback())
    pcall(_G.coroutine.close, body)
    collectgarbage()
    local texts = {}
    for size = 60, 300 do texts[size] = ("x"):rep(size) end -- in its memory, if that was given back
    assert.is_string(task:traceback())
    assert.is_true(task:cancel())
    assert.is_false((lh.rawpcall(loop.run_until_complete, loop, task)))
    for size = 60, 300 do assert.equal(("x"):rep(size), texts[size]) end
    loop:close()
  end)

  it("can be cancelled although nobody has what it awaited", function()
    for _, away in ipairs { _G.coroutine.close, _G.coroutine.resume } do
      local loop = lh.new_event_loop { clock = "virtual" }
      local task, body = waiting(loop, function() lh.await(loop:create_future()) end)
      pcall(away, body)
      collectgarbage()
      local texts = {} -- where the future's memory was, if that was given back
      for size = 60, 160 do texts[size] = ("x"):rep(size) end
      assert.is_true(task:cancel())
      for size = 60, 160 do assert.equal(("x"):rep(size), texts[size]) end
      assert.is_false((lh.rawpcall(loop.run_until_complete, loop, task)))
      loop:close()
    end
  end)
end)

describe("Tasks that await each other in a circle", function()
  it("can be cancelled", function()
    support.run(function()
      local a, b
      a = lh.create_task(function() lh.await(b) end)
      b = lh.create_task(function() lh.await(a) end)
      lh.sleep(0.25)
      assert.is_true(a:cancel())
      lh.wait { a, b }
      assert.is_true(a:cancelled())
      assert.is_true(b:cancelled())
    end)
  end)
end)

describe("A task that waits when its loop is closed", function()
  it("can be cancelled, also if the loop has a call_soon of its own", function()
    local Class = lh.EventLoop:subclass {
      call_soon = function(self, ...) return lh.EventLoop.call_soon(self, ...) end,
    }
    local function wait_for_event() lh.Event():wait() end
    for _, wait in ipairs { lh.sleep, wait_for_event } do
      for _, loop in ipairs { lh.new_event_loop(), Class() } do
        local task = loop:create_task(wait, 10)
        loop:call_soon(loop.stop, loop)
        loop:run_forever()
        loop:close()
        assert.is_true(task:cancel "message")
        assert.is_false(task:done()) -- nothing runs there any more
      end
    end
  end)
end)

describe("A finaliser", function()
  it("may cancel a task whose loop is collected with it", function()
    do
      local Class = lh.EventLoop:subclass {
        call_soon = function(self, ...) return lh.EventLoop.call_soon(self, ...) end,
      }
      local loop = Class { clock = "virtual" }
      local task = loop:create_task(lh.sleep, 5)
      local handle = loop:call_later(9, print)
      loop:call_later(1, loop.stop, loop)
      loop:run_forever()
      setmetatable({}, { __gc = function()
        task:cancel()
        handle:cancel()
      end })
    end
    collectgarbage()
    collectgarbage()
  end)

  it("cannot begin a task on a loop that is collected with it", function()
    local outcomes = {}
    for _, was_used in ipairs { false, true } do
      local function abandon()
        local loop = lh.new_event_loop { clock = "virtual" }
        if was_used then loop:run_until_complete(lh.gather) end
        setmetatable({}, { __gc = function()
          outcomes[#outcomes + 1] = select(2, lh.rawpcall(loop.create_task, loop, lh.sleep, 0))
        end })
      end
      abandon()
      collectgarbage()
    end
    assert.matches("Event loop is closed", outcomes[1])
    assert.matches("Event loop is closed", outcomes[2])
  end)

  it("is told who awaits a task of a loop that is collected with it", function()
    local story
    local function abandon()
      local loop = lh.new_event_loop { clock = "virtual" }
      local inner = loop:create_task(lh.sleep, 5)
      local outer = loop:create_task(function() lh.await(inner) end)
      outer:set_name "the awaiter"
      loop:call_later(1, loop.stop, loop)
      loop:run_forever()
      setmetatable({}, { __gc = function() story = inner:traceback() end })
    end
    abandon()
    collectgarbage()
    assert.matches("the awaiter", story)
  end)
end)

describe("A callback", function()
  it("that raises is not kept for that", function()
    local loop, held = lh.new_event_loop { clock = "virtual" }, setmetatable({}, { __mode = "k" })
    loop:set_exception_handler(function() end)
    for _ = 1, 5 do
      local object = {}
      held[object] = true
      loop:call_soon(error, object)
    end
    loop:run_until_complete(lh.sleep, 0)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(held))
    loop:close()
  end)

  it("with more arguments than can be kept is refused", function()
    local loop = lh.new_event_loop { clock = "virtual" }
    local many = {}
    for i = 1, 70000 do many[i] = i end
    local ok, err = lh.rawpcall(loop.call_soon, loop, print, table.unpack(many))
    assert.is_false(ok)
    assert.matches("too many arguments", err)
    loop:close()
  end)
end)

describe("A loop whose call_soon() raises at the end of a task", function()
  it("reports that, and wakes those who await the task", function()
    local function unwanted() end
    local Class = lh.EventLoop:subclass {
      call_soon = function(self, fn, ...)
        if fn == unwanted then error("not this one", 0) end
        return lh.EventLoop.call_soon(self, fn, ...)
      end,
    }
    local loop, reported = Class { clock = "virtual" }, {}
    loop:set_exception_handler(function(_, context)
      reported[#reported + 1] = context.exception
    end)
    local task = loop:create_task(function()
      lh.sleep(1)
      return "result"
    end)
    task:add_done_callback(unwanted)
    task:add_done_callback(print)
    local function await() return lh.await(task) end
    assert.equal("result", loop:run_until_complete(await))
    assert.same({ "not this one" }, reported)
    loop:close()
  end)
end)

describe("A future of a loop that is closed", function()
  it("is done when its result is set, though its callbacks cannot run", function()
    local loop = lh.new_event_loop()
    local future = loop:create_future()
    future:add_done_callback(print)
    loop:close()
    local ok, err = lh.rawpcall(future.set_result, future, 5)
    assert.is_false(ok)
    assert.matches("Event loop is closed", err)
    assert.equal(5, future:result())
  end)
end)

describe("A loop that overrides time()", function()
  it("is asked for the time of a Sleep that is yielded", function()
    local asked = 0
    local Class = lh.EventLoop:subclass {
      time = function(self)
        asked = asked + 1
        return lh.EventLoop.time(self)
      end,
    }
    local loop = Class {}
    loop:run_until_complete(function() lh.coroutine.yield(lh.Sleep(0.001)) end)
    assert.is_true(asked > 0)
    loop:close()
  end)
end)

describe("A task that goes on swallowing cancellation", function()
  it("is closed by force when its runner closes, and reported", function()
    local reports = {}
    local runner = lh.Runner { loop_factory = function()
      local loop = lh.new_event_loop { clock = "virtual" }
      loop:set_exception_handler(function(_, context) reports[#reports + 1] = context end)
      return loop
    end }
    local task
    runner:run(function()
      task = lh.create_task(function()
        while true do lh.rawpcall(lh.sleep, 1) end
      end)
      lh.sleep(0)
    end)
    runner:close()
    assert.equal(1, #reports)
    assert.matches("by force", reports[1].message)
    assert.equal(task, reports[1].task)
  end)
end)
