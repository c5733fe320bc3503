-- BUG=heartbeat is found by: a day of beats in time loses nobody

local lh = require "loophost"
local testing = require "loophost.testing"
local new_monitor = require "scripts.examples.scenarios.heartbeat"

local scenario = testing.scenario

describe("heartbeat monitor", function()
  scenario("a day of beats in time loses nobody", {}, function()
    local lost = {}
    local monitor = new_monitor(30, function(name) lost[#lost + 1] = name end)
    for _ = 1, 24 * 360 do
      monitor:beat "node"
      lh.sleep(10)
    end
    monitor:forget "node"
    lh.sleep(60)
    assert.equal(0, #lost)
  end)

  scenario("silence is noticed, once, and exactly in time", {}, function()
    local loop, lost = lh.get_running_loop(), {}
    local began = loop:time()
    local monitor = new_monitor(30, function(name)
      lost[#lost + 1] = ("%s@%g"):format(name, loop:time() - began)
    end)
    monitor:beat "a"
    lh.sleep(20)
    monitor:beat "b"
    lh.sleep(1000)
    assert.same({ "a@30", "b@50" }, lost)
  end)
end)
