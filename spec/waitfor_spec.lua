-- wait_for: a wait with a time-out, in the same task (CPython 3.12's meaning).

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

local function now() return lh.get_running_loop():time() end

-- Sleeps for so long in any case, however often it is cancelled meanwhile.
local function stubborn(seconds, state)
  local stop = now() + seconds
  while now() < stop do lh.rawpcall(lh.sleep, stop - now()) end
  state.exited = true
end

-- A task that sleeps, and says in `state` whether it runs.
local function sleeper(state, seconds)
  return lh.create_task(function()
    state.running = true
    local _ <close> = setmetatable({}, { __close = function() state.running = false end })
    lh.sleep(seconds)
    return "done"
  end)
end

describe("wait_for", function()
  it("returns what the function returns, all of it", in_task(function()
    local a, b, c = lh.wait_for(function()
      lh.sleep(1)
      return 1, nil, 3
    end, 2)
    assert.same({ 1, nil, 3 }, { a, b, c })
  end))

  it("returns the result of a future or of a task", in_task(function()
    local future = lh.get_running_loop():create_future()
    lh.get_running_loop():call_soon(future.set_result, future, "ok")
    assert.equal("ok", lh.wait_for(future, 0.2))
    assert.equal(7, lh.wait_for(lh.create_task(function() return 7 end), 0.2))
  end))

  it("runs a function in the task that waits", in_task(function()
    local task = lh.current_task()
    assert.equal(task, lh.wait_for(lh.current_task, 1))
    assert.equal(task, lh.wait_for(lh.current_task))
  end))

  it("passes an error on unchanged", in_task(function()
    local mine = {}
    local ok, err = lh.rawpcall(lh.wait_for, function() error(mine) end, 1)
    assert.is_false(ok)
    assert.equal(mine, err)
  end))

  it("without a time-out waits as long as it takes", in_task(function()
    assert.equal("done", lh.wait_for(function()
      lh.sleep(1e6)
      return "done"
    end, nil))
  end))

  it("cancels the task that took too long", in_task(function()
    local state, before = {}, now()
    local task = sleeper(state, 1000)
    raises(lh.TimeoutError, lh.wait_for, task, 0.1)
    assert.is_true(task:cancelled())
    assert.is_false(state.running)
    assert.is_true(math.abs(now() - before - 0.1) < 1e-6)
  end))

  it("cancels the future that took too long", in_task(function()
    local future = lh.get_running_loop():create_future()
    raises(lh.TimeoutError, lh.wait_for, future, 0.1)
    assert.is_true(future:cancelled())
  end))

  it("stops the function that took too long, and its cleanup runs", in_task(function()
    local cleaned = false
    raises(lh.TimeoutError, lh.wait_for, function()
      local _ <close> = setmetatable({}, { __close = function() cleaned = true end })
      lh.sleep(10)
    end, 0.1)
    assert.is_true(cleaned)
    assert.equal(0, lh.current_task():cancelling())
  end))

  it("takes the result of a future that was set before the time is over", in_task(function()
    local future = lh.get_running_loop():create_future()
    lh.get_running_loop():call_later(0.1, future.set_result, future, "ok")
    assert.equal("ok", lh.wait_for(future, 0.2))
  end))

  it("lets a function that ignores the cancellation come to its end", in_task(function()
    local state = {}
    lh.rawpcall(lh.wait_for, function() stubborn(0.2, state) end, 0.1)
    assert.is_true(state.exited)

    state = {}
    local wait = lh.create_task(lh.wait_for, function() stubborn(0.2, state) end, 0.4)
    turns(1)
    wait:cancel()
    lh.wait { wait }
    assert.is_true(state.exited)
  end))

  it("returns the value of a function that caught the cancellation", in_task(function()
    assert.equal(42, lh.wait_for(function()
      raises(lh.CancelledError, lh.sleep, 10)
      return 42
    end, 0.1))
    assert.equal(0, lh.current_task():cancelling())
  end))

  it("returns the value of a task that caught the cancellation", in_task(function()
    assert.equal(42, lh.wait_for(lh.create_task(function()
      raises(lh.CancelledError, lh.sleep, 10)
      return 42
    end), 0.1))
  end))

  it("waits until the cancelled task has cleaned up", in_task(function()
    local cleaned, before = false, now()
    local task = lh.create_task(function()
      local err = raises(lh.CancelledError, lh.sleep, 10)
      lh.sleep(1)
      cleaned = true
      error(err, 0)
    end)
    raises(lh.TimeoutError, lh.wait_for, task, 0.5)
    assert.is_true(cleaned)
    assert.is_true(math.abs(now() - before - 1.5) < 1e-6)
  end))

  it("raises the error of a task whose cleanup failed", in_task(function()
    local mine = {}
    local ok, err = lh.rawpcall(lh.wait_for, lh.create_task(function()
      local _ <close> = setmetatable({}, { __close = function() error(mine) end })
      lh.sleep(0.2)
    end), 0.1)
    assert.is_false(ok)
    assert.equal(mine, err)
  end))

  it("nests, and the shorter time counts", in_task(function()
    local before = now()
    raises(lh.TimeoutError, lh.wait_for, function()
      return lh.wait_for(function() lh.sleep(10) end, 5)
    end, 1)
    assert.is_true(math.abs(now() - before - 1) < 1e-6)
  end))
end)

describe("wait_for with no time left", function()
  it("takes the result of a future that is done", in_task(function()
    local future = lh.get_running_loop():create_future()
    future:set_result("done")
    assert.equal("done", lh.wait_for(future, 0))
    assert.equal("done", lh.wait_for(future, -1))
  end))

  it("does not start the function", in_task(function()
    local started = false
    raises(lh.TimeoutError, lh.wait_for, function() started = true end, 0)
    assert.is_false(started)
  end))

  for _, seconds in ipairs { 0, -1 } do
    it("(" .. seconds .. ") cancels the task that runs", in_task(function()
      local state = {}
      local task = sleeper(state, 10)
      turns(1)
      assert.is_true(state.running)
      raises(lh.TimeoutError, lh.wait_for, task, seconds)
      assert.is_true(task:cancelled())
      assert.is_false(state.running)
    end))
  end

  it("still waits until the cancelled task has cleaned up", in_task(function()
    local cleaned = false
    local task = lh.create_task(function()
      local err = raises(lh.CancelledError, lh.sleep, 10)
      lh.sleep(1)
      cleaned = true
      error(err, 0)
    end)
    turns(1)
    raises(lh.TimeoutError, lh.wait_for, task, 0)
    assert.is_true(cleaned)
  end))
end)

describe("a wait_for that is cancelled", function()
  for _, case in ipairs { { "without a time-out" }, { "with one", 60 } } do
    local name, seconds = case[1], case[2]
    it(name .. " cancels the task that it waits for", in_task(function()
      local task = lh.create_task(function()
        lh.await(lh.get_running_loop():create_future())
      end)
      local wait = lh.create_task(lh.wait_for, task, seconds)
      lh.get_running_loop():call_soon(wait.cancel, wait)
      cancelled(wait)
      assert.is_true(task:cancelled())
    end))
  end

  it("is cancelled, although the task has just finished", in_task(function()
    local inner = lh.create_task(function() return "done" end)
    local went_on = false
    local task = lh.create_task(function()
      lh.wait_for(inner, 100)
      lh.sleep(1)
      went_on = true
    end)
    assert.is_false(task:done())
    turns(1)
    task:cancel()
    cancelled(task)
    assert.is_true(inner:done())
    assert.equal("done", lh.await(inner))
    assert.is_false(went_on)
  end))

  it("is cancelled and not timed out when both come in one turn", in_task(function()
    local task = lh.create_task(lh.wait_for, function() lh.sleep(10) end, 1)
    turns(1)
    lh.get_running_loop():call_later(1, task.cancel, task)
    cancelled(task)
  end))

  it("loses no item of a queue, whatever comes first", in_task(function()
    for _, offset in ipairs { -0.25, 0, 0.25 } do
      local q, log = lh.Queue(), expect.log()
      local getter = lh.create_task(function()
        local ok, item = lh.rawpcall(lh.wait_for, function() return q:get() end, 1)
        if ok then log(item) end
      end)
      turns(1)
      lh.get_running_loop():call_later(1 + offset, q.put_nowait, q, "item")
      lh.await(getter)
      lh.sleep(1)
      if log.n == 0 then log(q:get_nowait()) end
      assert.equal("item", line(log))
      assert.is_true(q:empty())
    end
  end))
end)

describe("wait_for around shield", function()
  local function work(seconds)
    return lh.create_task(function()
      lh.sleep(seconds)
      return "done"
    end)
  end
  local function wait_shielded(task, seconds)
    return lh.wait_for(function() return lh.shield(task) end, seconds)
  end

  it("lets the task run on when no time was given", in_task(function()
    local task = work(0.01)
    raises(lh.TimeoutError, wait_shielded, task, 0)
    assert.is_false(task:done())
    lh.sleep(0.1)
    assert.equal("done", task:result())
  end))

  it("lets the task run on when the time is over", in_task(function()
    local task = work(0.1)
    raises(lh.TimeoutError, wait_shielded, task, 0.01)
    assert.is_false(task:done())
    assert.equal("done", lh.await(task))
  end))

  it("returns the result when there is time enough", in_task(function()
    local task = work(0.1)
    assert.equal("done", wait_shielded(task, nil))
    assert.is_true(task:done())
  end))
end)

describe("wait_for after wait_for", function()
  -- More tasks than a loop keeps timeouts for.
  local function many(fn)
    local list = {}
    for i = 1, 200 do list[i] = lh.create_task(fn, i) end
    for _, task in ipairs(list) do lh.await(task) end
  end

  it("times each by itself", in_task(function()
    local wrong = 0
    local function wait(i)
      lh.wait_for(function() lh.sleep(0) end, 1)
      local before, seconds = now(), i / 10
      raises(lh.TimeoutError, lh.wait_for, function() lh.sleep(1e4) end, seconds)
      if math.abs(now() - before - seconds) > 1e-6 then wrong = wrong + 1 end
      lh.wait_for(function() lh.sleep(seconds) end, seconds + 1)
    end
    many(wait)
    many(wait)
    assert.equal(0, wrong)
  end))

  it("counts the cancellations of the task at hand only", in_task(function()
    lh.wait_for(function() lh.sleep(0) end, 1)
    local task = lh.create_task(function()
      lh.current_task():cancel()
      lh.rawpcall(lh.sleep, 1)
      raises(lh.TimeoutError, lh.wait_for, function() lh.sleep(2) end, 1)
      return lh.current_task():cancelling()
    end)
    assert.equal(1, lh.await(task))
  end))

  it("holds no task that has waited", in_task(function()
    local weak = setmetatable({}, { __mode = "k" })
    many(function()
      weak[lh.current_task()] = true
      lh.wait_for(function() lh.sleep(0) end, 1)
    end)
    lh.sleep(0)
    collectgarbage()
    assert.is_nil(next(weak))
  end))

  it("times waits inside of each other, and inside of coroutines", in_task(function()
    lh.wait_for(function() lh.sleep(0) end, 1)
    local before = now()
    raises(lh.TimeoutError, lh.wait_for, function()
      lh.wait_for(lh.coroutine.wrap(function()
        lh.wait_for(function() lh.sleep(1) end, 2)
        lh.wait_for(function() lh.sleep(9) end, 5)
      end), 7)
    end, 3)
    assert.equal(3, now() - before)
  end))

  it("outlives the task, in a coroutine that was left", in_task(function()
    lh.wait_for(function() lh.sleep(0) end, 1)
    local left = {}
    for i = 1, 20 do
      left[i] = lh.coroutine.wrap(function() lh.wait_for(lh.coroutine.yield, 1) end)
      lh.await(lh.create_task(left[i]))
    end
    collectgarbage()
    lh.sleep(2)
    collectgarbage()
  end))

  it("outlives a loop that is closed meanwhile", function()
    local policy = lh.get_event_loop_policy()
    local before = policy:get_event_loop()
    local closed, fresh = policy:new_event_loop(), policy:new_event_loop()
    local function wait() lh.wait_for(function() lh.sleep(1e3) end, 1e4) end
    policy:set_event_loop(closed)
    for _ = 1, 3 do closed:create_task(wait) end
    closed:run_until_complete(closed:create_task(lh.wait_for, function() lh.sleep(0) end, 1))
    closed:close()
    policy:set_event_loop(fresh)
    collectgarbage()
    for _ = 1, 3 do fresh:create_task(wait) end
    local ok = fresh:run_until_complete(fresh:create_task(function()
      return lh.wait_for(function() return lh.sleep(0, "fine") end, 1)
    end))
    fresh:close()
    policy:set_event_loop(before)
    assert.equal("fine", ok)
  end)
end)
