-- What a loop records of itself: get_trace, print_trace, and what is not recorded.

local lh = require "loophost"
local expect = require "spec.expect"
local on_loop = require("spec.support").on_loop

local function ignore() end

-- The events, a line each, without where a callback was defined.
local function lines(loop)
  local list = {}
  for i, entry in ipairs(loop:get_trace()) do
    assert.equal("float", math.type(entry.time))
    list[i] = ("%g %s %s"):format(entry.time, entry.event, entry.details)
      :gsub("callback=%S*trace_spec.lua:%d+", "callback=here")
  end
  return list
end

describe("A trace", function()
  it("has what was scheduled, when and how, and sleeps and timeouts, too", on_loop(function(loop)
    loop:call_soon(ignore, "not recorded yet")
    loop:set_trace(true)
    loop:call_soon(ignore)
    loop:call_later(0.25, ignore)
    loop:call_at(1.5, ignore)
    loop:call_soon_with_priority(-2, ignore)
    local task = loop:create_task(function()
      lh.sleep(0)
      lh.sleep(0.5)
      coroutine.yield(lh.Sleep(0.125))
      local _ <close> = lh.timeout(2)
    end)
    local name = "name=" .. task:get_name()
    loop:run_until_complete(task)
    loop:set_trace(false)
    loop:call_soon(ignore, "not recorded any more")
    assert.same({
      "0 call_soon callback=here", "0 call_later delay=0.25, callback=here",
      "0 call_at when=1.5, callback=here", "0 call_soon_with_priority priority=-2, callback=here",
      "0 create_task " .. name, "0 call_later delay=0.5, " .. name,
      "0.5 call_later delay=0.125, " .. name, "0.625 call_at when=2.625, callback=[C]",
    }, lines(loop))
  end))

  it("is printed in lines of its time, the event and its details", on_loop(function(loop)
    local printed = expect.log()
    loop:call_soon(lh.sleep)
    loop:call_later(0.1, ignore)
    loop:print_trace { write = function(_, text) printed(text) end }
    assert.equal(2, #printed)
    assert.equal("[0.0000s] call_soon: callback=[C]\n", printed[1])
    assert.matches("^%[0.0000s%] call_later: delay=0.1, callback=%S+:%d+\n$", printed[2])
  end, { clock = "virtual", trace = true }))
end)
