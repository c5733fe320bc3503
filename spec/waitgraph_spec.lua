-- What a deadlock says of each thing that a task can wait for.

local lh = require "loophost"
local testing = require "loophost.testing"
local expect = require "spec.expect"

local function never() lh.Event():wait() end

local NEVER = { " waits for Event.wait at @, created at @",
  " (made at @), which is <Event [unset, waiters:1]>" }

-- The scenario with this function is stuck, and says this of its tasks: "@" stands for a line
-- of a spec.
local function stuck(lines, fn)
  local message = expect.failure_of(testing.run, nil, fn)
  local got = message:gsub("^[^\n]*\n", ""):gsub("\n%(seed 0%)$", "")
  assert.equal(table.concat(lines, "\n"), (got:gsub("[%w_./]*spec/[%w_]+%.lua:%d+", "@")))
end

-- The lines about so many tasks that wait for an event each, of which Task-`first` is the first.
local function never_lines(first, count, ...)
  local lines = { ... }
  for i = 0, count - 1 do
    lines[#lines + 1] = ("  task 'Task-%d'%s"):format(first + i, NEVER[1])
    lines[#lines + 1] = ("    for event %d%s"):format(i + 1, NEVER[2])
  end
  return lines
end

describe("a deadlock names", function()
  local function main(what)
    return ("  task 'Task-1' waits for %s at @, created at @"):format(what)
  end

  it("an Event", function() stuck(never_lines(1, 1), never) end)

  it("a Lock that is held by nobody's task", function()
    stuck({ main "Lock.acquire", "    for lock 1 (made at @), held by a callback" }, function()
      local lock = lh.Lock()
      lh.get_running_loop():call_soon(lock.acquire, lock)
      lh.sleep(0)
      lock:acquire()
    end)
  end)

  it("a Condition, by its lock and by itself", function()
    stuck({
      main "Condition.acquire", "    for condition 1 (made at @), held by task 'Task-2'",
      "  task 'Task-2' waits for Condition.wait at @, created at @",
      "    for condition 2 (made at @)",
    }, function()
      local condition, other = lh.Condition(), lh.Condition()
      lh.create_task(function()
        condition:acquire()
        other:acquire()
        other:wait()
      end)
      lh.sleep(0)
      condition:acquire()
    end)
  end)

  it("a Semaphore, bounded or not", function()
    for _, name in ipairs { "Semaphore", "BoundedSemaphore" } do
      local state = ("which is <%s [locked, waiters:1]>"):format(name)
      stuck({
        main "Semaphore.acquire", ("    for %s 1 (made at @), %s"):format(name:lower(), state),
      }, function()
        local semaphore = lh[name](1)
        semaphore:acquire()
        semaphore:acquire()
      end)
    end
  end)

  it("a Queue, from both ends", function()
    local line = "    for %s 1 (made at @), which is <%s [items:%d, maxsize:%d, getters:%d, "
      .. "putters:%d, unfinished:%d]>"
    stuck({ main "Queue.get", line:format("queue", "Queue", 0, 0, 1, 0, 0) }, function()
      lh.Queue():get()
    end)
    stuck({ main "Queue.put", line:format("lifoqueue", "LifoQueue", 1, 1, 0, 1, 1) }, function()
      local queue = lh.LifoQueue(1)
      queue:put(1)
      queue:put(2)
    end)
    stuck({ main "Queue.join", line:format("priorityqueue", "PriorityQueue", 1, 0, 0, 0, 1) },
      function()
        local queue = lh.PriorityQueue()
        queue:put(1)
        queue:join()
      end)
  end)

  it("a Barrier", function()
    stuck({
      main "Barrier.wait",
      "    for barrier 1 (made at @), which is <Barrier [filling, waiters:2/3]>",
      "  task 'Task-2' waits for Barrier.wait, created at @",
      "    for barrier 1, which is <Barrier [filling, waiters:2/3]>",
    }, function()
      local barrier = lh.Barrier(3)
      lh.create_task(barrier.wait, barrier)
      barrier:wait()
    end)
  end)

  it("a future, and where it was made", function()
    stuck({ main "a future", "    the future was made at @" }, function()
      lh.await(lh.get_running_loop():create_future())
    end)
  end)

  it("what is not done of what gather, wait, as_completed and a TaskGroup wait for", function()
    local function nothing() end
    local function three()
      return { lh.create_task(never), lh.create_task(nothing), lh.create_task(never) }
    end
    local function check(what, fn)
      stuck({
        main(what), "    for task 'Task-2', task 'Task-4'",
        "  task 'Task-2'" .. NEVER[1], "    for event 1" .. NEVER[2],
        "  task 'Task-4'" .. NEVER[1], "    for event 2" .. NEVER[2],
      }, fn)
    end
    check("gather", function() lh.gather(three()) end)
    check("wait", function() lh.wait(three()) end)
    check("as_completed", function()
      for _ in lh.as_completed(three()) do lh.sleep(0) end
    end)
    check("a TaskGroup's end", function()
      local group <close> = lh.TaskGroup()
      for _, body in ipairs { never, nothing, never } do group:create_task(body) end
    end)
  end)

  it("what is shielded", function()
    stuck(never_lines(2, 1, main "shield", "    for task 'Task-2'"), function()
      lh.shield(never)
    end)
  end)

  it("futures among them, and not too many", function()
    stuck({ main "wait", "    for " .. ("a future made at @, "):rep(20) .. "10 more" }, function()
      local futures = {}
      for i = 1, 30 do futures[i] = lh.get_running_loop():create_future() end
      lh.wait(futures)
    end)
  end)

  it("nothing of a timeout: it would have ended the wait", function()
    stuck(never_lines(1, 1), function()
      local _ <close> = lh.timeout(nil)
      lh.wait_for(never, nil)
    end)
  end)

  it("no circle where two wait for the same", function()
    stuck({
      main "gather", "    for task 'Task-2', task 'Task-3', task 'Task-4'",
      "  task 'Task-2'" .. NEVER[1], "    for event 1" .. NEVER[2],
      "  task 'Task-3' waits for task 'Task-2' at @, created at @",
      "  task 'Task-4' waits for task 'Task-2' at @, created at @",
    }, function()
      local function wait_too(task) lh.await(task) end
      local task = lh.create_task(never)
      lh.gather(task, lh.create_task(wait_too, task), lh.create_task(wait_too, task))
    end)
  end)

  it("the circles through those who wait for several", function()
    stuck({
      main "gather", "    for task 'Task-2', task 'Task-3'",
      "  task 'Task-2' waits for task 'Task-1' at @, created at @",
      "  task 'Task-3' waits for Lock.acquire at @, created at @",
      "    for lock 1 (made at @), held by task 'Task-3'",
      "a circle: 'Task-1' waits for 'Task-2' waits for 'Task-1'",
      "a circle: 'Task-3' waits for 'Task-3'",
    }, function()
      local main_task, lock = lh.current_task(), lh.Lock()
      lh.gather(function() lh.await(main_task) end, function()
        lock:acquire()
        lock:acquire()
      end)
    end)
  end)
end)
