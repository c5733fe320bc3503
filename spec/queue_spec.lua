-- Queue, LifoQueue, PriorityQueue: items go from tasks that put to tasks that get,
-- and the ones wait for the others.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

-- Puts all, gets all, and says in which order they came out.
local function through(q, items)
  for _, item in ipairs(items) do q:put(item) end
  local out = expect.log()
  for _ = 1, #items do out(q:get()) end
  return out
end

describe("Queue", function()
  it("is empty until something is put, and after all was got", in_task(function()
    local q = lh.Queue()
    assert.is_true(q:empty())
    assert.equal(0, q:qsize())
    q:put(1)
    assert.is_false(q:empty())
    assert.equal(1, q:qsize())
    assert.equal(1, q:get())
    assert.is_true(q:empty())
  end))

  it("is never full without a maxsize, and full when it holds maxsize items", in_task(function()
    local q = lh.Queue()
    assert.equal(0, q:maxsize())
    assert.is_false(q:full())
    q:put(1)
    assert.is_false(q:full())
    q = lh.Queue(1)
    assert.equal(1, q:maxsize())
    assert.is_false(q:full())
    q:put(1)
    assert.is_true(q:full())
  end))

  it("is endless when its maxsize is negative", function()
    local q = lh.Queue(-1)
    for i = 1, 100 do q:put_nowait(i) end
    assert.is_false(q:full())
  end)

  it("gives items out in the order in which they came", in_task(function()
    assert.equal("1 3 2", line(through(lh.Queue(), { 1, 3, 2 })))
  end))

  it("keeps the order however it grows and shrinks", function()
    local q, put, got = lh.Queue(), 0, 0
    for round = 1, 60 do
      for _ = 1, round % 7 + (round < 30 and 9 or 1) do
        put = put + 1
        q:put_nowait(put)
      end
      for _ = 1, math.min(q:qsize(), round % 5 + (round < 30 and 1 or 9)) do
        got = got + 1
        assert.equal(got, q:get_nowait())
      end
      assert.equal(put - got, q:qsize())
    end
    while not q:empty() do
      got = got + 1
      assert.equal(got, q:get_nowait())
    end
    assert.equal(put, got)
  end)

  it("keeps the order when it grows, wherever the first item stands", function()
    for moved = 0, 20 do
      local q = lh.Queue()
      for i = 1, moved do
        q:put_nowait(i)
        q:get_nowait()
      end
      for i = 1, 20 do q:put_nowait(i) end
      for i = 1, 20 do assert.equal(i, q:get_nowait()) end
    end
  end)

  it("holds nothing that was got or that a shutdown has dropped", function()
    for _, class in ipairs { lh.Queue, lh.LifoQueue, lh.PriorityQueue } do
      for count = 1, 20 do
        local q, held = class(), setmetatable({}, { __mode = "k" })
        for i = 1, count do
          local item = setmetatable({ i }, { __lt = function(a, b) return a[1] < b[1] end })
          held[item] = true
          q:put_nowait(item)
        end
        for _ = 1, count // 2 do q:get_nowait() end
        collectgarbage()
        local left = 0
        for _ in pairs(held) do left = left + 1 end
        assert.equal(count - count // 2, left)
        q:shutdown(true)
        collectgarbage()
        assert.is_nil(next(held))
      end
    end
  end)

  it("takes false for an item", in_task(function()
    local q = lh.Queue()
    q:put(false)
    assert.equal(1, q:qsize())
    assert.is_false(q:get())
    assert.is_true(q:empty())
  end))

  it("gives back the very value that was put", in_task(function()
    local q, item = lh.Queue(), {}
    q:put(item)
    assert.equal(item, q:get())
  end))

  it("refuses a maxsize that is no number", function()
    raises("bad argument #1", lh.Queue, {})
  end)

  it("makes put wait when it is full", in_task(function()
    local q, put = lh.Queue(2), expect.log()
    local task = lh.create_task(function()
      for i = 0, 2 do
        q:put(i)
        put(i)
      end
      return true
    end)
    turns(2)
    assert.equal("0 1", line(put))
    assert.equal(0, q:get())
    turns(1)
    assert.equal("0 1 2", line(put))
    assert.equal(1, q:get())
    assert.equal(2, q:get())
    assert.is_true(task:result())
  end))

  describe("get", function()
    it("takes what is there without a turn passing", in_task(function()
      local q, other_ran = lh.Queue(), false
      q:put_nowait(1)
      lh.create_task(function() other_ran = true end)
      assert.equal(1, q:get())
      assert.is_false(other_ran)
    end))

    it("wakes a put that waits for room", in_task(function()
      local q = lh.Queue(1)
      q:put(1)
      local put = lh.create_task(q.put, q, 2)
      turns(1)
      assert.is_false(put:done())
      assert.equal(1, q:get())
      turns(1)
      assert.is_true(put:done())
      assert.equal(2, q:get_nowait())
    end))

    it("waits until an item comes", in_task(function()
      local q, started, finished = lh.Queue(), lh.Event(), false
      local task = lh.create_task(function()
        started:set()
        local item = q:get()
        finished = true
        return item
      end)
      started:wait()
      assert.is_false(finished)
      lh.get_running_loop():call_later(0.01, q.put_nowait, q, 1)
      assert.equal(1, lh.await(task))
      assert.is_true(finished)
    end))

    it("without waiting takes an item, or raises QueueEmpty", function()
      local q = lh.Queue()
      q:put_nowait(1)
      assert.equal(1, q:get_nowait())
      raises(lh.QueueEmpty, q.get_nowait, q)
    end)

    it("of a second task gets the item when the first was cancelled", in_task(function()
      local q = lh.Queue()
      local t1, t2 = lh.create_task(q.get, q), lh.create_task(q.get, q)
      turns(1)
      t1:cancel()
      turns(1)
      assert.is_true(t1:done())
      q:put("a")
      turns(1)
      assert.equal("a", lh.await(t2))
    end))

    it("takes turns with puts that wait for room", in_task(function()
      local q = lh.Queue(1)
      lh.create_task(q.put, q, "a")
      lh.create_task(q.put, q, "b")
      assert.equal("a", q:get())
      assert.equal("b", q:get())
    end))

    it("keeps pace with a producer through a queue of one", in_task(function()
      local q, got = lh.Queue(1), expect.log()
      do
        local tg <close> = lh.TaskGroup()
        tg:create_task(function() for i = 1, 5 do q:put(i) end end)
        tg:create_task(function() for _ = 1, 5 do got(q:get()) end end)
      end
      assert.equal("1 2 3 4 5", line(got))
    end))

    it("that timed out takes nothing that comes later", in_task(function()
      local q = lh.Queue(5)
      raises(lh.TimeoutError, lh.wait_for, function() return q:get() end, 0.1)
      q:put_nowait("kept")
      turns(3)
      assert.equal("kept", q:get_nowait())
    end))

    it("serves those who wait in the order in which they came", in_task(function()
      local q, log = lh.Queue(), expect.log()
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = lh.create_task(function() log(i .. q:get()) end)
      end
      turns(1)
      for _, item in ipairs { "a", "b", "c" } do q:put_nowait(item) end
      lh.gather(tasks)
      assert.equal("1a 2b 3c", line(log))
    end))
  end)

  describe("put", function()
    it("without a maxsize never waits", in_task(function()
      local q, other_ran = lh.Queue(), false
      lh.create_task(function() other_ran = true end)
      q:put(1)
      assert.is_false(other_ran)
      assert.equal(1, q:get())
    end))

    it("waits for room", in_task(function()
      local q, started, finished = lh.Queue(1), lh.Event(), false
      lh.get_running_loop():call_later(0.01, q.get_nowait, q)
      local task = lh.create_task(function()
        started:set()
        q:put(1)
        q:put(2)
        finished = true
      end)
      started:wait()
      assert.is_false(finished)
      lh.await(task)
      assert.is_true(finished)
    end))

    it("without waiting puts an item, or raises QueueFull", function()
      local q = lh.Queue(1)
      q:put_nowait(1)
      raises(lh.QueueFull, q.put_nowait, q, 2)
      assert.equal(1, q:get_nowait())
    end)

    it("counts a fractional maxsize as full at the next whole number", in_task(function()
      local q = lh.Queue(1.3)
      q:put_nowait(1)
      assert.is_false(q:full())
      q:put(2)
      assert.is_true(q:full())
      raises(lh.QueueFull, q.put_nowait, q, 3)
    end))

    it("of a task has happened when its item was got", in_task(function()
      local q = lh.Queue()
      local task = lh.create_task(function()
        q:put(1)
        return true
      end)
      assert.equal(1, q:get())
      assert.is_true(task:done())
      assert.is_true(task:result())
    end))

    it("that is cancelled leaves its place to the next", in_task(function()
      local q = lh.Queue(1)
      local a = lh.create_task(q.put, q, "a")
      local b = lh.create_task(q.put, q, "b")
      local c = lh.create_task(q.put, q, "never")
      turns(1)
      assert.is_true(a:done())
      assert.is_false(b:done())
      c:cancel()
      turns(1)
      assert.is_true(c:cancelled())
      assert.equal("a", q:get_nowait())
      turns(1)
      assert.equal("b", q:get_nowait())
      lh.await(b)
      assert.is_true(q:empty())
    end))

    it("serves a get that waits already", in_task(function()
      local q = lh.Queue()
      local get = lh.create_task(q.get, q)
      turns(1)
      q:put("a")
      assert.equal("a", lh.await(get))
    end))

    it("wakes up for each item that was taken, one by one", in_task(function()
      local q = lh.Queue(2)
      do
        local tg <close> = lh.TaskGroup()
        tg:create_task(function()
          turns(1)
          for _ = 1, q:qsize() do q:get_nowait() end
        end)
        for i = 0, 3 do tg:create_task(q.put, q, i) end
      end
      assert.equal(2, q:qsize())
    end))
  end)

  describe("loses nothing when a task is cancelled that was just woken:", function()
    it("the item of a get goes to the next get", in_task(function()
      local q = lh.Queue()
      local reader = lh.create_task(q.get, q)
      turns(1)
      q:put_nowait(1)
      q:put_nowait(2)
      reader:cancel()
      if not lh.rawpcall(lh.await, reader) then
        reader = lh.create_task(q.get, q)
        lh.await(reader)
      end
      assert.equal(1, reader:result())
    end))

    it("several items go to those who still wait", in_task(function()
      local q = lh.Queue()
      local r = {}
      do
        local tg <close> = lh.TaskGroup()
        for i = 1, 3 do r[i] = tg:create_task(q.get, q) end
        turns(1)
        q:put_nowait(1)
        q:put_nowait(2)
        r[1]:cancel()
        cancelled(r[1])
        lh.await(r[3])
      end
      local got = { r[2]:result(), r[3]:result() }
      table.sort(got)
      assert.same({ 1, 2 }, got)
    end))

    it("the room that a put was promised is free for the next put", in_task(function()
      local q = lh.Queue(1)
      q:put_nowait(1)
      local writer = lh.create_task(q.put, q, 2)
      turns(1)
      assert.equal(1, q:get_nowait())
      writer:cancel()
      if not lh.rawpcall(lh.await, writer) then
        writer = lh.create_task(q.put, q, 2)
        lh.await(writer)
      end
      assert.equal(2, q:get_nowait())
      assert.equal(0, q:qsize())
    end))

    it("a put that waits is forgotten", in_task(function()
      local q = lh.Queue(1)
      q:put_nowait("kept")
      local put = lh.create_task(q.put, q, "never")
      turns(1)
      put:cancel()
      cancelled(put)
      assert.equal("kept", q:get_nowait())
      turns(2)
      assert.is_true(q:empty())
    end))

    it("and holds on to nothing of those who were cancelled", in_task(function()
      local q, full = lh.Queue(), lh.Queue(1)
      full:put_nowait("kept")
      local function kilobytes_after_many()
        for _ = 1, 500 do
          local get = lh.create_task(q.get, q)
          local put = lh.create_task(full.put, full, "never")
          turns(1)
          get:cancel()
          put:cancel()
          lh.wait { get, put }
        end
        turns(2)
        return support.memory()
      end
      local before = kilobytes_after_many()
      assert.is_true(kilobytes_after_many() - before < 32)
      assert.equal("kept", full:get_nowait())
      assert.is_true(q:empty())
    end))

    it("a put that was promised room still raises CancelledError", in_task(function()
      local q = lh.Queue(1)
      q:put_nowait(1)
      local put = lh.create_task(q.put, q, 1)
      turns(1)
      q:get_nowait()
      put:cancel()
      cancelled(put)
      assert.is_true(q:empty())
    end))
  end)
end)

describe("LifoQueue", function()
  it("gives the newest item out first", in_task(function()
    assert.equal("2 3 1", line(through(lh.LifoQueue(), { 1, 3, 2 })))
  end))
end)

describe("PriorityQueue", function()
  it("gives the smallest item out first", in_task(function()
    assert.equal("1 2 3", line(through(lh.PriorityQueue(), { 1, 3, 2 })))
    assert.equal("a b c", line(through(lh.PriorityQueue(), { "b", "c", "a" })))
  end))

  it("sorts a thousand items", function()
    local q, n = lh.PriorityQueue(), 1000
    for i = 1, n do q:put_nowait(i * 389 % n) end
    for i = 0, n - 1 do assert.equal(i, q:get_nowait()) end
  end)

  it("compares lists element by element", in_task(function()
    local q = lh.PriorityQueue()
    for _, item in ipairs { { 2, "a" }, { 1, "z" }, { 1, "b", 0 }, { 1, "b" } } do q:put(item) end
    local out = expect.log()
    for _ = 1, 4 do out(table.concat(q:get(), "")) end
    assert.equal("1b 1b0 1z 2a", line(out))
  end))

  it("asks the items themselves when they know __lt", in_task(function()
    local mt = { __lt = function(a, b) return a.weight < b.weight end }
    local q, out = lh.PriorityQueue(), expect.log()
    for _, weight in ipairs { 5, 1, 3 } do q:put(setmetatable({ weight = weight }, mt)) end
    for _ = 1, 3 do out(q:get().weight) end
    assert.equal("1 3 5", line(out))
  end))

  it("raises Lua's own error for items that cannot be compared", function()
    local q = lh.PriorityQueue()
    q:put_nowait(1)
    raises("attempt to compare", q.put_nowait, q, "one")
  end)

  it("says so when a comparison empties and fills it again", function()
    local q, refill = lh.PriorityQueue(), false
    local mt = { __lt = function(a, b)
      if refill then
        refill = false
        local items = {}
        while not q:empty() do items[#items + 1] = q:get_nowait() end
        for _, item in ipairs(items) do q:put_nowait(item) end
      end
      return a.weight < b.weight
    end }
    local function item(weight) return setmetatable({ weight = weight }, mt) end
    local count = 1100 -- so many that the place of a burst is not kept
    for weight = 1, count do q:put_nowait(item(weight)) end
    refill = true
    raises("queue changed during a comparison", q.put_nowait, q, item(count + 1))
    for weight = 1, count do assert.equal(weight, q:get_nowait().weight) end
    assert.is_true(q:empty())
  end)

  it("gives a task that waits the item that was put", in_task(function()
    local q = lh.PriorityQueue()
    local get = lh.create_task(q.get, q)
    turns(1)
    q:put_nowait(2)
    q:put_nowait(1)
    assert.equal(1, lh.await(get)) -- the smallest when the task runs, not the first that came
    assert.equal(2, q:get_nowait())
  end))
end)

for _, class in ipairs { "Queue", "LifoQueue", "PriorityQueue" } do
  describe("join of a " .. class, function()
    local new = lh[class]

    it("lets task_done be called only as often as there were items", function()
      raises("task_done() called too many times", function() new():task_done() end)
      local q = new()
      q:put_nowait(1)
      q:task_done()
      raises("task_done() called too many times", q.task_done, q)
    end)

    it("returns when every item is done", in_task(function()
      local q, sum, running = new(), 0, true
      for i = 0, 99 do q:put_nowait(i) end
      do
        local tg <close> = lh.TaskGroup()
        for _ = 1, 2 do
          tg:create_task(function()
            while running do
              sum = sum + q:get()
              q:task_done()
            end
          end)
        end
        q:join()
        assert.equal(99 * 100 // 2, sum)
        running = false
        for _ = 1, 2 do q:put_nowait(0) end
      end
    end))

    it("returns at once when nothing was put, as often as it is asked", in_task(function()
      local q = new()
      q:join()
      q:join()
    end))

    it("waits for task_done, not only for the get", in_task(function()
      local q = new()
      q:put_nowait(1)
      local join = lh.create_task(q.join, q)
      q:get_nowait()
      turns(3)
      assert.is_false(join:done())
      q:task_done()
      turns(1)
      assert.is_true(join:done())
    end))

    it("waits again for items that are put later", in_task(function()
      local q = new()
      q:put_nowait(1)
      q:get_nowait()
      q:task_done()
      q:join()
      q:put_nowait(2)
      raises(lh.TimeoutError, lh.wait_for, function() return q:join() end, 1)
    end))
  end)
end
