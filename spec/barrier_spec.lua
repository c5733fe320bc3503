-- Barrier: a fixed number of tasks meet, and go on together.

local lh = require "loophost"
local expect = require "spec.expect"
local in_task, turns, raises, cancelled, line =
  expect.in_task, expect.turns, expect.raises, expect.cancelled, expect.line

local PARTIES = 5

local function start(n, fn)
  local tasks = {}
  for i = 1, n do tasks[i] = lh.create_task(fn, i) end
  return tasks
end

local function start_and_gather(n, fn)
  return lh.gather(start(n, fn))
end

-- True and its index if the barrier let this task pass, false if it was broken or reset.
local function passes(barrier)
  local ok, index = lh.pcall(barrier.wait, barrier)
  if not ok and not lh.iserror(index, lh.BrokenBarrierError) then error(index, 0) end
  return ok, index
end

local function at_rest(barrier)
  assert.equal(0, barrier:n_waiting())
  assert.is_false(barrier:broken())
end

describe("Barrier", function()
  it("needs at least one party", function()
    raises("bad argument #1", lh.Barrier, 0)
    raises("bad argument #1", lh.Barrier, -4)
    raises("bad argument #1", lh.Barrier)
    raises("bad argument #1", lh.Barrier, "many")
  end)

  it("says for how many it was made, and that nobody is there yet", function()
    local barrier = lh.Barrier(PARTIES)
    assert.equal(PARTIES, barrier:parties())
    at_rest(barrier)
  end)

  it("is not itself something to await", in_task(function()
    local barrier = lh.Barrier(PARTIES)
    raises("bad argument #1", lh.await, barrier)
    at_rest(barrier)
  end))

  it("gives each party an index of its own", in_task(function()
    local barrier, seen = lh.Barrier(3), {}
    start_and_gather(3, function() table.insert(seen, (barrier:wait())) end)
    table.sort(seen)
    assert.same({ 0, 1, 2 }, seen)
    at_rest(barrier)
  end))

  it("numbers the parties as they came, and the last one leaves first", in_task(function()
    local barrier, log = lh.Barrier(3), expect.log()
    start_and_gather(3, function(i) log(i .. ":" .. barrier:wait()) end)
    assert.equal("3:2 1:0 2:1", line(log))
  end))

  it("for one lets everyone pass at once", in_task(function()
    local barrier = lh.Barrier(1)
    assert.equal(0, barrier:wait())
    at_rest(barrier)
  end))

  it("for one can be passed by one task after another", in_task(function()
    local barrier = lh.Barrier(1)
    local t1 = lh.create_task(barrier.wait, barrier)
    turns(1)
    assert.equal(0, barrier:n_waiting())
    local t2 = lh.create_task(barrier.wait, barrier)
    turns(1)
    assert.is_true(t1:done() and t2:done())
    assert.equal(t1:result(), t2:result())
    at_rest(barrier)
  end))

  it("counts those who wait, until it is full", in_task(function()
    local barrier = lh.Barrier(3)
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = lh.create_task(barrier.wait, barrier)
      turns(1)
      assert.equal(i, barrier:n_waiting())
      assert.is_false(tasks[i]:done())
    end
    tasks[3] = lh.create_task(barrier.wait, barrier)
    turns(1)
    lh.wait(tasks)
    at_rest(barrier)
  end))

  it("can be used again by the same tasks", in_task(function()
    local barrier, first, second = lh.Barrier(PARTIES), 0, 0
    start_and_gather(PARTIES, function()
      barrier:wait()
      first = first + 1
      barrier:wait()
      assert.equal(PARTIES, first)
      second = second + 1
    end)
    assert.equal(PARTIES, first)
    assert.equal(PARTIES, second)
    at_rest(barrier)
  end))

  it("gives out all indices again in the next round", in_task(function()
    local barrier = lh.Barrier(PARTIES)
    local indices = start_and_gather(PARTIES, function()
      barrier:wait()
      return barrier:wait()
    end)
    table.sort(indices)
    for i = 1, PARTIES do assert.equal(i - 1, indices[i]) end
    at_rest(barrier)
  end))

  it("keeps those who come back too early outside until all have left", in_task(function()
    local early = 2
    local barrier, inner = lh.Barrier(PARTIES), lh.Barrier(PARTIES - early)
    local left = early
    start_and_gather(PARTIES, function()
      barrier:wait()
      if left > 0 then
        left = left - 1
        barrier:wait()
      else
        inner:wait() -- for exactly the three others
        barrier:wait()
      end
    end)
    at_rest(barrier)
    at_rest(inner)
  end))

  it("does not count a party that was cancelled", in_task(function()
    local barrier, passed = lh.Barrier(3), 0
    local function party()
      barrier:wait()
      passed = passed + 1
    end
    local t1 = lh.create_task(party)
    turns(1)
    assert.equal(1, barrier:n_waiting())
    local t2 = lh.create_task(party)
    turns(1)
    assert.equal(2, barrier:n_waiting())

    t1:cancel()
    turns(1)
    assert.equal(1, barrier:n_waiting())
    cancelled(t1)

    local t3 = lh.create_task(party)
    turns(1)
    assert.equal(2, barrier:n_waiting())
    lh.gather(t2, t3, lh.create_task(party))
    assert.equal(3, passed)
    at_rest(barrier)
  end))

  it("lets a time-out take a party away", in_task(function()
    local barrier = lh.Barrier(2)
    raises(lh.TimeoutError, lh.wait_for, function() return barrier:wait() end, 1)
    at_rest(barrier)
    start_and_gather(2, function() barrier:wait() end)
    at_rest(barrier)
  end))

  describe("after a reset", function()
    it("is as new when nobody was there", in_task(function()
      local barrier = lh.Barrier(1)
      lh.create_task(barrier.reset, barrier)
      turns(1)
      at_rest(barrier)
      assert.equal(0, barrier:wait())
    end))

    it("has sent away with an error those who waited", in_task(function()
      local barrier, broken = lh.Barrier(PARTIES), 0
      local tasks = start(PARTIES - 1, function()
        if not passes(barrier) then broken = broken + 1 end
      end)
      turns(1)
      lh.create_task(barrier.reset, barrier)
      lh.gather(tasks)
      assert.equal(PARTIES - 1, broken)
      at_rest(barrier)
    end))

    it("in the middle of leaving has sent away those who had not left", in_task(function()
      local barrier, left, broken = lh.Barrier(PARTIES), 0, 0
      start_and_gather(PARTIES, function()
        if passes(barrier) then
          left = left + 1
          if left == 3 then barrier:reset() end
        else
          broken = broken + 1
        end
      end)
      assert.equal(3, left)
      assert.equal(2, broken)
      at_rest(barrier)
    end))

    it("in the middle of leaving still lets in those who came back", in_task(function()
      local barrier, back = lh.Barrier(PARTIES), PARTIES // 2
      local left, broken, broken_outside = 0, 0, 0
      start_and_gather(PARTIES, function()
        if not passes(barrier) then
          broken = broken + 1
          barrier:wait()
          return
        end
        left = left + 1
        if left > back then
          barrier:reset()
          barrier:wait()
        elseif not passes(barrier) then
          broken_outside = broken_outside + 1
        end
      end)
      assert.equal(back, broken)
      assert.equal(0, broken_outside)
      at_rest(barrier)
    end))

    it("can be filled again by those who were sent away", in_task(function()
      local barrier, broken, passed = lh.Barrier(PARTIES), 0, 0
      local tasks = start(PARTIES - 1, function()
        if not passes(barrier) then broken = broken + 1 end
        barrier:wait()
        passed = passed + 1
      end)
      lh.create_task(barrier.reset, barrier)
      turns(1)
      tasks[PARTIES] = lh.create_task(function()
        barrier:wait()
        passed = passed + 1
      end)
      lh.gather(tasks)
      assert.equal(PARTIES - 1, broken)
      assert.equal(PARTIES, passed)
      at_rest(barrier)
    end))

    it("by the last to leave does not hurt those who wait for the next round", in_task(function()
      local barrier = lh.Barrier(PARTIES)
      local count, again, hurt, passed = 0, 0, 0, 0
      start_and_gather(PARTIES, function()
        barrier:wait()
        count = count + 1
        if count == PARTIES then
          barrier:reset()
          barrier:wait()
        elseif passes(barrier) then
          again = again + 1
        else
          hurt = hurt + 1
        end
        barrier:wait()
        passed = passed + 1
      end)
      assert.equal(PARTIES - 1, again)
      assert.equal(0, hurt)
      assert.equal(PARTIES, passed)
      at_rest(barrier)
    end))
  end)

  describe("after an abort", function()
    it("is broken, and raises an error for everyone who comes", in_task(function()
      local barrier = lh.Barrier(1)
      lh.create_task(barrier.abort, barrier)
      turns(1)
      assert.equal(0, barrier:n_waiting())
      assert.is_true(barrier:broken())
      raises(lh.BrokenBarrierError, barrier.wait, barrier)
    end))

    it("has sent away those who waited, in the order in which they came", in_task(function()
      local barrier, log = lh.Barrier(4), expect.log()
      local tasks = start(3, function(i)
        if not passes(barrier) then log(i) end
      end)
      turns(1)
      barrier:abort()
      lh.gather(tasks)
      assert.equal("1 2 3", line(log))
      assert.is_true(barrier:broken())
      assert.equal(0, barrier:n_waiting())
    end))

    it("in the middle of leaving has sent away both who leave and who come back", in_task(function()
      local barrier, back = lh.Barrier(PARTIES), PARTIES // 2
      local left, broken, broken_outside = 0, 0, 0
      start_and_gather(PARTIES, function()
        if not passes(barrier) then
          broken = broken + 1
          return
        end
        left = left + 1
        if left > back then
          barrier:abort()
        elseif not passes(barrier) then
          broken_outside = broken_outside + 1
        end
      end)
      assert.is_true(barrier:broken())
      assert.equal(back, broken)
      assert.equal(PARTIES - back - 1, broken_outside)
      assert.equal(0, barrier:n_waiting())
    end))

    -- One party fails after the first round and aborts; the others are stopped, some while
    -- they still leave, some in the second round.
    local function fail_in_the_middle(barrier, count)
      local ok, index = passes(barrier)
      if ok and index == PARTIES // 2 then
        barrier:abort()
      elseif ok and passes(barrier) then
        count.passed = count.passed + 1
      else
        count.broken = count.broken + 1
      end
    end

    it("by a party that failed has stopped all the others", in_task(function()
      local barrier, count = lh.Barrier(PARTIES), { passed = 0, broken = 0 }
      start_and_gather(PARTIES, function() fail_in_the_middle(barrier, count) end)
      assert.is_true(barrier:broken())
      assert.same({ passed = 0, broken = PARTIES - 1 }, count)
      assert.equal(0, barrier:n_waiting())
    end))

    it("is made usable again by a reset", in_task(function()
      local barrier, other = lh.Barrier(PARTIES), lh.Barrier(PARTIES)
      local count, done = { passed = 0, broken = 0 }, 0
      start_and_gather(PARTIES, function()
        fail_in_the_middle(barrier, count)
        -- All must have left before one resets, and none may come in before that.
        if other:wait() == PARTIES // 2 then barrier:reset() end
        other:wait()
        barrier:wait()
        done = done + 1
      end)
      assert.same({ passed = 0, broken = PARTIES - 1 }, count)
      assert.equal(PARTIES, done)
      at_rest(barrier)
    end))
  end)
end)
