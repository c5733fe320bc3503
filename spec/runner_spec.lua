-- lh.run and lh.Runner: a loop from its making to its end around one function, or several.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local raises = expect.raises

local function virtual() return lh.new_event_loop { clock = "virtual" } end

-- Runners set and unset the current loop; each test gets it back as it was.
local function keeping(fn)
  return function() support.keep_current(fn) end
end

-- The policy in use, with some methods of its own.
local function use_policy(methods)
  local policy = lh.EventLoopPolicy:subclass(methods)()
  lh.set_event_loop_policy(policy)
  return policy
end

describe("lh.run", function()
  it("returns what the function returns", keeping(function()
    assert.equal(42, lh.run(function()
      lh.sleep(0)
      return 42
    end))
  end))

  it("passes arguments and several results", keeping(function()
    local result = table.pack(lh.run(function(...) return select("#", ...), ... end, 1, nil, 3))
    assert.same({ n = 4, 3, 1, nil, 3 }, result)
  end))

  it("raises what the function raises", keeping(function()
    local problem = { "spam" }
    local ok, err = lh.rawpcall(lh.run, function()
      lh.sleep(0)
      error(problem)
    end)
    assert.is_false(ok)
    assert.equal(problem, err)
  end))

  it("takes a function and nothing else", keeping(function()
    raises("bad argument", lh.run)
    raises("bad argument", lh.run, 1)
    raises("bad argument", lh.run, "main")
  end))

  it("cannot be called while a loop runs", keeping(function()
    raises("cannot be called from a running event loop", lh.run, function()
      lh.run(function() end)
    end)
  end))

  it("makes its loop with the policy, and closes it", keeping(function()
    local made = {}
    use_policy {
      new_event_loop = function()
        made[#made + 1] = virtual()
        return made[#made]
      end,
    }
    local seen = lh.run(function() return lh.get_running_loop() end)
    assert.equal(1, #made)
    assert.equal(made[1], seen)
    assert.is_true(seen:is_closed())
  end))

  it("closes its loop after a failure, too", keeping(function()
    local loop
    raises("boom", lh.run, function()
      loop = lh.get_running_loop()
      error("boom")
    end)
    assert.is_true(loop:is_closed())
  end))

  it("never asks the policy for the current loop", keeping(function()
    use_policy {
      get_event_loop = function() error("should not be called") end,
    }
    lh.run(function() lh.sleep(0) end)
  end))

  it("makes its loop the current one, through the policy", keeping(function()
    local loops = {}
    use_policy {
      set_event_loop = function(self, loop)
        loops[#loops + 1] = loop or "none"
        return lh.EventLoopPolicy.set_event_loop(self, loop)
      end,
    }
    local running = lh.run(function()
      assert.equal(lh.get_running_loop(), lh.get_event_loop())
      return lh.get_running_loop()
    end)
    assert.equal(2, #loops)
    assert.equal(running, loops[1])
    assert.equal("none", loops[2])
  end))

  it("cancels the tasks that are left, and waits for their end", keeping(function()
    local leftover, cleaned
    assert.equal(123, lh.run(function()
      leftover = lh.create_task(function()
        local _ <close> = setmetatable({}, {
          __close = function()
            lh.sleep(0)
            cleaned = true
          end,
        })
        lh.sleep(3600)
      end)
      lh.sleep(0)
      return 123
    end))
    assert.is_true(leftover:done())
    assert.is_true(leftover:cancelled())
    assert.is_true(cleaned)
  end))

  it("cancels a task that did not even start", keeping(function()
    local leftover
    assert.equal(123, lh.run(function()
      leftover = lh.create_task(lh.sleep, 3600)
      return 123
    end))
    assert.is_true(leftover:done())
  end))

  it("reports the errors of the tasks that it cancels", keeping(function()
    local leftover, reports
    local problem = { "problem" }
    assert.equal(123, lh.run(function()
      reports = support.reports(lh.get_running_loop())
      leftover = lh.create_task(function()
        lh.rawpcall(lh.sleep, 3600)
        error(problem)
      end)
      lh.sleep(0)
      return 123
    end))
    assert.is_true(leftover:done())
    assert.equal(1, #reports)
    assert.matches("shutdown", reports[1].message)
    assert.equal(leftover, reports[1].task)
    assert.equal(problem, reports[1].exception)
  end))

  it("raises the function's error though a task that is left fails, too", keeping(function()
    local leftover
    local problem = { "first" }
    local _, err = lh.rawpcall(lh.run, function()
      support.reports(lh.get_running_loop())
      leftover = lh.create_task(function()
        lh.rawpcall(lh.sleep, 3600)
        error { "second" }
      end)
      lh.sleep(0)
      error(problem)
    end)
    assert.equal(problem, err)
    assert.is_true(leftover:done())
  end))

  it("raises CancelledError when the function's task was cancelled", keeping(function()
    raises(lh.CancelledError, lh.run, function()
      lh.current_task():cancel()
      lh.sleep(3600)
    end)
  end))

  it("runs one after another, each on a new loop", keeping(function()
    local first = lh.run(function() return lh.get_running_loop() end)
    local second = lh.run(function() return lh.get_running_loop() end)
    assert.are_not.equal(first, second)
    assert.is_true(first:is_closed())
    assert.is_true(second:is_closed())
  end))
end)

describe("lh.Runner", function()
  it("makes a loop that is in debug mode or not", keeping(function()
    do
      local runner <close> = lh.Runner { debug = false }
      assert.is_false(runner:get_loop():get_debug())
    end
    do
      local runner <close> = lh.Runner { debug = true }
      assert.is_true(runner:get_loop():get_debug())
    end
  end))

  it("refuses an option that there is not", keeping(function()
    raises("bad argument #1 to 'Runner' (no such option: loop_factroy)", function()
      lh.Runner { loop_factroy = virtual }
    end)
  end))

  it("takes its loop from the factory", keeping(function()
    local loop = virtual()
    do
      local runner <close> = lh.Runner { loop_factory = function() return loop end }
      assert.equal(loop, runner:get_loop())
      assert.is_false(loop:is_closed())
    end
    assert.is_true(loop:is_closed())
  end))

  it("runs functions in the loop, and closes it at the end of the block", keeping(function()
    local runner, loop
    do
      local block <close> = lh.Runner()
      runner = block
      assert.equal("done", block:run(function()
        lh.sleep(0)
        return "done"
      end))
      loop = block:get_loop()
      assert.is_false(loop:is_closed())
    end
    assert.is_true(loop:is_closed())
    raises("Runner is closed", runner.get_loop, runner)
  end))

  it("passes arguments and several results", keeping(function()
    local runner <close> = lh.Runner { loop_factory = virtual }
    local function echo(...) return ... end
    assert.same({ n = 3, 1, nil, 3 }, table.pack(runner:run(echo, 1, nil, 3)))
  end))

  it("runs functions one after another on the same loop", keeping(function()
    local runner <close> = lh.Runner { loop_factory = virtual }
    local first = runner:run(function() return lh.get_running_loop() end)
    local second = runner:run(function() return lh.get_running_loop() end)
    assert.equal(first, second)
    assert.equal(runner:get_loop(), first)
  end))

  it("goes on after a function that failed", keeping(function()
    local runner <close> = lh.Runner { loop_factory = virtual }
    raises("boom", runner.run, runner, function() error("boom") end)
    assert.equal(1, runner:run(function() return 1 end))
  end))

  it("runs a function and nothing else", keeping(function()
    local runner <close> = lh.Runner { loop_factory = virtual }
    raises("bad argument", runner.run, runner, 123)
    raises("bad argument", runner.run, runner, runner:get_loop():create_future())
    raises("bad argument", runner.run, runner)
  end))

  it("is closed by close, and a second close does nothing", keeping(function()
    local runner = lh.Runner { loop_factory = virtual }
    local loop = runner:get_loop()
    runner:close()
    assert.is_true(loop:is_closed())
    raises("Runner is closed", runner.get_loop, runner)
    runner:close()
    assert.is_true(loop:is_closed())
  end))

  it("does nothing when it is closed before it was used", keeping(function()
    local runner = lh.Runner { loop_factory = virtual }
    runner:close()
    assert.equal(1, runner:run(function() return 1 end))
    runner:close()
    raises("Runner is closed", runner.run, runner, function() end)
  end))

  it("runs nothing once it is closed", keeping(function()
    local ran = {}
    local runner = lh.Runner { loop_factory = virtual }
    do
      local _ <close> = runner
      runner:run(function(arg) ran[#ran + 1] = arg end, 1)
    end
    raises("Runner is closed", runner.run, runner, function(arg) ran[#ran + 1] = arg end, 2)
    assert.same({ 1 }, ran)
  end))

  it("cannot be run from a running loop", keeping(function()
    local runner <close> = lh.Runner { loop_factory = virtual }
    raises("cannot be called from a running event loop", runner.run, runner, function()
      runner:run(function() end)
    end)
  end))

  it("keeps a context from one function to the next", keeping(function()
    local var = lh.ContextVar("var", -1)
    local runner <close> = lh.Runner { loop_factory = virtual }
    local function swap(value)
      local old = var:get()
      lh.sleep(0)
      var:set(value)
      return old
    end
    assert.equal(-1, runner:run(swap, 1))
    assert.equal(1, runner:run(swap, 2))
    assert.equal(2, runner:run(function() return var:get() end))
  end))

  it("sets the current loop once, however often it runs", keeping(function()
    local calls = 0
    use_policy {
      set_event_loop = function(self, loop)
        calls = calls + 1
        return lh.EventLoopPolicy.set_event_loop(self, loop)
      end,
    }
    local runner = lh.Runner()
    runner:run(function() end)
    runner:run(function() end)
    assert.equal(1, calls)
    runner:close()
  end))

  it("cancels what is left when it closes, not before", keeping(function()
    local leftover
    local runner = lh.Runner { loop_factory = virtual }
    runner:run(function()
      leftover = lh.create_task(lh.sleep, 10)
    end)
    assert.is_false(leftover:done())
    runner:run(function() lh.sleep(1) end)
    assert.is_false(leftover:done())
    runner:close()
    assert.is_true(leftover:cancelled())
  end))

  it("cancels what is left when its block fails", keeping(function()
    local leftover
    raises("boom", function()
      local runner <close> = lh.Runner { loop_factory = virtual }
      runner:run(function() leftover = lh.create_task(lh.sleep, 10) end)
      error("boom")
    end)
    assert.is_true(leftover:cancelled())
  end))
end)
