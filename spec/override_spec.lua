-- What the runtime calls of a loop's methods: as often as asyncio of CPython 3.11 does, where each
-- of these counts was taken.

local lh = require "loophost"

local function pause() lh.sleep(0) end
local function ignore() end

local METHODS = {
  "call_soon", "call_at", "call_later", "create_future", "create_task", "call_exception_handler",
}

-- What each case does, as a function of the loop; and the counts.
local CASES = {
  { "nothing", { call_soon = 2, create_task = 1 }, ignore },
  { "a sleep of no time", { call_soon = 3, create_task = 1 }, function() lh.sleep(0) end },
  { "a sleep", { call_soon = 3, call_at = 1, call_later = 1, create_future = 1, create_task = 1 },
    function() lh.sleep(0.001) end },
  { "a task that is awaited", { call_soon = 5, create_task = 2 },
    function() lh.await(lh.create_task(pause)) end },
  { "a future that is awaited", { call_soon = 4, create_future = 1, create_task = 1 },
    function(loop)
      local future = loop:create_future()
      loop:call_soon(future.set_result, future, 1)
      lh.await(future)
    end },
  { "a future's callbacks", { call_soon = 5, create_future = 1, create_task = 1 }, function(loop)
    local future = loop:create_future()
    future:add_done_callback(ignore)
    future:set_result(1)
    future:add_done_callback(ignore)
    lh.sleep(0)
  end },
  { "gather of functions", { call_soon = 9, create_task = 3 },
    function() lh.gather(pause, pause) end },
  { "gather of a future", { call_soon = 5, create_future = 1, create_task = 1 }, function(loop)
    local future = loop:create_future()
    loop:call_soon(future.set_result, future, 1)
    lh.gather(future)
  end },
  { "wait", { call_soon = 9, create_future = 1, create_task = 3 },
    function() lh.wait { lh.create_task(pause), lh.create_task(pause) } end },
  { "wait with a timeout", { call_soon = 10, call_at = 4, call_later = 4, create_future = 4,
      create_task = 3 },
    function()
      local tasks = { lh.create_task(lh.sleep, 0.005), lh.create_task(lh.sleep, 0.005) }
      lh.wait(tasks, { timeout = 0.001 })
      lh.wait(tasks, { timeout = 10 })
    end },
  { "a timeout that is left in time", { call_soon = 3, call_at = 1, create_task = 1 }, function()
    local _ <close> = lh.timeout(5)
    lh.sleep(0)
  end },
  { "a timeout that is over", { call_soon = 3, call_at = 2, call_later = 1, create_future = 1,
      create_task = 1 },
    function()
      lh.pcall(function()
        local _ <close> = lh.timeout(0.001)
        lh.sleep(1)
      end)
    end },
  { "a timeout of no time", { call_soon = 4, call_at = 1, call_later = 1, create_future = 1,
      create_task = 1 },
    function()
      lh.pcall(function()
        local _ <close> = lh.timeout(0)
        lh.sleep(1)
      end)
    end },
  { "shield", { call_soon = 7, create_future = 1, create_task = 2 },
    function() lh.shield(pause) end },
  { "as_completed", { call_soon = 9, call_at = 1, call_later = 1, create_future = 1,
      create_task = 3 },
    function()
      for task in lh.as_completed({ pause, pause }, 5) do lh.await(task) end
    end },
  { "a TaskGroup", { call_soon = 9, create_future = 1, create_task = 3 }, function()
    local group <close> = lh.TaskGroup()
    group:create_task(pause)
    group:create_task(pause)
  end },
  { "an Event", { call_soon = 4, create_future = 1, create_task = 1 }, function(loop)
    local event = lh.Event()
    loop:call_soon(event.set, event)
    event:wait()
  end },
  { "a Lock", { call_soon = 4, create_future = 1, create_task = 1 }, function(loop)
    local lock = lh.Lock()
    lock:acquire()
    loop:call_soon(lock.release, lock)
    lock:acquire()
  end },
  { "a Semaphore", { call_soon = 4, create_future = 1, create_task = 1 }, function(loop)
    local semaphore = lh.Semaphore(1)
    semaphore:acquire()
    loop:call_soon(semaphore.release, semaphore)
    semaphore:acquire()
  end },
  { "a Queue", { call_soon = 6, create_future = 2, create_task = 1 }, function(loop)
    local queue = lh.Queue(1)
    loop:call_soon(queue.put_nowait, queue, 1)
    queue:get()
    queue:put(1)
    loop:call_soon(queue.get_nowait, queue)
    queue:put(2)
  end },
  { "Queue.join", { call_soon = 4, create_future = 1, create_task = 1 }, function(loop)
    local queue = lh.Queue()
    queue:put_nowait(1)
    loop:call_soon(queue.task_done, queue)
    queue:join()
  end },
  { "a Condition", { call_soon = 4, create_future = 1, create_task = 2 }, function(loop)
    local condition = lh.Condition()
    loop:create_task(function()
      local _ <close> = condition:acquire()
      condition:notify_all()
    end)
    local _ <close> = condition:acquire()
    condition:wait()
  end },
  { "a Barrier", { call_soon = 4, create_future = 1, create_task = 2 }, function(loop)
    local barrier = lh.Barrier(2)
    loop:create_task(barrier.wait, barrier)
    barrier:wait()
  end },
  { "a task that is cancelled", { call_soon = 6, call_at = 1, call_later = 1, create_future = 1,
      create_task = 2 },
    function(loop)
      local task = loop:create_task(lh.sleep, 10)
      lh.sleep(0)
      task:cancel()
      lh.rawpcall(lh.await, task)
    end },
  { "an error in a callback", { call_soon = 4, create_task = 1, call_exception_handler = 1 },
    function(loop)
      loop:call_soon(error)
      lh.sleep(0)
    end },
}

-- A loop of which these methods are its class's own, and the calls of them.
local function counting_loop(names)
  local counts, methods = {}, {}
  for _, name in ipairs(names) do
    methods[name] = function(self, ...)
      counts[name] = (counts[name] or 0) + 1
      return lh.EventLoop[name](self, ...)
    end
  end
  local loop = lh.EventLoop:subclass(methods) { clock = "virtual" }
  loop:set_exception_handler(ignore)
  return loop, counts
end

describe("A loop with methods of its own is asked by", function()
  for _, case in ipairs(CASES) do
    local name, expected, fn = table.unpack(case)
    it(name, function()
      local loop, counts = counting_loop(METHODS)
      loop:run_until_complete(fn, loop)
      loop:close()
      assert.same(expected, counts)
      for _, method in ipairs(METHODS) do -- the others are the base's
        loop, counts = counting_loop { method }
        loop:run_until_complete(fn, loop)
        loop:close()
        assert.same({ [method] = expected[method] }, counts)
      end
    end)
  end
end)
