-- TaskGroup: a block that ends when all the tasks started in it have ended.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local in_task, raises, cancelled =
  expect.in_task, expect.raises, expect.cancelled
local finally = support.finally

local function after(seconds, value)
  return function()
    lh.sleep(seconds)
    return value
  end
end

local function fail_after(seconds, err)
  return function()
    lh.sleep(seconds)
    error(err or "failed", 0)
  end
end

-- Sleeps, and raises `err` on the way out, cancelled or not.
local function fail_in_cleanup(err)
  return function()
    local _ <close> = finally(function() error(err or "failed", 0) end)
    lh.sleep(10)
  end
end

-- The errors that come out of fn, which must come as a group.
local function errors_of(fn, ...)
  local group = raises(lh.ExceptionGroup, fn, ...)
  assert.equal("unhandled errors in a TaskGroup", group.message)
  return group.exceptions
end

-- Starts fn as a task, cancels it a little later, and returns it.
local function start_and_cancel(fn, seconds)
  local task = lh.create_task(fn)
  lh.sleep(seconds or 0.1)
  assert.is_false(task:done())
  task:cancel()
  return task
end

describe("TaskGroup", function()
  it("waits for its tasks", in_task(function()
    local t1, t2
    do
      local tg <close> = lh.TaskGroup()
      t1 = tg:create_task(after(0.1, 42))
      t2 = tg:create_task(after(0.2, 11))
    end
    assert.equal(42, t1:result())
    assert.equal(11, t2:result())
  end))

  it("ends at once when it is empty", in_task(function()
    local other_ran = false
    lh.create_task(function() other_ran = true end)
    do local _ <close> = lh.TaskGroup() end
    assert.is_false(other_ran)
  end))

  it("hands its arguments on to the task", in_task(function()
    local t
    do
      local tg <close> = lh.TaskGroup()
      t = tg:create_task(function(...) return select("#", ...), ... end, 1, nil, 3)
    end
    assert.same({ 3, 1, nil, 3 }, { t:result() })
  end))

  it("takes tasks that are started later in the block", in_task(function()
    local t1, t2
    do
      local tg <close> = lh.TaskGroup()
      t1 = tg:create_task(after(0.1, 42))
      lh.sleep(0.15)
      t2 = tg:create_task(after(0.2, 11))
    end
    assert.equal(42, t1:result())
    assert.equal(11, t2:result())
  end))

  it("takes tasks from its tasks, even after the block has ended", in_task(function()
    local finished = 0
    do
      local tg <close> = lh.TaskGroup()
      tg:create_task(function()
        lh.sleep(0.1)
        for i = 1, 2 do
          tg:create_task(function()
            lh.sleep(0.1 * i)
            finished = finished + 1
          end)
        end
      end)
    end
    assert.equal(2, finished)
  end))

  it("does not mind when one of its tasks is cancelled", in_task(function()
    local t1, t2
    do
      local tg <close> = lh.TaskGroup()
      t1 = tg:create_task(after(1, 42))
      lh.sleep(0.15)
      t1:cancel()
      t2 = tg:create_task(after(0.2, 11))
    end
    assert.is_true(t1:cancelled())
    assert.equal(11, t2:result())
  end))

  it("lets go of the tasks that have ended", in_task(function()
    local tg <close> = lh.TaskGroup()
    for count = 0, 9 do
      lh.sleep(0.1)
      tg:create_task(after(0.3))
      if count == 5 then assert.is_true(#lh.all_tasks() < 6) end
    end
    lh.sleep(1.35)
    assert.equal(1, #lh.all_tasks())
  end))

  it("gives out ordinary tasks, which can be named", in_task(function()
    local tg <close> = lh.TaskGroup()
    local t = tg:create_task(after(0))
    t:set_name("yolo")
    assert.equal("yolo", t:get_name())
  end))
end)

describe("TaskGroup with a task that fails", function()
  it("cancels the others and raises the errors as a group", in_task(function()
    local saw_cancel, t2 = false, nil
    local errors = errors_of(function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(fail_after(0.1, "first"))
      t2 = tg:create_task(function()
        local err = raises(lh.CancelledError, lh.sleep, 1)
        saw_cancel = true
        error(err, 0)
      end)
    end)
    assert.same({ "first" }, errors)
    assert.is_true(saw_cancel)
    assert.is_true(t2:cancelled())
  end))

  it("cancels the block too, and collects all errors of that turn", in_task(function()
    local block_cancelled, t4, went_on = false, nil, false
    local errors = errors_of(function()
      do
        local tg <close> = lh.TaskGroup()
        for i = 1, 3 do tg:create_task(fail_after(0.1, "error " .. i)) end
        t4 = tg:create_task(after(5))
        local err = raises(lh.CancelledError, lh.sleep, 10)
        block_cancelled = true
        error(err, 0)
      end
      went_on = true
    end)
    assert.same({ "error 1", "error 2", "error 3" }, errors)
    assert.is_true(block_cancelled)
    assert.is_true(t4:cancelled())
    assert.is_false(went_on)
  end))

  it("carries the very values that were raised", in_task(function()
    local mine, mine_too = {}, lh.TimeoutError("late")
    local errors = errors_of(function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(function() error(mine) end)
      tg:create_task(function() error(mine_too) end)
    end)
    assert.equal(2, #errors)
    assert.equal(mine, errors[1])
    assert.equal(mine_too, errors[2])
  end))

  it("adds the error that the block raised because it was cancelled", in_task(function()
    local errors = errors_of(function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(fail_after(0.1, "child"))
      fail_in_cleanup("block")()
    end)
    table.sort(errors)
    assert.same({ "block", "child" }, errors)
  end))

  it("adds an error of a cleanup in the block, and leaves the task uncancelled", in_task(function()
    local errors = errors_of(function()
      local tg <close> = lh.TaskGroup()
      local _ <close> = finally(function() error("cleanup", 0) end)
      tg:create_task(function() error("child", 0) end)
      lh.sleep(1)
    end)
    assert.equal(2, #errors)
    assert.equal(0, lh.current_task():cancelling())
  end))

  it("takes no more tasks while it shuts down", in_task(function()
    local refused
    local errors = errors_of(function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(fail_after(0.001, "child"))
      tg:create_task(function()
        local err = raises(lh.CancelledError, lh.sleep, 1)
        refused = raises("shutting down", tg.create_task, tg, after(0))
        error(err, 0)
      end)
    end)
    assert.is_string(refused)
    assert.same({ "child" }, errors)
  end))

  it("stops tasks that multiply", in_task(function()
    local heads = 0
    local errors = errors_of(function()
      local tg <close> = lh.TaskGroup()
      local function hydra()
        heads = heads + 1
        lh.sleep(0.01)
        tg:create_task(hydra)
        tg:create_task(hydra)
      end
      tg:create_task(hydra)
      tg:create_task(function()
        while heads < 10 do lh.sleep(0.015) end
        error("hercules", 0)
      end)
    end)
    assert.same({ "hercules" }, errors)
    assert.is_true(heads >= 10)
    assert.equal(1, #lh.all_tasks())
  end))
end)

describe("TaskGroup whose block fails", function()
  for _, case in ipairs { { "after a wait", 0.1 }, { "without a wait" } } do
    it(case[1] .. " cancels its tasks and raises the error in a group", in_task(function()
      local t1, t2
      local errors = errors_of(function()
        local tg <close> = lh.TaskGroup()
        t1 = tg:create_task(after(1))
        t2 = tg:create_task(after(2))
        if case[2] then lh.sleep(case[2]) end
        error("block", 0)
      end)
      assert.same({ "block" }, errors)
      assert.is_true(t1:cancelled())
      assert.is_true(t2:cancelled())
    end))
  end

  it("raises a group even if it started nothing", in_task(function()
    assert.same({ "block" }, errors_of(function()
      local _ <close> = lh.TaskGroup()
      error("block", 0)
    end))
  end))
end)

describe("TaskGroup that is cancelled", function()
  it("while it waits for its tasks cancels them, and is cancelled", in_task(function()
    local seen = 0
    local task = start_and_cancel(function()
      local tg <close> = lh.TaskGroup()
      for _ = 1, 5 do
        tg:create_task(function()
          local err = raises(lh.CancelledError, lh.sleep, 5)
          seen = seen + 1
          error(err, 0)
        end)
      end
    end)
    cancelled(task)
    assert.equal(5, seen)
  end))

  it("inside the block cancels its tasks, and is cancelled", in_task(function()
    local seen = 0
    local function sleep_and_see(weight)
      local err = raises(lh.CancelledError, lh.sleep, 5)
      seen = seen + weight
      error(err, 0)
    end
    local task = start_and_cancel(function()
      local tg <close> = lh.TaskGroup()
      for _ = 1, 5 do tg:create_task(sleep_and_see, 1) end
      sleep_and_see(10)
    end)
    cancelled(task)
    assert.equal(15, seen)
  end))

  it("without any task is cancelled like any other code", in_task(function()
    local seen = false
    local task = start_and_cancel(function()
      local _ <close> = lh.TaskGroup()
      local err = raises(lh.CancelledError, lh.sleep, 10)
      seen = true
      error(err, 0)
    end)
    cancelled(task)
    assert.is_true(seen)
  end))

  it("before its tasks have begun is cancelled all the same", in_task(function()
    local task = start_and_cancel(function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(after(1))
      tg:create_task(after(2))
    end, 0.05)
    cancelled(task)
  end))

  it("raises the errors of the cleanup in its tasks", in_task(function()
    local task = start_and_cancel(function()
      local tg <close> = lh.TaskGroup()
      for _ = 1, 5 do tg:create_task(fail_in_cleanup("cleanup")) end
      lh.sleep(10)
    end)
    local errors = errors_of(lh.await, task)
    assert.equal(5, #errors)
    for i = 1, 5 do assert.equal("cleanup", errors[i]) end
  end))

  it("raises an error that the block raised instead of the cancellation", in_task(function()
    local task = start_and_cancel(function()
      local _ <close> = lh.TaskGroup()
      raises(lh.CancelledError, lh.sleep, 10)
      error("instead", 0)
    end)
    assert.same({ "instead" }, errors_of(lh.await, task))
  end))

  it("raises the error of a task that fails while the block cleans up", in_task(function()
    local task = start_and_cancel(function()
      local tg <close> = lh.TaskGroup()
      tg:create_task(fail_after(0.3, "child"))
      local err = raises(lh.CancelledError, lh.sleep, 10)
      lh.rawpcall(lh.sleep, 0.5)
      error(err, 0)
    end)
    assert.same({ "child" }, errors_of(lh.await, task))
  end))

  it("in a task that another one waits for raises the same way", in_task(function()
    local task = start_and_cancel(function()
      lh.await(lh.create_task(function()
        local tg <close> = lh.TaskGroup()
        tg:create_task(fail_after(0.3, "child"))
        local err = raises(lh.CancelledError, lh.sleep, 10)
        lh.rawpcall(lh.sleep, 0.5)
        error(err, 0)
      end))
    end)
    assert.same({ "child" }, errors_of(lh.await, task))
  end))
end)

describe("nested TaskGroups", function()
  for _, case in ipairs { { "with an empty outer one" }, { "with a busy outer one", true } } do
    it(case[1] .. " wrap the errors of the inner one twice", in_task(function()
      local task = start_and_cancel(function()
        local outer <close> = lh.TaskGroup()
        if case[2] then outer:create_task(after(10)) end
        local inner <close> = lh.TaskGroup()
        for _ = 1, 5 do inner:create_task(fail_in_cleanup("cleanup")) end
        lh.sleep(10)
      end)
      local errors = errors_of(lh.await, task)
      assert.equal(1, #errors)
      assert.is_true(lh.iserror(errors[1], lh.ExceptionGroup))
      assert.equal(5, #errors[1].exceptions)
    end))
  end

  it("stop the inner one when the outer one fails", in_task(function()
    assert.same({ "outer" }, errors_of(function()
      local outer <close> = lh.TaskGroup()
      outer:create_task(fail_after(0.1, "outer"))
      local inner <close> = lh.TaskGroup()
      inner:create_task(fail_after(10, "inner"))
    end))
  end))

  it("stop the outer one when the inner one fails", in_task(function()
    local errors = errors_of(function()
      local outer <close> = lh.TaskGroup()
      outer:create_task(fail_after(10, "outer"))
      local inner <close> = lh.TaskGroup()
      inner:create_task(fail_after(0.1, "inner"))
    end)
    assert.equal(1, #errors)
    assert.same({ "inner" }, errors[1].exceptions)
  end))
end)

describe("TaskGroup misused", function()
  it("takes no task after its end", in_task(function()
    local left
    do
      local tg <close> = lh.TaskGroup()
      left = tg
    end
    raises("finished", left.create_task, left, after(0))
  end))

  it("needs a task around it", function()
    local loop = lh.new_event_loop { clock = "virtual" }
    local ok, err
    loop:call_soon(function()
      ok, err = lh.rawpcall(lh.TaskGroup)
      loop:stop()
    end)
    loop:run_forever()
    loop:close()
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("parent task", 1, true))
  end)

  it("refuses what is no function", in_task(function()
    local tg <close> = lh.TaskGroup()
    raises("bad argument", tg.create_task, tg, 42)
  end))
end)
