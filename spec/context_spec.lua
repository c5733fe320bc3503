-- ContextVar: a value that each task and each callback inherits, and changes for itself only.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises, in_task =
  support.on_loop, support.turns, expect.raises, expect.in_task

describe("ContextVar", function()
  it("has the default, get's before its own, until it is set", in_task(function()
    local var = lh.ContextVar("var", "nope")
    assert.equal("nope", var:get())
    assert.equal("other", var:get("other"))
    var:set("yes")
    assert.equal("yes", var:get())
    assert.equal("yes", var:get("other"))
  end))

  it("gives what get() names when it has neither value nor default", in_task(function()
    local var = lh.ContextVar("bare")
    assert.equal("other", var:get("other"))
    raises("bare", var.get, var)
    var:set(1)
    assert.equal(1, var:get("other"))
  end))

  it("takes false for a value", in_task(function()
    local var = lh.ContextVar("var", true)
    var:set(false)
    assert.is_false(var:get())
    assert.is_false(var:get("other"))
  end))

  it("goes back to what it was with the token of the setting", in_task(function()
    local var = lh.ContextVar("var", "default")
    local first = var:set("one")
    local second = var:set("two")
    var:reset(second)
    assert.equal("one", var:get())
    var:reset(first)
    assert.equal("default", var:get())
  end))

  it("goes back to having no value", in_task(function()
    local var = lh.ContextVar("bare")
    local token = var:set(1)
    var:reset(token)
    assert.equal("other", var:get("other"))
  end))

  it("takes each token once, and only its own", in_task(function()
    local one, two = lh.ContextVar("one", 1), lh.ContextVar("two", 2)
    local token = one:set("x")
    raises("token", two.reset, two, token)
    one:reset(token)
    raises("used", one.reset, one, token)
    raises("bad argument", one.reset, one)
  end))

  it("needs a name", function()
    raises("bad argument", lh.ContextVar)
    raises("bad argument", lh.ContextVar, {})
  end)
end)

describe("the context of a task", function()
  it("is a copy of its maker's, and what it sets stays in it", on_loop(function(loop)
    local var = lh.ContextVar("var", "nope")
    loop:run_until_complete(function()
      assert.equal("nope", var:get())
      local inside
      local child = lh.create_task(function()
        lh.sleep(0.01)
        inside = var:get()
        var:set("something else")
      end)
      var:set("yes")
      assert.equal("yes", var:get())
      lh.await(child)
      assert.equal("nope", inside)
      assert.equal("yes", var:get())
    end)
  end))

  it("is what the maker's was when the task was made", in_task(function()
    local var = lh.ContextVar("var", "nope")
    var:set("first")
    local child = lh.create_task(function() return var:get() end)
    var:set("second")
    assert.equal("first", lh.await(child))
  end))

  it("is not changed by a future's callback", on_loop(function(loop)
    local var = lh.ContextVar("var", "nope")
    loop:run_until_complete(function()
      for j = 1, 2 do
        local fut = loop:create_future()
        fut:add_done_callback(function() var:set("something else") end)
        var:set("yes" .. j)
        loop:call_soon(fut.set_result, fut)
        lh.await(fut)
        assert.equal("yes" .. j, var:get())
        for i = 1, 3 do
          var:set(i .. "-" .. j)
          lh.sleep(0.001)
          assert.equal(i .. "-" .. j, var:get())
        end
      end
    end)
    assert.equal("nope", var:get())
  end))

  it("is its own among a hundred others", on_loop(function(loop)
    local var = lh.ContextVar("var", -1)
    loop:run_until_complete(function()
      local list = {}
      for i = 1, 100 do
        list[i] = function()
          local base = math.random(0, 10)
          for n = 1, 10 do
            var:set(base + n)
            lh.sleep(math.random(1, 50) / 1000)
            assert.equal(base + n, var:get())
          end
        end
      end
      lh.gather(list)
    end)
    assert.equal(-1, var:get())
  end))

  it("is each gathered function's own", in_task(function()
    local precision = lh.ContextVar("precision", 1)
    local function fractions(delay, digits)
      return function()
        local token = precision:set(digits)
        local a = ("%." .. precision:get() .. "f"):format(1 / 3)
        lh.sleep(delay)
        local b = ("%." .. precision:get() .. "f"):format(1 / 9)
        precision:reset(token)
        return { a, b }
      end
    end
    local result = lh.gather(fractions(0.1, 3), fractions(0.2, 6))
    assert.same({ "0.333", "0.111" }, result[1])
    assert.same({ "0.333333", "0.111111" }, result[2])
    assert.equal(1, precision:get())
  end))

  it("is the same in a function that is called or awaited in place", in_task(function()
    local var = lh.ContextVar("var", "nope")
    lh.await(function()
      lh.sleep(1)
      var:set("inside")
    end)
    assert.equal("inside", var:get())
  end))

  it("is the same inside the task's own coroutines", in_task(function()
    local var = lh.ContextVar("var", "nope")
    var:set("outer")
    local step = lh.coroutine.wrap(function()
      local seen = var:get()
      var:set("inner")
      lh.sleep(1)
      coroutine.yield(seen)
      return var:get()
    end)
    assert.equal("outer", step())
    assert.equal("inner", var:get())
    assert.equal("inner", step())
  end))

  it("does not leak into the one who awaits", in_task(function()
    local var = lh.ContextVar("var", "nope")
    lh.await(lh.create_task(function() var:set("child") end))
    lh.wait { lh.create_task(function() var:set("child") end) }
    lh.shield(function() var:set("child") end)
    assert.equal("nope", var:get())
  end))

  it("does not leak from one loop's function to the next", function()
    local var = lh.ContextVar("var", "nope")
    support.run(function() var:set("first") end)
    support.run(function() assert.equal("nope", var:get()) end)
    assert.equal("nope", var:get())
  end)
end)

describe("the context of a callback", function()
  it("is that of the one who scheduled it", on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "nope"), {}
    loop:run_until_complete(function()
      var:set("task")
      loop:call_soon(function() seen.soon = var:get() end)
      loop:call_later(1, function() seen.later = var:get() end)
      loop:call_at(loop:time() + 1, function() seen.at = var:get() end)
      local fut = loop:create_future()
      fut:add_done_callback(function() seen.done = var:get() end)
      loop:call_later(2, fut.set_result, fut)
      var:set("changed")
      lh.sleep(3)
    end)
    assert.same({ soon = "task", later = "task", at = "task", done = "task" }, seen)
  end))

  it("is kept from callback to callback, and ends there", on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "nope"), {}
    loop:call_soon(function()
      var:set("first")
      loop:call_soon(function() seen[1] = var:get() end)
    end)
    loop:call_soon(function() seen[2] = var:get() end)
    turns(loop, 2)
    assert.same({ "first", "nope" }, seen)
    assert.equal("nope", var:get())
  end))

  it("is let go of when the callback is cancelled", on_loop(function(loop)
    local var, held, timers = lh.ContextVar("var"), setmetatable({}, { __mode = "v" }), {}
    loop:run_until_complete(function()
      held[1] = {}
      var:set(held[1])
      for i = 1, 2 do timers[i] = loop:call_later(3600, turns) end
      for i = 1, 2 do timers[i]:cancel() end
    end)
    collectgarbage()
    collectgarbage()
    assert.equal(2, #timers)
    assert.is_nil(held[1])
  end))

  it("is inherited by the task that it makes", on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "nope"), nil
    loop:call_soon(function()
      var:set("callback")
      loop:create_task(function() seen = var:get() end)
      var:set("later")
    end)
    turns(loop, 2)
    assert.equal("callback", seen)
  end))
end)

describe("the context of a descriptor's callback", function()
  it("is that of the one who added it, the same each time", on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "nope"), {}
    local file <close> = assert(io.popen("cat", "w"))
    loop:run_until_complete(function()
      var:set("task's")
      loop:add_writer(file, function()
        seen[#seen + 1] = var:get()
        var:set("its own " .. #seen)
        if #seen == 3 then loop:remove_writer(file) end
      end)
      var:set("changed")
    end)
    while #seen < 3 do loop:run_once() end
    assert.same({ "task's", "its own 1", "its own 2" }, seen)
    assert.equal("nope", var:get())
  end))
end)

describe("the context of a signal's handler", function()
  it("is that of the one who added it, the same each time", on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "nope"), {}
    loop:run_until_complete(function()
      var:set("task's")
      loop:add_signal_handler("SIGUSR1", function()
        seen[#seen + 1] = var:get()
        var:set("its own " .. #seen)
      end)
      var:set("changed")
      for n = 1, 3 do
        assert(os.execute "kill -USR1 $PPID")
        while #seen < n do lh.sleep(0) end
      end
      assert.equal("changed", var:get())
    end)
    assert.same({ "task's", "its own 1", "its own 2" }, seen)
    loop:remove_signal_handler("SIGUSR1")
  end))
end)

describe("the context of a server's handlers", function()
  -- Serves n connections, one after the other; what `var` is in each handler, before it is
  -- set there.
  local function serve(var, n, ending)
    local seen = {}
    local server <close> = assert(lh.start_server(function(stream)
      seen[#seen + 1] = var:get()
      var:set "the handler's"
      lh.sleep(0)
      seen[#seen + 1] = var:get()
      stream:close()
      if ending == "error" then error "handler" end
    end, "127.0.0.1", 0))
    var:set "later"
    local port = select(2, server:getsockname())
    for _ = 1, n do
      local stream <close> = assert(lh.open_connection("127.0.0.1", port))
      assert.is_nil(stream:read())
    end
    return table.concat(seen, ", ")
  end

  it("is what start_server's caller had, each its own", support.in_real_task(function()
    local var = lh.ContextVar("var", "default")
    var:set "at the start"
    assert.equal("at the start, the handler's, at the start, the handler's", serve(var, 2))
    assert.equal("later", var:get())
  end))

  it("is without a variable that was set only later", support.in_real_task(function()
    local var = lh.ContextVar("var", "default")
    assert.equal("default, the handler's, default, the handler's", serve(var, 2))
  end))

  it("stays inside, also when a handler fails", function()
    local var = lh.ContextVar("var", "default")
    support.in_real_task(function(loop)
      local told = {}
      loop:set_exception_handler(function() told[#told + 1] = var:get() end)
      var:set "at the start"
      serve(var, 2, "error")
      assert.same({ "at the start", "at the start" }, told)
    end)()
    assert.equal("default", var:get())
  end)

  it("is that of the callback which made the server's task", support.on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "default"), nil
    loop:run_until_complete(function()
      local held <close> = lh.timeout(60)
      local done = lh.Event()
      loop:call_soon(function()
        var:set "the callback's"
        loop:create_task(function()
          seen = serve(var, 1)
          done:set()
        end)
      end)
      done:wait()
    end)
    assert.equal("the callback's, the handler's", seen)
  end, { clock = "monotonic" }))
end)
