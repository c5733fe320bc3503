-- lh.clock: a virtual clock that is taken by the hand.

local lh = require "loophost"
local expect = require "spec.expect"
local support = require "spec.support"

local raises = expect.raises
local clock = lh.clock

-- The times at which each of the delays was over, as they pass.
local function sleepers(...)
  local log, loop = {}, lh.get_running_loop()
  local began = loop:time()
  for _, delay in ipairs { ... } do
    lh.create_task(function()
      lh.sleep(delay)
      log[#log + 1] = loop:time() - began
    end)
  end
  return log
end

describe("a frozen clock", function()
  it("does not move, whoever sleeps", expect.in_task(function()
    local frozen <close> = clock.freeze()
    assert.is_truthy(frozen)
    local log = sleepers(1, 2)
    clock.run_until_idle()
    assert.same({}, log)
  end))

  it("goes again at the end of the block", expect.in_task(function()
    local log = sleepers(1)
    do
      local _ <close> = clock.freeze()
      clock.run_until_idle()
    end
    lh.sleep(1)
    lh.sleep(0)
    assert.same({ 1.0 }, log)
  end))

  it("goes again when it is told to", expect.in_task(function()
    clock.freeze()
    clock.thaw()
    lh.sleep(100)
  end))

  it("makes a deadlock of those who only sleep, and that says so", function()
    local err = raises(lh.DeadlockError, support.run, function()
      clock.freeze()
      lh.sleep(1)
    end)
    assert.is_truthy(tostring(err):find("(the clock is frozen)", 1, true))
  end)
end)

describe("advance", function()
  it("passes all timers on the way, each at its own time", expect.in_task(function()
    local _ <close> = clock.freeze()
    local log = sleepers(3, 1, 2, 4.5)
    clock.advance(3)
    assert.same({ 1.0, 2.0, 3.0 }, log)
    clock.advance(1)
    assert.equal(3, #log)
    clock.advance(0.5)
    assert.same({ 1.0, 2.0, 3.0, 4.5 }, log)
  end))

  it("runs what those have started, and their timers", expect.in_task(function()
    local _ <close> = clock.freeze()
    local loop = lh.get_running_loop()
    local began, ticks = loop:time(), {}
    local task = lh.create_task(function()
      while true do
        lh.sleep(0.25)
        ticks[#ticks + 1] = loop:time() - began
      end
    end)
    clock.advance(1)
    assert.same({ 0.25, 0.5, 0.75, 1.0 }, ticks)
    task:cancel()
  end))

  it("moves exactly so far", expect.in_task(function()
    local _ <close> = clock.freeze()
    local loop = lh.get_running_loop()
    local began = loop:time()
    clock.advance(0.1)
    clock.advance(0)
    clock.advance(1e6)
    assert.equal(1000000.1, loop:time() - began)
  end))

  it("works on a clock that is not frozen", expect.in_task(function()
    local log = sleepers(1, 2, 3)
    clock.advance(2)
    assert.same({ 1.0, 2.0 }, log)
    lh.sleep(1)
    lh.sleep(0)
    assert.same({ 1.0, 2.0, 3.0 }, log)
  end))

  it("lets two move the time at once", expect.in_task(function()
    local _ <close> = clock.freeze()
    local loop = lh.get_running_loop()
    local began, log = loop:time(), sleepers(1, 2, 3)
    local other = lh.create_task(clock.advance, 2)
    clock.advance(3)
    lh.await(other)
    assert.same({ 1.0, 2.0, 3.0 }, log)
    assert.equal(3.0, loop:time() - began)
  end))

  it("can be cancelled", expect.in_task(function()
    local _ <close> = clock.freeze()
    local task = lh.create_task(clock.advance, 5)
    lh.sleep(0)
    task:cancel()
    expect.cancelled(task)
  end))

  it("needs a number that is not negative", expect.in_task(function()
    raises("number of seconds expected, got no value", clock.advance)
    raises("number of seconds expected, got NaN", clock.advance, 0 / 0)
    raises("time does not go backwards", clock.advance, -1)
  end))

  it("does not wait for a peer that says nothing longer than that", function()
    support.run(function()
      local path = os.tmpname()
      os.remove(path)
      local server <close> = lh.start_unix_server(function(stream) stream:read("a") end, path)
      assert.is_truthy(server)
      local stream <close> = assert(lh.open_unix_connection(path))
      local reader = lh.create_task(stream.read, stream)
      lh.sleep(0)
      clock.advance(0.05)
      reader:cancel()
      lh.wait { reader }
    end)
  end)

  it("does not wait for a peer that talks all the time longer than that #child", function()
    support.run(function()
      local talker <close> = lh.create_subprocess_exec("sh", "-c",
        "for i in $(seq 100); do echo; sleep 0.05; done", { stdout = "pipe" })
      local heard = 0
      local listener = lh.create_task(function()
        for _ in talker.stdout:lines() do heard = heard + 1 end
      end)
      clock.advance(0.2)
      assert.is_true(heard < 100)
      listener:cancel()
      lh.wait { listener }
      talker:kill()
      talker:wait()
    end)
  end)
end)

describe("run_until_idle", function()
  it("returns when everybody else waits", expect.in_task(function()
    local turns = 0
    lh.create_task(function()
      for _ = 1, 20 do
        lh.sleep(0)
        turns = turns + 1
      end
      lh.sleep(1)
      turns = turns + 1
    end)
    clock.run_until_idle()
    assert.equal(20, turns)
  end))

  it("waits for real work that is under way #child", function()
    support.run(function()
      local child = lh.create_subprocess_exec("sleep", "0.05")
      local ended = lh.create_task(child.wait, child)
      clock.run_until_idle()
      assert.is_true(ended:done())
    end)
  end)

  it("can be cancelled, and leaves nothing #child", expect.in_task(function()
    local task = lh.create_task(function()
      local child <close> = lh.create_subprocess_exec("sleep", "1000")
      local waits = lh.create_task(child.wait, child)
      lh.sleep(0)
      local _ <close> = setmetatable({}, { __close = function() waits:cancel() end })
      clock.run_until_idle()
    end)
    lh.sleep(0)
    lh.sleep(0)
    lh.sleep(0)
    task:cancel()
    expect.cancelled(task)
  end))
end)

describe("bind_os", function()
  it("has os.time, os.clock and os.date follow the clock", expect.in_task(function()
    local real_time, real_date, real_clock = os.time, os.date, os.clock
    do
      local _ <close> = clock.bind_os(1000000)
      assert.equal(1000000, os.time())
      assert.equal(0.0, os.clock())
      lh.sleep(3600.5)
      assert.equal(1003600, os.time())
      assert.equal(3600.5, os.clock())
      assert.equal("1970-01-12 14:46:40", os.date("!%F %T"))
      assert.equal("1970-01-01", os.date("!%F", 0))
      assert.equal(real_time { year = 2000, month = 1, day = 1 },
        os.time { year = 2000, month = 1, day = 1 })
    end
    assert.equal(real_time, os.time)
    assert.equal(real_date, os.date)
    assert.equal(real_clock, os.clock)
  end))

  it("begins now unless it is told when", expect.in_task(function()
    local before = os.time()
    local _ <close> = clock.bind_os()
    assert.is_true(os.time() - before <= 1)
    lh.sleep(86400)
    assert.is_true(os.time() - before >= 86400)
  end))

  it("is undone once, and by unbind_os", expect.in_task(function()
    local real_time = os.time
    local binding = clock.bind_os()
    raises("bound to a clock already", clock.bind_os)
    binding:unbind()
    binding:unbind()
    clock.unbind_os()
    clock.bind_os()
    clock.unbind_os()
    assert.equal(real_time, os.time)
  end))

  it("undoes what it has done, and not what others did since", expect.in_task(function()
    local real_time, real_date = os.time, os.date
    local first = clock.bind_os()
    local function theirs() return 5 end
    rawset(os, "time", theirs)
    first:unbind()
    assert.equal(theirs, os.time)
    assert.equal(real_date, os.date)
    rawset(os, "time", real_time)
    local second <close> = clock.bind_os(100)
    first:unbind()
    assert.equal(100, os.time())
    assert.equal("1970-01-01", os.date "!%F")
    assert.is_truthy(second)
  end))

  it("needs an integer", expect.in_task(function()
    raises("integer expected, got number", clock.bind_os, 1.5)
  end))
end)

describe("on a real clock", function()
  for _, name in ipairs { "freeze", "thaw", "run_until_idle", "bind_os" } do
    it(name .. " says what is wrong", function()
      support.with_loop(function(loop)
        raises(name .. ": the loop's clock is not virtual", loop.run_until_complete, loop,
          clock[name])
      end, { clock = "monotonic" })
    end)
  end

  it("advance does, too", function()
    support.with_loop(function(loop)
      raises("advance: the loop's clock is not virtual", loop.run_until_complete, loop,
        clock.advance, 1)
    end, { clock = "monotonic" })
  end)
end)

describe("an hour of virtual time #slow", function()
  it("costs what its callbacks cost", expect.in_task(function()
    local wakes, tasks = 0, {}
    for i = 1, 1000 do
      tasks[i] = lh.create_task(function()
        for _ = 1, 60 do
          lh.sleep(60)
          wakes = wakes + 1
        end
      end)
    end
    lh.wait(tasks)
    assert.equal(60000, wakes)
    local metrics = lh.get_running_loop():get_metrics()
    assert.is_true(metrics.turns < 1000, "turns: " .. metrics.turns)
  end))

  it("and a million seconds with nobody awake cost nothing", expect.in_task(function()
    local loop = lh.get_running_loop()
    local before = loop:get_metrics().turns
    lh.sleep(1e6)
    assert.is_true(loop:get_metrics().turns - before <= 4)
  end))
end)
