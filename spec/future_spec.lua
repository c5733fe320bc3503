-- Future: a result that is not there yet, and those who want to hear of it.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises = support.on_loop, support.turns, expect.raises

-- Several states in one place: what every call on a finished future refuses.
local function refuses_a_second_end(fut)
  raises(lh.InvalidStateError, fut.set_result, fut, 1)
  raises(lh.InvalidStateError, fut.set_exception, fut, "late")
  assert.is_false(fut:cancel())
end

describe("Future", function()
  it("is neither done nor cancelled when it is new", on_loop(function(loop)
    local fut = loop:create_future()
    assert.is_false(fut:done())
    assert.is_false(fut:cancelled())
    fut:cancel()
    assert.is_true(fut:cancelled())
  end))

  it("knows the loop that made it", on_loop(function(loop)
    assert.equal(loop, loop:create_future():get_loop())
    local inside = loop:run_until_complete(function()
      return lh.get_running_loop():create_future()
    end)
    assert.equal(loop, inside:get_loop())
  end))

  it("has no result and no exception before it is done", on_loop(function(loop)
    local fut = loop:create_future()
    local err = raises(lh.InvalidStateError, fut.result, fut)
    assert.matches("Result is not set", err.message, 1, true)
    err = raises(lh.InvalidStateError, fut.exception, fut)
    assert.matches("Exception is not set", err.message, 1, true)
  end))

  it("gives its result as often as it is asked", on_loop(function(loop)
    local fut = loop:create_future()
    fut:set_result(42)
    assert.is_true(fut:done())
    assert.is_false(fut:cancelled())
    assert.equal(42, fut:result())
    assert.equal(42, fut:result())
    assert.is_nil(fut:exception())
    refuses_a_second_end(fut)
    assert.equal(42, fut:result())
  end))

  it("says invalid state when it is ended twice", on_loop(function(loop)
    local fut = loop:create_future()
    fut:set_result(1)
    local err = raises(lh.InvalidStateError, fut.set_result, fut, 2)
    assert.matches("invalid state", err.message, 1, true)
  end))

  it("keeps several results, with the nils between them", on_loop(function(loop)
    local fut = loop:create_future()
    fut:set_result(1, nil, 3, nil)
    assert.same({ n = 4, 1, nil, 3, nil }, table.pack(fut:result()))
    assert.same({ n = 4, 1, nil, 3, nil }, table.pack(loop:run_until_complete(fut)))
  end))

  it("can end without any value", on_loop(function(loop)
    local fut = loop:create_future()
    fut:set_result()
    assert.is_true(fut:done())
    assert.equal(0, select("#", fut:result()))
  end))

  it("hands a table on as it is", on_loop(function(loop)
    local fut, pair = loop:create_future(), { 1, 2 }
    fut:set_result(pair)
    assert.equal(pair, (fut:result()))
    assert.equal(pair, (loop:run_until_complete(fut)))
  end))

  it("raises the very value it was failed with", on_loop(function(loop)
    local fut, problem = loop:create_future(), { "problem" }
    fut:set_exception(problem)
    assert.is_true(fut:done())
    assert.is_false(fut:cancelled())
    assert.equal(problem, fut:exception())
    local ok, err = lh.rawpcall(fut.result, fut)
    assert.is_false(ok)
    assert.equal(problem, err)
    refuses_a_second_end(fut)
  end))

  it("keeps a plain string as it was when it is failed with one", on_loop(function(loop)
    local fut = loop:create_future()
    fut:set_exception("plain")
    local ok, err = lh.rawpcall(fut.result, fut)
    assert.is_false(ok)
    assert.equal("plain", err)
  end))

  it("cannot fail with nothing", on_loop(function(loop)
    local fut = loop:create_future()
    raises("bad argument", fut.set_exception, fut)
    raises("bad argument", fut.set_exception, fut, nil)
    assert.is_false(fut:done())
  end))

  it("refuses methods that are called on something else", on_loop(function(loop)
    local fut = loop:create_future()
    raises("bad argument", fut.result, {})
    raises("bad argument", fut.set_result, nil, 1)
    raises("bad argument", fut.done, loop)
  end))

  it("shows its state as a string", on_loop(function(loop)
    local fut = loop:create_future()
    assert.matches("pending", tostring(fut))
    fut:set_result(1)
    assert.matches("finished", tostring(fut))
    fut = loop:create_future()
    fut:cancel()
    assert.matches("cancelled", tostring(fut))
    fut = loop:create_future()
    fut:set_exception("boom")
    assert.not_matches("pending", tostring(fut))
    fut:exception()
  end))

  it("survives results whose finaliser collects garbage", on_loop(function(loop)
    local collect = { __gc = function() collectgarbage() end }
    for _ = 1, 100 do
      loop:create_future():set_result(setmetatable({}, collect))
    end
    collectgarbage()
    collectgarbage()
  end))
end)

describe("a cancelled Future", function()
  it("raises CancelledError instead of a result or an exception", on_loop(function(loop)
    local fut = loop:create_future()
    assert.is_true(fut:cancel())
    assert.is_true(fut:cancelled())
    assert.is_true(fut:done())
    raises(lh.CancelledError, fut.result, fut)
    raises(lh.CancelledError, fut.exception, fut)
    refuses_a_second_end(fut)
    assert.is_true(fut:cancelled())
  end))

  it("carries the message of the one who cancelled it", on_loop(function(loop)
    local fut = loop:create_future()
    fut:cancel("my message")
    local err = raises(lh.CancelledError, loop.run_until_complete, loop, fut)
    assert.equal("my message", err.message)
    err = raises(lh.CancelledError, fut.result, fut)
    assert.equal("my message", err.message)
  end))

  it("keeps its first message when it is cancelled again", on_loop(function(loop)
    local fut = loop:create_future()
    fut:cancel("first")
    assert.is_false(fut:cancel("second"))
    assert.equal("first", raises(lh.CancelledError, fut.result, fut).message)
  end))

  it("lets CancelledError through lh.pcall", on_loop(function(loop)
    local fut = loop:create_future()
    fut:cancel()
    local reached = false
    raises(lh.CancelledError, function()
      lh.pcall(fut.result, fut)
      reached = true
    end)
    assert.is_false(reached)
  end))
end)

describe("a Future that is awaited", function()
  it("gives the result to everyone who waits", on_loop(function(loop)
    local fut, got = loop:create_future(), {}
    for i = 1, 3 do
      loop:create_task(function() got[i] = lh.await(fut) end)
    end
    turns(loop)
    assert.same({}, got)
    fut:set_result("x")
    turns(loop)
    assert.same({ "x", "x", "x" }, got)
  end))

  it("raises the same error value for everyone who waits", on_loop(function(loop)
    local fut, problem, got = loop:create_future(), { "problem" }, {}
    for i = 1, 2 do
      loop:create_task(function() got[i] = select(2, lh.pcall(lh.await, fut)) end)
    end
    turns(loop)
    fut:set_exception(problem)
    turns(loop)
    assert.equal(problem, got[1])
    assert.equal(problem, got[2])
  end))

  it("is not waited for a second time once it is done", on_loop(function(loop)
    local fut, log = loop:create_future(), {}
    local task = loop:create_task(function()
      log[#log + 1] = "A"
      log[#log + 1] = "B" .. lh.await(fut)
      log[#log + 1] = "C" .. lh.await(fut)
    end)
    turns(loop)
    assert.same({ "A" }, log)
    fut:set_result(42)
    turns(loop)
    assert.same({ "A", "B42", "C42" }, log)
    assert.is_true(task:done())
  end))

  it("belongs to the loop in whose tasks it can be awaited", on_loop(function(loop)
    support.with_loop(function(other)
      local fut = other:create_future()
      raises("different loop", loop.run_until_complete, loop, function() lh.await(fut) end)
    end)
  end))

  it("cannot be run to its end by another loop", on_loop(function(loop)
    support.with_loop(function(other)
      raises("different loop", other.run_until_complete, other, loop:create_future())
    end)
  end))

  it("shows the same traceback however often its error is raised", on_loop(function(loop)
    loop:run_until_complete(function()
      local task = lh.create_task(function() error({ "problem" }) end)
      local first
      for _ = 1, 5 do
        local ok, err = lh.pcall(lh.await, task)
        assert.is_false(ok)
        first = first or err
        assert.equal(first, err)
      end
      local before = task:traceback()
      lh.pcall(lh.await, task)
      assert.equal(before, task:traceback())
    end)
  end))
end)

describe("a Future's callbacks", function()
  local function bag_of(...)
    local bag, makers = {}, {}
    for _, thing in ipairs { ... } do
      makers[#makers + 1] = function() bag[#bag + 1] = thing end
    end
    return bag, table.unpack(makers)
  end

  it("get the future, in a later turn, in the order of the adding", on_loop(function(loop)
    local bag, cb1, cb2 = bag_of(42, 17)
    local fut, given = loop:create_future(), nil
    fut:add_done_callback(cb1)
    fut:add_done_callback(function(f) given = f end)
    fut:add_done_callback(cb2)
    fut:set_result("foo")
    assert.same({}, bag)
    turns(loop)
    assert.same({ 42, 17 }, bag)
    assert.equal(fut, given)
    assert.equal("foo", fut:result())
  end))

  it("must be functions, whether the future is done or not", on_loop(function(loop)
    local fut = loop:create_future()
    for _ = 1, 2 do
      local ok, err = pcall(function() fut:add_done_callback(5) end)
      assert.is_false(ok)
      assert.matches("^spec/future_spec.lua:%d+: bad argument #1 to 'add_done_callback' "
        .. "%(function expected, got number%)$", err)
      fut:cancel()
    end
  end))

  it("are called when the future fails", on_loop(function(loop)
    local bag, cb = bag_of(100)
    local fut, problem = loop:create_future(), { "problem" }
    fut:add_done_callback(cb)
    fut:set_exception(problem)
    turns(loop)
    assert.same({ 100 }, bag)
    assert.equal(problem, fut:exception())
  end))

  it("are called when the future is cancelled", on_loop(function(loop)
    local bag, cb = bag_of("gone")
    local fut = loop:create_future()
    fut:add_done_callback(cb)
    fut:cancel()
    assert.same({}, bag)
    turns(loop)
    assert.same({ "gone" }, bag)
  end))

  it("are scheduled at once when the future is done already", on_loop(function(loop)
    local bag, cb = bag_of("late")
    local fut = loop:create_future()
    fut:set_result(1)
    fut:add_done_callback(cb)
    assert.same({}, bag)
    turns(loop)
    assert.same({ "late" }, bag)
  end))

  it("can be taken back, the first one", on_loop(function(loop)
    local bag, cb1, cb2, cb3 = bag_of(42, 17, 100)
    local fut = loop:create_future()
    for _, cb in ipairs { cb1, cb2, cb3 } do fut:add_done_callback(cb) end
    fut:remove_done_callback(cb1)
    fut:remove_done_callback(cb1)
    fut:set_result("foo")
    turns(loop)
    assert.same({ 17, 100 }, bag)
  end))

  it("can be taken back, the first and the second", on_loop(function(loop)
    local bag, cb1, cb2, cb3 = bag_of(42, 17, 100)
    local fut = loop:create_future()
    for _, cb in ipairs { cb1, cb2, cb3 } do fut:add_done_callback(cb) end
    fut:remove_done_callback(cb1)
    fut:remove_done_callback(cb2)
    fut:remove_done_callback(cb1)
    fut:set_result("foo")
    turns(loop)
    assert.same({ 100 }, bag)
  end))

  it("can be taken back, the last one", on_loop(function(loop)
    local bag, cb1, cb2, cb3 = bag_of(42, 17, 100)
    local fut = loop:create_future()
    for _, cb in ipairs { cb1, cb2, cb3 } do fut:add_done_callback(cb) end
    fut:remove_done_callback(cb3)
    fut:remove_done_callback(cb3)
    fut:set_result("foo")
    turns(loop)
    assert.same({ 42, 17 }, bag)
  end))

  it("are counted as they are taken back, however often each was added", on_loop(function(loop)
    local bag, cb1, cb2, cb3 = bag_of(1, 2, 3)
    local fut = loop:create_future()
    fut:add_done_callback(cb1)
    fut:add_done_callback(cb2)
    assert.equal(1, fut:remove_done_callback(cb2))
    assert.equal(0, fut:remove_done_callback(cb3))
    fut:add_done_callback(cb2)
    for _ = 1, 5 do fut:add_done_callback(cb1) end
    assert.equal(6, fut:remove_done_callback(cb1))
    fut:set_result("foo")
    turns(loop)
    assert.same({ 2 }, bag)
  end))

  it("still come when another callback takes them back too late", on_loop(function(loop)
    local bag, cb = bag_of("kept")
    local fut, removed = loop:create_future(), nil
    fut:add_done_callback(function(f) removed = f:remove_done_callback(cb) end)
    fut:add_done_callback(cb)
    fut:add_done_callback(cb)
    fut:set_result(1)
    turns(loop)
    assert.equal(0, removed)
    assert.same({ "kept", "kept" }, bag)
  end))

  it("do not keep the others from running when one fails", on_loop(function(loop)
    local reports = support.reports(loop)
    local bag, cb = bag_of("after")
    local fut, problem = loop:create_future(), { "problem" }
    fut:add_done_callback(function() error(problem) end)
    fut:add_done_callback(cb)
    fut:set_result(1)
    turns(loop)
    assert.same({ "after" }, bag)
    assert.equal(1, #reports)
    assert.equal(problem, reports[1].exception)
    assert.equal(1, fut:result())
  end))

  it("take their turn among the tasks that wait", function()
    local log = support.turn_log(function(note)
      local fut = lh.get_running_loop():create_future()
      fut:add_done_callback(function() note "cb1" end)
      local task = lh.create_task(function()
        lh.await(fut)
        note "w"
      end)
      lh.sleep(0)
      fut:add_done_callback(function() note "cb2" end)
      note "set"
      fut:set_result(1)
      lh.await(task)
      note "end"
    end)
    assert.equal("set@1 cb1@2 w@2 cb2@2 end@3", log)
  end)

  it("must be callable", on_loop(function(loop)
    local fut = loop:create_future()
    raises("bad argument", fut.add_done_callback, fut, 1)
    raises("bad argument", fut.add_done_callback, fut)
  end))
end)

describe("a Future's error that nobody looked at", function()
  -- The future must be out of reach when the collector runs: it lives and dies in here.
  local function reported(prepare, debug_mode)
    return support.with_loop(function(loop)
      loop:set_debug(debug_mode or false)
      local reports = support.reports(loop)
      local function abandon() prepare(loop:create_future(), loop) end
      abandon()
      turns(loop)
      collectgarbage()
      collectgarbage()
      turns(loop)
      return reports
    end)
  end

  it("is reported when the future is collected", function()
    for _, debug_mode in ipairs { false, true } do
      local problem = { "boom" }
      local reports = reported(function(fut) fut:set_exception(problem) end, debug_mode)
      assert.equal(1, #reports)
      assert.equal(problem, reports[1].exception)
      assert.matches("Future exception was never retrieved", reports[1].message, 1, true)
    end
  end)

  it("does not exist when the future was left alone", function()
    assert.same({}, reported(function() end))
  end)

  it("does not exist when there is a result, seen or not", function()
    assert.same({}, reported(function(fut) fut:set_result(42) end))
    assert.same({}, reported(function(fut)
      fut:set_result(42)
      fut:result()
    end))
  end)

  it("is not reported once exception() was called", function()
    assert.same({}, reported(function(fut)
      fut:set_exception("boom")
      fut:exception()
    end))
  end)

  it("is not reported once result() has raised it", function()
    assert.same({}, reported(function(fut)
      fut:set_exception("boom")
      lh.rawpcall(fut.result, fut)
    end))
  end)

  it("is not reported once a task has awaited it", function()
    assert.same({}, reported(function(fut, loop)
      loop:create_task(function() lh.pcall(lh.await, fut) end)
      fut:set_exception("boom")
    end))
  end)

  it("is not reported when the future was cancelled afterwards", function()
    assert.same({}, reported(function(fut)
      fut:set_exception("boom")
      fut:cancel()
    end))
  end)

  it("is not there when the future was cancelled", function()
    assert.same({}, reported(function(fut) fut:cancel() end))
  end)
end)
