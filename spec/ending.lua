-- Waits that are ended from outside, after every number of turns, and what must be left then:
-- no descriptor, no memory.

local lh = require "loophost"
local assert = require "luassert"
local support = require "spec.support"

local ending = {}

local function wait_for_descriptors(count)
  local deadline = lh.get_running_loop():time() + 20
  while support.descriptors() ~= count and lh.get_running_loop():time() < deadline do
    lh.sleep(0.001)
  end
end

-- The two ways for a wait to end from outside: each returns the task that runs it, how to end it,
-- and the error that the task then raises.
ending.WAYS = {
  ["is cancelled"] = function(run)
    local task = lh.create_task(run)
    return task, function() task:cancel() end, lh.CancelledError
  end,
  ["times out"] = function(run)
    local limit
    local task = lh.create_task(function()
      limit = lh.timeout(1000)
      local _ <close> = limit
      return run()
    end)
    return task, function()
      if limit and not task:done() then limit:reschedule(lh.get_running_loop():time()) end
      if not limit then task:cancel() end
    end, lh.TimeoutError
  end,
}

-- How a turn passes: at once, so that threads, children and the kernel are still at work; or with
-- a pause in which the loop hears nothing, so that they are through, and nobody was told.
ending.PACES = {
  ["while others are at work"] = function() lh.sleep(0) end,
  ["when others are through"] = function()
    local loop = lh.get_running_loop()
    local deadline = loop:time() + 0.0005
    while loop:time() < deadline do collectgarbage "count" end
    lh.sleep(0)
  end,
}

-- Each way at each pace: for way, when, pace in ending.variants() do ... end
function ending.variants()
  return coroutine.wrap(function()
    for way in pairs(ending.WAYS) do
      for when, pace in pairs(ending.PACES) do coroutine.yield(way, when, pace) end
    end
  end)
end

-- Runs run() as a task, and ends it after so many turns (paced, or not) in the way. Returns
-- whether it had come to its own end before; and, as pcall, what it came to.
function ending.after(turns, way, run, pace)
  local task, finish, expected = ending.WAYS[way](run)
  for _ = 1, turns do (pace or lh.sleep)(0) end
  local done = task:done()
  finish()
  local outcome = table.pack(lh.rawpcall(lh.await, task))
  if not outcome[1] then
    assert.is_true(lh.iserror(outcome[2], expected) or lh.iserror(outcome[2], lh.CancelledError),
      tostring(outcome[2]))
  end
  return done, table.unpack(outcome, 1, outcome.n)
end

-- try(turns) for 0, 1, 2 ... until it says that it was done before, and two more.
function ending.at_every_turn(try, most)
  local last = most or 60
  local turns = 0
  while turns <= last do
    if try(turns) then
      assert.is_true(turns >= 1)
      last = math.min(last, turns + 2)
    end
    turns = turns + 1
  end
end

-- fn(world) runs twice in a task by the real clock; the second time must leave no more behind.
-- setup(world), if given, returns what is closed at the end. What threads and children hold may be
-- closed later: is_patient waits for that.
function ending.leaves_nothing(fn, setup, is_patient)
  support.with_loop(function(loop)
    loop:run_until_complete(function()
      local held <close> = lh.timeout(1000) -- make stress is slow
      local world = {}
      local held_too <close> = setup and setup(world)
      fn(world)
      lh.sleep(0)
      local fds, bytes = support.descriptors(), support.memory()
      fn(world)
      lh.sleep(0)
      if is_patient then wait_for_descriptors(fds) end
      assert.equal(fds, support.descriptors())
      local grown = support.memory() - bytes
      assert.is_true(grown < 8, ("%.1f KiB more"):format(grown))
    end)
  end, { clock = "monotonic" })
end

-- What is to be seen of a wait that is ended at every turn: the bodies of tests by their titles.
-- fn(world, ends) has ends(run) run what may wait and is ended, and gets what ending.after gives;
-- it returns whether that was done before. `setup` is as above.
function ending.cases(setup, fn)
  local cases = {}
  for way, when, pace in ending.variants() do
    cases[("%s at every turn, %s"):format(way, when)] = function()
      ending.leaves_nothing(function(world)
        ending.at_every_turn(function(turns)
          return fn(world, function(run) return ending.after(turns, way, run, pace) end)
        end, 20)
      end, setup, true)
    end
  end
  cases["is cancelled at every turn, and holds virtual time no longer"] = function()
    support.run(function()
      local world = {}
      local held <close> = setup and setup(world)
      for turns = 0, 6 do
        fn(world, function(run) return ending.after(turns, "is cancelled", run) end)
      end
      lh.sleep(3600) -- or really for so long
      assert.is_true(held == nil or next(world) ~= nil)
    end)
  end
  return cases
end

return ending
