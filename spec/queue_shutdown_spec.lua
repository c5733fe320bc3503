-- shutdown of a queue, as CPython 3.13 has it: no more puts, gets until it is empty
-- (or not even those), and nobody who waits is left behind.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises = expect.in_task, expect.turns, expect.raises

local function closed_for_put(q)
  raises(lh.QueueShutDown, q.put, q, "data")
  raises(lh.QueueShutDown, q.put_nowait, q, "data")
end

local function closed_for_get(q)
  raises(lh.QueueShutDown, q.get, q)
  raises(lh.QueueShutDown, q.get_nowait, q)
end

for _, class in ipairs { "Queue", "LifoQueue", "PriorityQueue" } do
  describe("shutdown of a " .. class, function()
    local new = lh[class]

    it("that is empty wakes those who wait to get, with an error", in_task(function()
      local q = new()
      local get = lh.create_task(q.get, q)
      turns(1)
      q:shutdown(false)
      assert.equal(0, q:qsize())
      q:join()
      turns(1)
      assert.is_true(get:done())
      raises(lh.QueueShutDown, lh.await, get)
      closed_for_put(q)
      closed_for_get(q)
    end))

    it("lets the items that are there be got, but no more be put", in_task(function()
      local q = new(1)
      q:put_nowait("data")
      local join = lh.create_task(q.join, q)
      local put = lh.create_task(q.put, q, "more")
      turns(1)
      assert.is_false(put:done())

      q:shutdown()
      assert.equal(1, q:qsize())
      turns(1)
      assert.is_true(put:done())
      raises(lh.QueueShutDown, lh.await, put)
      assert.equal("data", q:get())
      turns(1)
      assert.is_false(join:done())
      closed_for_put(q)
      closed_for_get(q)

      q:task_done()
      turns(1)
      assert.is_true(join:done())
      lh.await(join)
      raises("task_done() called too many times", q.task_done, q)
    end))

    it("at once throws the items away and counts them as done", in_task(function()
      local q = new()
      q:put_nowait("data")
      local join = lh.create_task(q.join, q)
      q:shutdown(true)
      assert.equal(0, q:qsize())
      turns(1)
      assert.is_true(join:done())
      lh.await(join)
      closed_for_put(q)
      closed_for_get(q)
      raises("task_done() called too many times", q.task_done, q)
    end))

    it("at once still waits for items that were got and are not done", in_task(function()
      local q = new()
      q:put_nowait("data")
      q:put_nowait("data")
      local join = lh.create_task(q.join, q)
      assert.equal("data", q:get())
      q:shutdown(true)
      assert.equal(0, q:qsize())
      turns(1)
      assert.is_false(join:done())
      closed_for_put(q)
      closed_for_get(q)

      q:task_done()
      raises("task_done() called too many times", q.task_done, q)
      turns(1)
      assert.is_true(join:done())
      lh.await(join)
    end))

    it("wakes all who wait, not only the first", in_task(function()
      local q, full = new(), new(1)
      full:put_nowait(0)
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = lh.create_task(q.get, q)
        tasks[i + 3] = lh.create_task(full.put, full, i)
      end
      turns(1)
      q:shutdown()
      full:shutdown()
      turns(1)
      for _, t in ipairs(tasks) do
        assert.is_true(t:done())
        assert.is_true(lh.iserror(t:exception(), lh.QueueShutDown))
      end
    end))

    it("may be asked for twice", in_task(function()
      local q = new()
      q:put_nowait("data")
      q:shutdown()
      q:shutdown()
      assert.equal("data", q:get())
      closed_for_get(q)
    end))
  end)
end
