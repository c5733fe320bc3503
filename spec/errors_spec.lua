-- Errors as values: what they are made of, how one asks for them, how they travel from task
-- to task, and what pcall does with a cancellation.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line
local finally = support.finally

local CLASSES = {
  "CancelledError", "TimeoutError", "InvalidStateError", "DeadlockError", "QueueEmpty",
  "QueueFull", "QueueShutDown", "BrokenBarrierError",
}

-- The error value that fn(...) raises, of whatever kind.
local function error_of(fn, ...)
  local ok, err = lh.rawpcall(fn, ...)
  assert.is_false(ok)
  return err
end

describe("An error value", function()
  for _, name in ipairs(CLASSES) do
    describe("made by lh." .. name, function()
      local class = lh[name]

      it("has a name and a message", function()
        local err = class("too bad")
        assert.equal(name, err.name)
        assert.equal("too bad", err.message)
      end)

      it("says both when it is made a string", function()
        local text = tostring(class("too bad"))
        assert.is_truthy(text:find(name, 1, true))
        assert.is_truthy(text:find("too bad", 1, true))
      end)

      it("is made by a class whose field of the name was changed, too", function()
        class.name = nil
        local ok, err = pcall(class, "too bad")
        class.name = name
        assert.is_true(ok)
        assert.is_true(lh.iserror(err, class))
      end)

      it("needs no message", function()
        assert.is_truthy(tostring(class()):find(name, 1, true))
      end)

      it("is known by its class and by its name", function()
        local err = class("too bad")
        assert.is_true(lh.iserror(err, class))
        assert.is_true(lh.iserror(err, name))
      end)

      it("is not of any other class", function()
        local err = class("too bad")
        for _, other in ipairs(CLASSES) do
          if other ~= name then
            assert.is_false(lh.iserror(err, lh[other]))
            assert.is_false(lh.iserror(err, other))
          end
        end
        assert.is_false(lh.iserror(err, lh.ExceptionGroup))
      end)

      it("can be raised and caught like any value", function()
        local err = class("too bad")
        assert.equal(err, error_of(error, err))
      end)
    end)
  end

  it("is none of Lua's other values", function()
    for _, value in ipairs { "TimeoutError", 42, true, {}, print, { name = "TimeoutError" } } do
      assert.is_false(lh.iserror(value, lh.TimeoutError))
      assert.is_false(lh.iserror(value, lh.CancelledError))
    end
    assert.is_false(lh.iserror(nil, lh.TimeoutError))
    assert.is_false(lh.iserror("TimeoutError", "TimeoutError"))
  end)

  it("is not asked for by a class that there is not", function()
    raises("error class expected, got nil", lh.iserror, lh.TimeoutError(), lh.TimeoutErorr)
    raises("error class expected, got no value", lh.iserror, lh.TimeoutError())
    raises("no error class of this name", lh.iserror, lh.TimeoutError(), "TimeoutErorr")
  end)

  it("of a group is not made without its list, and its maker's line is named", function()
    for got, list in pairs { ["no value"] = false, number = 5 } do
      local ok, err = pcall(function() lh.ExceptionGroup("several", list or nil) end)
      assert.is_false(ok)
      assert.matches("^spec/errors_spec.lua:%d+: bad argument #2 to 'ExceptionGroup' "
        .. "%(table expected, got " .. got .. "%)$", err)
    end
  end)

  it("of a group says what it is whatever else its metamethod is called with", function()
    local group = lh.ExceptionGroup("several", { lh.TimeoutError "late" })
    assert.equal("ExceptionGroup: several (1 sub-exception: TimeoutError: late)", tostring(group))
    assert.equal(tostring(group), getmetatable(group).__tostring(group, {}, 2, 3))
  end)

  it("of a group is not made of no errors at all", function()
    raises("bad argument #2 to 'ExceptionGroup' (at least one error expected)",
      lh.ExceptionGroup, "several", {})
  end)

  it("made twice is two values", function()
    assert.is_false(rawequal(lh.TimeoutError("a"), lh.TimeoutError("a")))
  end)
end)

describe("The runtime raises", function()
  it("QueueEmpty and QueueFull", function()
    local q = lh.Queue(1)
    raises(lh.QueueEmpty, q.get_nowait, q)
    q:put_nowait(1)
    raises(lh.QueueFull, q.put_nowait, q, 2)
    q:shutdown(true)
    raises(lh.QueueShutDown, q.get_nowait, q)
  end)

  it("InvalidStateError for a result that is not there, or there already", in_task(function()
    local future = lh.get_running_loop():create_future()
    raises(lh.InvalidStateError, future.result, future)
    raises(lh.InvalidStateError, future.exception, future)
    future:set_result(1)
    raises(lh.InvalidStateError, future.set_result, future, 2)
    raises(lh.InvalidStateError, future.set_exception, future, "too late")
  end))

  it("DeadlockError when nothing can ever happen again", function()
    local err = raises(lh.DeadlockError, support.run, function()
      lh.await(lh.get_running_loop():create_future())
    end)
    assert.is_truthy(err.message:find("errors_spec.lua", 1, true))
  end)

  it("DeadlockError that lists every waiting task, and what it waits for", function()
    local made = support.here(6):match "%d+$"
    local err = raises(lh.DeadlockError, support.run, function()
      local event, future = lh.Event(), lh.get_running_loop():create_future()
      local waits = { gather = { lh.gather, future }, wait = { lh.wait, { future } },
        shield = { lh.shield, future }, ["Event.wait"] = { event.wait, event } }
      for i = 1, 100 do
        for what, wait in pairs(waits) do lh.create_task(table.unpack(wait)):set_name(what .. i) end
      end
      event:wait()
    end)
    expect.contains(err.message, "nothing can ever happen again, and 401 tasks wait")
    for i = 1, 100 do
      for _, what in ipairs { "gather", "wait", "shield", "Event.wait" } do
        local text = "  task '%s%d' waits for %s, created at %%S*errors_spec.lua:%s\n"
        assert.matches(text:format(what, i, what, made), err.message)
      end
    end
  end)

  it("ExceptionGroup with the errors of a group in a list", in_task(function()
    local mine = {}
    local group = raises(lh.ExceptionGroup, function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(error, mine)
      tg:create_task(error, "text", 0)
    end)
    assert.equal("ExceptionGroup", group.name)
    assert.equal("unhandled errors in a TaskGroup", group.message)
    assert.equal(2, #group.exceptions)
    assert.equal(mine, group.exceptions[1])
    assert.equal("text", group.exceptions[2])
    assert.is_true(lh.iserror(group, "ExceptionGroup"))
    local text = tostring(group)
    assert.is_truthy(text:find("ExceptionGroup", 1, true))
    assert.is_truthy(text:find("unhandled errors in a TaskGroup", 1, true))
  end))
end)

describe("An error that leaves a task", function()
  local values = {
    { "a table", {} },
    { "an error value", lh.TimeoutError("mine") },
    { "a string", "text" },
    { "a number", 42 },
    { "false", false },
  }
  for _, case in ipairs(values) do
    local kind, value = case[1], case[2]
    local function fail()
      lh.sleep(1)
      error(value, 0)
    end

    it("is the same value where the task is awaited: " .. kind, in_task(function()
      local task = lh.create_task(fail)
      assert.equal(value, error_of(lh.await, task))
      assert.equal(value, error_of(lh.await, task)) -- and again
      assert.equal(value, error_of(task.result, task))
      assert.equal(value, task:exception())
    end))

    it("is the same value through all that waits: " .. kind, in_task(function()
      assert.equal(value, error_of(lh.await, fail))
      assert.equal(value, error_of(lh.gather, fail, fail))
      assert.equal(value, error_of(lh.wait_for, fail, 10))
      assert.equal(value, error_of(lh.wait_for, lh.create_task(fail), 10))
      assert.equal(value, error_of(lh.shield, lh.create_task(fail)))
      assert.equal(value, error_of(function()
        local _ <close> = lh.timeout(10)
        fail()
      end))
      local r = lh.gather({ fail }, { return_exceptions = true })
      assert.equal(value, r[1])
      local group = raises(lh.ExceptionGroup, function()
        local tg <close> = lh.TaskGroup()
        tg:create_task(fail)
      end)
      assert.equal(value, group.exceptions[1])
    end))

    it("is the same value out of the loop: " .. kind, function()
      assert.equal(value, error_of(support.run, fail))
    end)

    it("is the same value through a chain of tasks: " .. kind, in_task(function()
      assert.equal(value, error_of(function()
        lh.await(lh.create_task(function()
          lh.await(lh.create_task(function() lh.await(lh.create_task(fail)) end))
        end))
      end))
    end))
  end

  it("says in the task's traceback where it came from", in_task(function()
    local function deep() error("lost", 0) end
    local task = lh.create_task(function()
      lh.sleep(0)
      deep()
    end)
    raises("lost", lh.await, task)
    assert.is_truthy(task:traceback():find("errors_spec.lua", 1, true))
  end))

  it("is not taken for another task's that had the same words", in_task(function()
    local function fail_again()
      local task = lh.create_task(error, "the same words")
      raises("the same words", lh.await, task)
      return task:traceback()
    end
    local told, again = fail_again(), fail_again()
    assert.equal(told:gsub("Task%-%d+", ""), (again:gsub("Task%-%d+", "")))
    for _ = 1, 50 do fail_again() end
    local bytes = support.memory()
    for _ = 1, 50 do fail_again() end
    local grown = support.memory() - bytes
    assert.is_true(grown < 8, ("%.1f KiB more"):format(grown))
  end))
end)

for _, name in ipairs { "pcall", "xpcall" } do
  describe(name .. " in a task", function()
    local protected = name == "pcall" and lh.pcall or function(fn, ...)
      return lh.xpcall(fn, function(err) return err end, ...)
    end

    it("returns what the function returns, also after a wait", in_task(function()
      assert.same({ true, 1, nil, 3 }, { protected(function(...)
        lh.sleep(1)
        return ...
      end, 1, nil, 3) })
    end))

    it("catches an error, also after a wait", in_task(function()
      local mine = {}
      local ok, err = protected(function()
        lh.sleep(1)
        error(mine)
      end)
      assert.is_false(ok)
      assert.equal(mine, err)
    end))

    it("catches all error values but CancelledError", in_task(function()
      for _, class in ipairs(CLASSES) do
        if class ~= "CancelledError" then
          local mine = lh[class]("caught")
          local ok, err = protected(error, mine)
          assert.is_false(ok)
          assert.equal(mine, err)
        end
      end
    end))

    it("lets a cancellation pass, and <close> variables run on its way", in_task(function()
      local log = expect.log()
      local task = lh.create_task(function()
        local _ <close> = finally(function(err) log(err.name) end)
        protected(function()
          local _ <close> = finally(function() log("inner") end)
          protected(lh.sleep, 10)
          log("after the wait")
        end)
        log("after the call")
      end)
      turns(1)
      task:cancel()
      cancelled(task)
      assert.equal("inner CancelledError", line(log))
    end))

    it("lets a CancelledError pass that the script raised itself", in_task(function()
      local mine = lh.CancelledError("by hand")
      assert.equal(mine, error_of(protected, error, mine))
    end))

    it("lets the cleanup wait that a cancellation runs", in_task(function()
      local cleaned = false
      local task = lh.create_task(function()
        protected(function()
          local _ <close> = finally(function()
            lh.sleep(1)
            cleaned = true
          end)
          lh.sleep(10)
        end)
      end)
      turns(1)
      task:cancel()
      cancelled(task)
      assert.is_true(cleaned)
    end))

    it("catches the error that a cleanup raised instead of the cancellation", in_task(function()
      local caught
      local task = lh.create_task(function()
        local _
        _, caught = protected(function()
          local _ <close> = finally(function() error("instead", 0) end)
          lh.sleep(10)
        end)
        return "went on"
      end)
      turns(1)
      task:cancel()
      assert.equal("went on", lh.await(task))
      assert.equal("instead", caught)
      assert.equal(1, task:cancelling())
    end))

    it("catches the TimeoutError of a block inside, not the cancellation for it", in_task(function()
      local ok, err = protected(function()
        local _ <close> = lh.timeout(1)
        protected(lh.sleep, 10)
        error("the inner call caught it")
      end)
      assert.is_false(ok)
      assert.is_true(lh.iserror(err, lh.TimeoutError))
    end))
  end)
end

describe("xpcall in a task", function()
  it("asks its handler, where the error happened", in_task(function()
    local traceback
    local ok, err = lh.xpcall(function()
      lh.sleep(1)
      error("oops", 0)
    end, function(e)
      traceback = debug.traceback()
      return "handled " .. e
    end)
    assert.is_false(ok)
    assert.equal("handled oops", err)
    assert.is_truthy(traceback:find("errors_spec.lua", 1, true))
  end))
end)

describe("rawpcall in a task", function()
  it("catches a cancellation, and the task goes on", in_task(function()
    local caught
    local task = lh.create_task(function()
      local _
      _, caught = lh.rawpcall(lh.sleep, 10)
      lh.sleep(1)
      return "went on"
    end)
    turns(1)
    task:cancel("enough")
    assert.equal("went on", lh.await(task))
    assert.is_true(lh.iserror(caught, lh.CancelledError))
    assert.equal("enough", caught.message)
    assert.is_false(task:cancelled())
    assert.equal(1, task:cancelling())
  end))

  it("may raise it again, and the task is cancelled", in_task(function()
    local caught
    local task = lh.create_task(function()
      local _
      _, caught = lh.rawpcall(lh.sleep, 10)
      error(caught, 0)
    end)
    turns(1)
    task:cancel()
    local err = cancelled(task)
    assert.equal(caught, err)
  end))

  it("returns and catches like pcall otherwise", in_task(function()
    assert.same({ true, 1, nil, 3 }, { lh.rawpcall(function(...)
      lh.sleep(1)
      return ...
    end, 1, nil, 3) })
    local mine = {}
    local ok, err = lh.rawpcall(error, mine)
    assert.is_false(ok)
    assert.equal(mine, err)
  end))

  it("works where no task runs", function()
    assert.same({ true, 1 }, { lh.rawpcall(function() return 1 end) })
    assert.same({ true, 1 }, { lh.pcall(function() return 1 end) })
    assert.is_false((lh.pcall(error, "text")))
  end)
end)

describe("A CancelledError raised by the script itself", function()
  it("makes the task a cancelled one", in_task(function()
    local task = lh.create_task(function() error(lh.CancelledError("by hand"), 0) end)
    assert.equal("by hand", cancelled(task).message)
    assert.equal(0, task:cancelling())
  end))
end)
