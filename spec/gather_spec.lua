-- lh.gather: waits for all of them at once, and gives the results in the order of the arguments.
-- It waits in place; a test that wants to look at it from outside runs it as a task.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises, in_task =
  support.on_loop, support.turns, expect.raises, expect.in_task

local function futures(loop, n)
  local list = {}
  for i = 1, n do list[i] = loop:create_future() end
  return list
end

-- What can be gathered of a future: itself, or a function that waits for it.
local wraps = {
  ["futures"] = function(fut) return fut end,
  ["functions"] = function(fut) return function() return lh.await(fut) end end,
}

local function wrapped(list, wrap)
  local args = {}
  for i, fut in ipairs(list) do args[i] = wrap(fut) end
  return args
end

for kind, wrap in pairs(wraps) do
  describe("lh.gather of " .. kind, function()
    -- A gathering that runs, and the count of the calls to its callback.
    local function gathering(loop, list, opts)
      local called = 0
      local task = loop:create_task(lh.gather, wrapped(list, wrap), opts)
      task:add_done_callback(function() called = called + 1 end)
      return task, function() return called end
    end

    it("ends with all the results when the last one is there", on_loop(function(loop)
      for _, opts in ipairs { {}, { return_exceptions = false }, { return_exceptions = true } } do
        local list = futures(loop, 3)
        local task, called = gathering(loop, list, opts)
        list[2]:set_result(1)
        list[1]:set_result(2)
        turns(loop, 8)
        assert.equal(0, called())
        assert.is_false(task:done())
        list[3]:set_result(3)
        turns(loop, 8)
        assert.equal(1, called())
        assert.same({ n = 3, 2, 1, 3 }, task:result())
      end
    end))

    it("fails at the first failure, and leaves the others alone", on_loop(function(loop)
      local list, problem = futures(loop, 5), { "problem" }
      local task, called = gathering(loop, list)
      list[1]:set_result(1)
      list[2]:set_exception(problem)
      turns(loop, 8)
      assert.is_true(task:done())
      assert.equal(1, called())
      assert.equal(problem, task:exception())
      assert.is_false(list[3]:done())
      list[3]:set_result(3)
      list[4]:cancel()
      list[5]:set_exception("late")
      turns(loop, 8)
      assert.equal(1, called())
      assert.equal(problem, task:exception())
      list[5]:exception()
    end))

    it("gives the errors among the results when it was asked to", on_loop(function(loop)
      local list, problem1, problem2 = futures(loop, 4), { "one" }, { "two" }
      local task, called = gathering(loop, list, { return_exceptions = true })
      list[2]:set_result(1)
      list[3]:set_exception(problem1)
      list[1]:set_result(3)
      turns(loop, 8)
      assert.is_false(task:done())
      list[4]:set_exception(problem2)
      turns(loop, 8)
      assert.is_true(task:done())
      assert.equal(1, called())
      local result = task:result()
      assert.same({ n = 4, 3, 1, problem1, problem2 }, result)
      assert.equal(problem1, result[3])
      assert.equal(problem2, result[4])
    end))

    it("fails when one of them is cancelled, but is not cancelled by that", on_loop(function(loop)
      local list = futures(loop, 5)
      local outcome, requests
      local task = loop:create_task(function()
        local _, err = lh.rawpcall(lh.gather, wrapped(list, wrap))
        outcome, requests = err, lh.current_task():cancelling()
        return "went on"
      end)
      turns(loop)
      list[1]:set_result(1)
      list[2]:cancel()
      turns(loop, 8)
      assert.equal("went on", task:result())
      assert.is_true(lh.iserror(outcome, lh.CancelledError))
      assert.equal(0, requests)
      assert.is_false(list[3]:done())
      list[3]:set_result(3)
      list[4]:cancel()
      list[5]:set_exception("late")
      turns(loop, 8)
      list[5]:exception()
    end))

    it("gives a CancelledError among the results when it was asked to", on_loop(function(loop)
      local list, problem, late = futures(loop, 6), { "problem" }, { "late" }
      local task, called = gathering(loop, list, { return_exceptions = true })
      list[1]:set_result(1)
      list[2]:set_exception(problem)
      turns(loop)
      list[3]:cancel()
      turns(loop, 8)
      assert.is_false(task:done())
      list[4]:set_result(3)
      list[5]:cancel()
      list[6]:set_exception(late)
      local result = loop:run_until_complete(task)
      turns(loop)
      assert.is_true(lh.iserror(result[3], lh.CancelledError))
      assert.is_true(lh.iserror(result[5], lh.CancelledError))
      result[3], result[5] = false, false
      assert.same({ n = 6, 1, problem, false, 3, false, late }, result)
      assert.equal(1, called())
    end))

    it("cancels all of them when the one who waits is cancelled", on_loop(function(loop)
      local waiter, proof = loop:create_future(), 0
      local child1 = loop:create_task(function()
        lh.await(waiter)
        proof = proof + 1
      end)
      local child2 = loop:create_task(function()
        lh.await(waiter)
        proof = proof + 1
      end)
      local outer = loop:create_task(function()
        lh.gather { wrap(child1), wrap(child2) }
        proof = proof + 100
      end)
      turns(loop, 3)
      assert.is_true(outer:cancel())
      raises(lh.CancelledError, loop.run_until_complete, loop, outer)
      assert.is_true(outer:cancelled())
      assert.is_true(waiter:cancelled())
      assert.is_true(child1:cancelled())
      assert.is_true(child2:cancelled())
      turns(loop, 3)
      assert.equal(0, proof)
    end))
  end)
end

describe("lh.gather", function()
  it("takes its arguments one by one, too", in_task(function()
    local function value(v) return function() return v end end
    assert.same({ n = 3, "a", "b", "c" }, lh.gather(value "a", value "b", value "c"))
  end))

  it("keeps the places of those that returned nothing", in_task(function()
    local result = lh.gather(function() return 1 end, function() end, function() return 3 end,
      function() end)
    assert.same({ n = 4, 1, nil, 3, nil }, result)
  end))

  it("gives an empty table at once for nothing", function()
    assert.equal("a@0 n0@0 n0@0 c@1", support.turn_log(function(note)
      note "a"
      note("n" .. lh.gather().n)
      note("n" .. lh.gather({}).n)
      lh.sleep(0)
      note "c"
    end))
  end)

  it("runs its functions at the same time", on_loop(function(loop)
    local began = loop:time()
    loop:run_until_complete(function()
      lh.gather(function() lh.sleep(1) end, function() lh.sleep(2) end, function() lh.sleep(3) end)
    end)
    assert.near(3, loop:time() - began, 1e-9)
  end))

  it("takes futures, tasks and functions together", in_task(function()
    local fut = lh.get_running_loop():create_future()
    fut:set_result("future")
    local task = lh.create_task(function() return "task" end)
    local result = lh.gather(fut, task, function() return "function" end)
    assert.same({ n = 3, "future", "task", "function" }, result)
  end))

  it("waits once for a task that is named several times", in_task(function()
    local runs = 0
    local task = lh.create_task(function()
      runs = runs + 1
      lh.sleep(1)
      return "abc"
    end)
    local result = lh.gather(task, task, function() return "def" end, task)
    assert.same({ n = 4, "abc", "abc", "def", "abc" }, result)
    assert.equal(1, runs)
  end))

  it("runs a function once for each time it is named", in_task(function()
    local runs = 0
    local function count()
      runs = runs + 1
      return runs
    end
    assert.same({ n = 2, 1, 2 }, lh.gather(count, count))
  end))

  it("refuses what it cannot wait for, and does not disturb the others", on_loop(function(loop)
    local reports, ran = support.reports(loop), 0
    loop:run_until_complete(function()
      raises("bad argument", lh.gather, function() ran = ran + 1 end, 42)
      raises("bad argument", lh.gather, { function() ran = ran + 1 end, "abc" })
      lh.sleep(0)
      lh.sleep(0)
    end)
    collectgarbage()
    assert.same({}, reports)
    assert.is_true(ran <= 2)
  end))

  it("refuses an option that there is not, before anything is started", expect.in_task(function()
    local ran = 0
    for _, list in ipairs { { function() ran = ran + 1 end }, {} } do
      raises("bad argument #2 to 'gather' (no such option: return_errors)", lh.gather, list,
        { return_errors = true })
    end
    raises("bad argument #2 to 'gather' (no such option: 1)", lh.gather, {}, { print })
    lh.sleep(0)
    assert.equal(0, ran)
  end))

  it("refuses futures of another loop", on_loop(function(loop)
    support.with_loop(function(other)
      raises("different loop", loop.run_until_complete, loop, function()
        lh.gather(loop:create_future(), other:create_future())
      end)
    end)
  end))

  it("passes a cancellation on though it gives errors among the results", on_loop(function(loop)
    for _, message in ipairs { "my message", 5 } do
      local err = raises(lh.CancelledError, loop.run_until_complete, loop, function()
        local worker = lh.create_task(function()
          for _ = 1, 20 do
            lh.gather({ function() lh.sleep(0.05) end }, { return_exceptions = true })
          end
        end)
        lh.sleep(0.2)
        worker:cancel(message)
        lh.await(worker)
      end)
      assert.equal(tostring(message), tostring(err.message))
    end
  end))

  it("leaves a cancellation that comes too late to the one who waits", on_loop(function(loop)
    -- The children cannot be cancelled any more; the task is, when it goes on.
    local fut, accepted = loop:create_future(), nil
    local task = loop:create_task(function()
      return lh.gather(function() return lh.await(fut) end)
    end)
    turns(loop, 2)
    fut:add_done_callback(function() accepted = task:cancel() end)
    fut:set_result(42)
    raises(lh.CancelledError, loop.run_until_complete, loop, task)
    assert.is_true(accepted)
    assert.is_true(task:cancelled())
  end))

  it("counts the later failures as looked at", on_loop(function(loop)
    local reports = support.reports(loop)
    local function abandon()
      local list = futures(loop, 2)
      local function inner(fut, message)
        lh.await(fut)
        error(message)
      end
      local outer = loop:create_task(function()
        lh.gather(function() inner(list[1], "first") end, function() inner(list[2], "second") end)
      end)
      turns(loop, 2)
      list[1]:set_result()
      turns(loop)
      list[2]:set_result()
      turns(loop, 4)
      return outer:exception()
    end
    assert.matches("first", abandon())
    collectgarbage()
    collectgarbage()
    turns(loop)
    assert.same({}, reports)
  end))
end)

describe("the turns of lh.gather", function()
  local function child(note, n, err)
    return function()
      for _ = 1, n do lh.sleep(0) end
      note("c" .. n)
      if err then error(err) end
    end
  end

  it("are two after the last child's end", function()
    assert.equal("c1@2 c3@4 gathered@6", support.turn_log(function(note)
      lh.gather(child(note, 1), child(note, 3))
      note "gathered"
    end))
  end)

  it("are two after a child's failure, and the others run on", function()
    assert.equal("c1@2 c2@3 raised@5 c5@6 end@11", support.turn_log(function(note)
      lh.pcall(lh.gather, child(note, 1), child(note, 2, { "problem" }), child(note, 5))
      note "raised"
      for _ = 1, 6 do lh.sleep(0) end
      note "end"
    end))
  end)

  it("pass though all the futures are done already", function()
    assert.equal("g@2", support.turn_log(function(note)
      local fut = lh.get_running_loop():create_future()
      fut:set_result(1)
      lh.gather(fut)
      note "g"
    end))
  end)

  it("are two after the last child that was cancelled along", function()
    assert.equal("cancel@2 inner1@3 inner2@3 outer@5 saw@6", support.turn_log(function(note)
      local function telling(word, fn, ...)
        local ok, err = lh.rawpcall(fn, ...)
        assert(not ok)
        note(word)
        error(err)
      end
      local function inner(n) return function() telling("inner" .. n, lh.sleep, 10) end end
      local outer = lh.create_task(telling, "outer", lh.gather, inner(1), inner(2))
      lh.sleep(0)
      lh.sleep(0)
      note "cancel"
      outer:cancel()
      lh.rawpcall(lh.await, outer)
      note "saw"
    end))
  end)
end)

describe("what a gather keeps", function()
  it("is no future that nobody else holds, once it has failed", in_task(function()
    local loop = lh.get_running_loop()
    local held = setmetatable({}, { __mode = "k" })
    for _ = 1, 5 do
      local never = loop:create_future()
      held[never] = true
      raises("early", lh.gather, never, function() error("early", 0) end)
    end
    lh.sleep(0)
    collectgarbage()
    collectgarbage()
    local n = 0
    for _ in pairs(held) do n = n + 1 end
    assert.is_true(n <= 1) -- what the last error came from is known until the next one
  end))

  it("is its list as it was at the call", in_task(function()
    local list = { function() lh.sleep(0) return 1 end, function() return 2 end }
    local task = lh.create_task(lh.gather, list)
    lh.sleep(0)
    list[1], list[3] = nil, function() return 3 end
    assert.same({ 1, 2, n = 2 }, lh.await(task))
  end))

  it("is the loop's until it is closed, and no longer", function()
    local loop = lh.new_event_loop()
    local held = setmetatable({}, { __mode = "k" })
    loop:create_task(function()
      local child = lh.create_task(lh.sleep, 10)
      held[child] = true
      lh.gather(child, function() lh.sleep(10) end)
    end)
    for _ = 1, 2 do loop:run_once() end
    collectgarbage()
    assert.truthy(next(held))
    loop:close()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(held))
  end)
end)
