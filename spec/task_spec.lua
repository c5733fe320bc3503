-- Task: a function that runs in turns, and what others can know of it.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises, in_task =
  support.on_loop, support.turns, expect.raises, expect.in_task

local function ok() return "ok" end

describe("a Task", function()
  it("is done with what its function returned", on_loop(function(loop)
    local task = loop:create_task(ok)
    assert.is_false(task:done())
    assert.equal("ok", loop:run_until_complete(task))
    assert.is_true(task:done())
    assert.is_false(task:cancelled())
    assert.equal("ok", task:result())
    assert.is_nil(task:exception())
    assert.equal(loop, task:get_loop())
  end))

  it("does not start before the next turn", on_loop(function(loop)
    local started = false
    loop:create_task(function() started = true end)
    assert.is_false(started)
    turns(loop)
    assert.is_true(started)
  end))

  it("gets the arguments that follow its function, nils included", on_loop(function(loop)
    local task = loop:create_task(table.pack, 1, nil, 3, nil)
    loop:run_until_complete(task)
    assert.same({ n = 4, 1, nil, 3, nil }, task:result())
  end))

  it("has several results when its function returned several", on_loop(function(loop)
    local task = loop:create_task(function() return 1, nil, 3 end)
    assert.same({ n = 3, 1, nil, 3 }, table.pack(loop:run_until_complete(task)))
    assert.same({ n = 3, 1, nil, 3 }, table.pack(task:result()))
  end))

  it("may call functions that wait as it calls others", on_loop(function(loop)
    local function inner1()
      lh.sleep(1)
      return 42
    end
    local function inner2()
      lh.sleep(1)
      return 1000
    end
    assert.equal(1042, loop:run_until_complete(function() return inner1() + inner2() end))
  end))

  it("can be made of a coroutine, which get_coro gives back", on_loop(function(loop)
    local coro = lh.coroutine.create(function()
      lh.sleep(1)
      return "ok"
    end)
    local task = loop:create_task(coro)
    assert.equal("ok", loop:run_until_complete(task))
    assert.equal(coro, task:get_coro())
  end))

  it("has a coroutine of its own when it was made of a function", on_loop(function(loop)
    local inside
    local task = loop:create_task(function() inside = coroutine.running() end)
    assert.equal("thread", type(task:get_coro()))
    local coro = task:get_coro()
    loop:run_until_complete(task)
    assert.equal(coro, inside)
  end))

  it("is not made of anything else", on_loop(function(loop)
    for _ = 1, 2 do
      raises("bad argument", loop.create_task, loop, 123)
      raises("bad argument", loop.create_task, loop, "ok")
      raises("bad argument", loop.create_task, loop)
    end
    assert.same({}, lh.all_tasks(loop))
  end))

  it("is made on the running loop by lh.create_task", on_loop(function(loop)
    loop:run_until_complete(function()
      local task = lh.create_task(function() return 1 end)
      assert.equal(loop, task:get_loop())
      assert.equal(1, lh.await(task))
    end)
  end))

  it("ends with a future when its function returned a future", on_loop(function(loop)
    local fut = loop:create_future()
    local t1 = loop:create_task(function() return fut end)
    local t2 = loop:create_task(function() fut:set_result("test") end)
    assert.equal(fut, loop:run_until_complete(t1))
    loop:run_until_complete(t2)
    assert.is_nil(t2:result())
  end))

  it("goes on in the turn after the one in which its future was done", on_loop(function(loop)
    local fut, result = loop:create_future(), nil
    local task = loop:create_task(function() result = lh.await(fut) end)
    turns(loop)
    local value = {}
    fut:set_result(value)
    assert.is_nil(result)
    turns(loop)
    assert.equal(value, result)
    assert.is_true(task:done())
  end))

  it("cannot be given a result or an error from outside", on_loop(function(loop)
    local task = loop:create_task(ok)
    raises("does not support set_result", task.set_result, task, "no")
    raises("does not support set_exception", task.set_exception, task, "no")
    assert.equal("ok", loop:run_until_complete(task))
  end))

  it("cannot await itself", on_loop(function(loop)
    local task
    task = loop:create_task(function() lh.await(task) end)
    raises("Task cannot await on itself", loop.run_until_complete, loop, task)
  end))

  it("raises the very value its function raised", on_loop(function(loop)
    local problem = { "problem" }
    local task = loop:create_task(function() error(problem) end)
    local _, err = lh.rawpcall(loop.run_until_complete, loop, task)
    assert.equal(problem, err)
    assert.equal(problem, task:exception())
    assert.is_false(task:cancelled())
  end))

  it("lets its error be caught where it is awaited", on_loop(function(loop)
    local problem = { "problem" }
    loop:run_until_complete(function()
      local caught, err = lh.pcall(lh.await, lh.create_task(function()
        lh.sleep(1)
        error(problem)
      end))
      assert.is_false(caught)
      assert.equal(problem, err)
    end)
  end))

  it("can be kept in its own result", on_loop(function(loop)
    local task = loop:create_task(function() return lh.all_tasks() end)
    local all = loop:run_until_complete(task)
    assert.same({ task }, all)
    assert.equal("string", type(tostring(task)))
  end))

  it("survives results whose finaliser collects garbage", on_loop(function(loop)
    local collect = { __gc = function() collectgarbage() end }
    loop:run_until_complete(function()
      local made = {}
      for i = 1, 100 do made[i] = function() return setmetatable({}, collect) end end
      lh.gather(made)
    end)
    collectgarbage()
  end))

  it("is held by its loop until it is done", on_loop(function(loop)
    local fut, finished = loop:create_future(), false
    loop:create_task(function()
      lh.await(fut)
      finished = true
    end)
    turns(loop)
    collectgarbage()
    collectgarbage()
    assert.equal(1, #lh.all_tasks(loop))
    fut:set_result(1)
    turns(loop)
    assert.is_true(finished)
    assert.same({}, lh.all_tasks(loop))
  end))
end)

describe("a Task's name", function()
  it("is counted up when nobody gave one", on_loop(function(loop)
    local t1, t2 = loop:create_task(ok), loop:create_task(ok)
    local n1 = tonumber(t1:get_name():match("^Task%-(%d+)$"))
    local n2 = tonumber(t2:get_name():match("^Task%-(%d+)$"))
    assert.is_true(n1 < n2)
    turns(loop)
  end))

  it("can be set", on_loop(function(loop)
    local task = loop:create_task(ok)
    task:set_name("No-op")
    assert.equal("No-op", task:get_name())
    assert.matches("No-op", tostring(task), 1, true)
    turns(loop)
    assert.equal("No-op", task:get_name())
  end))

  it("is made a string of what was given", on_loop(function(loop)
    local task = loop:create_task(ok)
    task:set_name(6)
    assert.equal("6", task:get_name())
    turns(loop)
  end))

  it("stands in its string form, beside the state", on_loop(function(loop)
    local task = loop:create_task(lh.sleep, 1)
    task:set_name("Mine")
    local function shows(state)
      assert.matches("Mine", tostring(task), 1, true)
      assert.matches(state, tostring(task), 1, true)
    end
    shows "pending"
    task:cancel()
    raises(lh.CancelledError, loop.run_until_complete, loop, task)
    shows "cancelled"
    task = loop:create_task(ok)
    task:set_name("Mine")
    loop:run_until_complete(task)
    shows "finished"
  end))
end)

describe("a Task's traceback", function()
  it("shows the line of the error", on_loop(function(loop)
    local line
    local task = loop:create_task(function()
      lh.sleep(1)
      line = support.here(1)
      error { "problem" }
    end)
    lh.rawpcall(loop.run_until_complete, loop, task)
    assert.matches(line, task:traceback(), 1, true)
  end))

  it("shows the line at which a cancelled task waited", on_loop(function(loop)
    local line
    local task = loop:create_task(function()
      line = support.here(1)
      lh.sleep(10)
    end)
    turns(loop)
    task:cancel()
    raises(lh.CancelledError, loop.run_until_complete, loop, task)
    assert.matches(line, task:traceback(), 1, true)
  end))

  it("goes on through the task that awaited it", on_loop(function(loop)
    local inner_line, outer_line
    local outer = loop:create_task(function()
      local inner = lh.create_task(function()
        inner_line = support.here(1)
        error { "problem" }
      end)
      outer_line = support.here(1)
      lh.await(inner)
    end)
    lh.rawpcall(loop.run_until_complete, loop, outer)
    assert.matches(inner_line, outer:traceback(), 1, true)
    assert.matches(outer_line, outer:traceback(), 1, true)
  end))

  it("shows where a task waits that is not done", on_loop(function(loop)
    local line
    local task = loop:create_task(function()
      local function bar()
        line = support.here(1)
        lh.sleep(10)
      end
      bar()
    end)
    turns(loop)
    assert.matches(line, task:traceback(), 1, true)
  end))
end)

describe("lh.current_task", function()
  it("is the task that runs, before and after it waited", on_loop(function(loop)
    local seen = {}
    local task = loop:create_task(function()
      seen[1] = lh.current_task()
      lh.sleep(1)
      seen[2] = lh.current_task()
    end)
    loop:run_until_complete(task)
    assert.equal(task, seen[1])
    assert.equal(task, seen[2])
  end))

  it("is each task's own when they take turns", on_loop(function(loop)
    local fut1, fut2 = loop:create_future(), loop:create_future()
    local seen, task1, task2 = {}, nil, nil
    task1 = loop:create_task(function()
      seen[1] = lh.current_task() == task1
      lh.await(fut1)
      seen[2] = lh.current_task() == task1
      fut2:set_result(true)
    end)
    task2 = loop:create_task(function()
      seen[3] = lh.current_task() == task2
      fut1:set_result(true)
      lh.await(fut2)
      seen[4] = lh.current_task() == task2
    end)
    loop:run_until_complete(function() lh.wait { task1, task2 } end)
    assert.same({ true, true, true, true }, seen)
  end))

  it("is nothing in a loop that does not run, and in a callback", on_loop(function(loop)
    assert.is_nil(lh.current_task(loop))
    local seen = "unset"
    loop:call_soon(function() seen = lh.current_task() end)
    turns(loop)
    assert.is_nil(seen)
    assert.is_nil(lh.current_task(loop))
  end))

  it("is the same inside the task's own coroutines", in_task(function()
    local inside = lh.coroutine.wrap(function() return lh.current_task() end)()
    assert.equal(lh.current_task(), inside)
  end))
end)

describe("lh.all_tasks", function()
  it("lists the tasks that are not done, and no other loop's", on_loop(function(loop)
    assert.same({}, lh.all_tasks(loop))
    support.with_loop(function(other)
      other:create_task(ok)
      local task = loop:create_task(ok)
      assert.same({ task }, lh.all_tasks(loop))
      turns(loop)
      assert.same({}, lh.all_tasks(loop))
      turns(other)
    end)
  end))

  it("lists those of the running loop when none is named", on_loop(function(loop)
    local main, child
    main = loop:create_task(function()
      child = lh.create_task(lh.sleep, 1)
      local found = {}
      for _, task in ipairs(lh.all_tasks()) do found[task] = true end
      lh.await(child)
      return found
    end)
    local found = loop:run_until_complete(main)
    assert.is_true(found[main])
    assert.is_true(found[child])
  end))

  it("is empty when a task could not be scheduled", function()
    local Broken = lh.EventLoop:subclass {
      call_soon = function() error("no room", 0) end,
    }
    local loop = Broken { clock = "virtual" }
    raises("no room", loop.create_task, loop, ok)
    assert.same({}, lh.all_tasks(loop))
    loop:close()
  end)
end)

describe("lh.sleep", function()
  it("takes its time and returns its result", on_loop(function(loop)
    local function sleeper(delay, result)
      lh.sleep(delay / 2)
      return lh.sleep(delay / 2, result)
    end
    local task = loop:create_task(sleeper, 0.1, "yeah")
    local began = loop:time()
    loop:run_until_complete(task)
    assert.equal("yeah", task:result())
    assert.near(0.1, loop:time() - began, 1e-9)
  end))

  it("lets one turn pass when there is no time to wait for", on_loop(function(loop)
    for _, delay in ipairs { 0, -1 } do
      local result = 0
      local began = loop:time()
      loop:run_until_complete(function()
        loop:call_soon(function() result = result + 1 end)
        assert.equal(0, result)
        local value = lh.sleep(delay, 10)
        assert.equal(1, result)
        result = result + value
      end)
      assert.equal(11, result)
      assert.equal(began, loop:time())
    end
  end))

  it("refuses what is not a time", in_task(function()
    raises("bad argument", lh.sleep)
    raises("bad argument", lh.sleep, "soon")
    raises("NaN", lh.sleep, 0 / 0)
  end))

  it("is what a Sleep does that is awaited or yielded", on_loop(function(loop)
    loop:run_until_complete(function()
      local began = loop:time()
      lh.await(lh.Sleep(1))
      coroutine.yield(lh.Sleep(2))
      assert.near(3, loop:time() - began, 1e-9)
    end)
  end))

  it("wakes no earlier than it was asked to, by the real clock", on_loop(function(loop)
    local began = loop:time()
    loop:run_until_complete(function() lh.sleep(0.02) end)
    assert.is_true(loop:time() - began >= 0.02)
  end, { clock = "monotonic" }))
end)

describe("lh.await", function()
  it("runs a function in place", in_task(function()
    local me = lh.current_task()
    local inside, sum = lh.await(function() return lh.current_task(), 1 + 1 end)
    assert.equal(me, inside)
    assert.equal(2, sum)
  end))

  it("asks a value how it is awaited", in_task(function()
    local value = setmetatable({ "ok" }, {
      __await = function(self)
        lh.sleep(1)
        return self[1]
      end,
    })
    assert.equal("ok", lh.await(value))
  end))

  it("refuses what cannot be awaited", in_task(function()
    raises("bad argument", lh.await, 42)
    raises("bad argument", lh.await, {})
    raises("bad argument", lh.await)
  end))

  it("lets no turn pass when the task is done", function()
    local log = support.turn_log(function(note)
      local task = lh.create_task(function() note "child" end)
      lh.await(task)
      note "awaited"
      lh.await(task)
      note "again"
    end)
    assert.equal("child@1 awaited@2 again@2", log)
  end)
end)

describe("a Task's turns", function()
  it("alternate with those of the others", function()
    local log = support.turn_log(function(note)
      local function worker(name)
        for i = 0, 2 do
          note(name .. i)
          lh.sleep(0)
        end
      end
      local t1, t2 = lh.create_task(worker, "a"), lh.create_task(worker, "b")
      note "made"
      lh.await(t1)
      note "t1"
      lh.await(t2)
      note "t2"
    end)
    assert.equal("made@0 a0@1 b0@1 a1@2 b1@2 a2@3 b2@3 t1@5 t2@5", log)
  end)

  it("come one after the callback that ends the wait", function()
    local log = support.turn_log(function(note)
      local loop = lh.get_running_loop()
      local fut = loop:create_future()
      loop:call_soon(function()
        note "set"
        fut:set_result(1)
      end)
      lh.await(fut)
      note "woke"
    end)
    assert.equal("set@1 woke@2", log)
  end)

  it("come one by one when it yields nothing, or a value nobody knows", function()
    local log = support.turn_log(function(note)
      note "a"
      coroutine.yield()
      note "b"
      coroutine.yield("stray")
      note "c"
      coroutine.yield({})
      note "d"
    end)
    assert.equal("a@0 b@1 c@2 d@3", log)
  end)
end)

describe("a value that a Task yields and nobody knows", function()
  local function reports_with(debug_mode)
    return support.with_loop(function(loop)
      loop:set_debug(debug_mode)
      local reports = support.reports(loop)
      local task = loop:create_task(function()
        coroutine.yield()
        coroutine.yield("stray")
      end)
      loop:run_until_complete(task)
      return reports, task
    end)
  end

  it("is reported by a loop in debug mode, with a traceback", function()
    local reports, task = reports_with(true)
    assert.equal(1, #reports)
    assert.matches("stray", reports[1].message)
    assert.equal(task, reports[1].task)
    assert.matches("task_spec.lua", reports[1].traceback, 1, true)
  end)

  it("is passed over in silence otherwise", function()
    assert.same({}, (reports_with(false)))
  end)
end)

describe("a Task's error that nobody looked at", function()
  local function reported(body, look)
    return support.with_loop(function(loop)
      local reports = support.reports(loop)
      local function abandon()
        local task = loop:create_task(body)
        turns(loop, 3)
        if look then look(task) end
      end
      abandon()
      collectgarbage()
      collectgarbage()
      turns(loop)
      return reports
    end)
  end

  it("is reported when the task is collected", function()
    local problem = { "boom" }
    local reports = reported(function() error(problem) end)
    assert.equal(1, #reports)
    assert.matches("Task exception was never retrieved", reports[1].message, 1, true)
    assert.equal(problem, reports[1].exception)
  end)

  it("is not reported once it was looked at", function()
    assert.same({}, reported(function() error("boom") end, function(task) task:exception() end))
  end)

  it("is not reported when the task was cancelled after it had failed", function()
    assert.same({}, reported(function() error("boom") end, function(task)
      assert.is_false(task:cancel())
    end))
  end)

  it("is not there when the task was cancelled", function()
    assert.same({}, reported(function() lh.current_task():cancel() end))
  end)
end)
