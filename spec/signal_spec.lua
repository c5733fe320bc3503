-- Signals as callbacks of a loop: in which turn, with what, and for how long.

local lh = require "loophost"
local expect = require "spec.expect"
local on_loop = require("spec.support").on_loop

local function send(name) assert(os.execute(("kill -%s $PPID"):format(name))) end

describe("A signal's handler", function()
  it("runs in the turn that finds the signal, behind descriptors, before timers",
    on_loop(function(loop)
      local log = expect.log()
      local pipe = assert(io.popen("cat >/dev/null", "w"))
      loop:add_signal_handler("SIGUSR1", log, "signal")
      send "USR1"
      loop:add_writer(pipe, log, "writer")
      loop:call_later(0, log, "timer")
      loop:call_soon(log, "soon")
      loop:run_once()
      loop:remove_writer(pipe)
      pipe:close()
      loop:remove_signal_handler("SIGUSR1")
      assert.equal("soon writer signal timer", expect.line(log))
    end))

  it("is called with its arguments, once for each signal that was read, until it is removed",
    on_loop(function(loop)
      local log = expect.log()
      assert.is_nil(loop:add_signal_handler("SIGUSR1", log, "first"))
      loop:add_signal_handler(10, log, "second") -- the same signal: replaced
      for _ = 1, 2 do
        send "USR1"
        loop:run_once()
      end
      assert.equal("second second", expect.line(log))
      assert.is_true(loop:remove_signal_handler("SIGUSR1"))
      assert.is_false(loop:remove_signal_handler(10))
    end))
end)

describe("Removing a reader, writer or signal handler", function()
  it("of a closed loop finds none", function()
    local loop = lh.new_event_loop {}
    loop:close()
    assert.is_false(loop:remove_reader(0))
    assert.is_false(loop:remove_writer(0))
    assert.is_false(loop:remove_signal_handler("SIGUSR1"))
  end)
end)
