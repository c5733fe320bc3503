-- Subclasses of EventLoop: their fields, their init, and methods that the runtime uses.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local turns, raises = support.turns, expect.raises

local function nothing() end

describe("a subclass of EventLoop", function()
  it("gives its loops fields, an init and methods that call their parents", function()
    local Named = lh.EventLoop:subclass {
      init = function(self, opts) self.name, self.calls = opts.name, 0 end,
      call_soon = function(self, fn, ...)
        self.calls = self.calls + 1
        return lh.EventLoop.call_soon(self, fn, ...)
      end,
    }
    local loop = Named { clock = "virtual", name = "mine" }
    assert.equal("mine", loop.name)
    assert.equal(7, loop:run_until_complete(function()
      lh.sleep(0)
      return 7
    end))
    assert.is_true(loop.calls >= 2)
    loop:close()
  end)

  it("is not needed to give a loop fields: they go before the class's", function()
    local loop, other = lh.new_event_loop(), lh.new_event_loop()
    local line = "subclass_spec.lua:%d+: table index is "
    assert.matches(line .. "nil", raises("table", function() loop[nil] = 1 end))
    assert.matches(line .. "NaN", raises("table", function() loop[0 / 0] = 1 end))
    loop.absent = nil
    loop.name, loop.slow_callback_duration = "mine", 2
    assert.equal("mine", loop.name)
    assert.equal(2, loop.slow_callback_duration)
    loop.slow_callback_duration = nil
    assert.equal(0.1, loop.slow_callback_duration)
    assert.equal(lh.EventLoop.time, loop.time)
    assert.is_nil(other.name)
    loop:close()
    other:close()
  end)

  it("decides what create_task makes, also for lh.create_task and lh.gather", function()
    local made = {}
    local Recording = lh.EventLoop:subclass {
      create_task = function(self, ...)
        local task = lh.EventLoop.create_task(self, ...)
        made[#made + 1] = task
        return task
      end,
    }
    local loop = Recording { clock = "virtual" }
    loop:run_until_complete(function()
      local task = lh.create_task(nothing)
      assert.equal(task, made[#made])
      lh.gather(nothing, nothing)
    end)
    assert.equal(4, #made)
    loop:close()
  end)

  it("whose init fails leaves a loop that is closed", function()
    local loop
    local Failing = lh.EventLoop:subclass {
      init = function(self)
        loop = self
        error("not today", 0)
      end,
    }
    raises("not today", Failing)
    assert.is_true(loop:is_closed())
  end)

  it("decides what happens with the errors of callbacks", function()
    local given
    local Catching = lh.EventLoop:subclass {
      call_exception_handler = function(_, context) given = context end,
    }
    local loop = Catching { clock = "virtual" }
    local problem = { "problem" }
    loop:call_soon(error, problem)
    turns(loop)
    assert.equal(problem, given.exception)
    loop:close()
  end)
end)
