-- BUG=retry is found by: gives up at once when it is cancelled

local lh = require "loophost"
local testing = require "loophost.testing"
local retry = require "scripts.examples.scenarios.retry"

local scenario = testing.scenario
local OPTIONS = { attempts = 5, delay = 1, max_delay = 3 }

describe("retry", function()
  scenario("waits longer each time, up to the maximum", {}, function()
    local loop, times = lh.get_running_loop(), {}
    local began = loop:time()
    local ok, err = pcall(retry, OPTIONS, function()
      times[#times + 1] = loop:time() - began
      error("down", 0)
    end)
    assert.is_false(ok)
    assert.equal("down", err)
    assert.same({ 0.0, 1.0, 3.0, 6.0, 9.0 }, times)
  end)

  scenario("returns what the first success returns", {}, function()
    local calls = 0
    local a, b = retry(OPTIONS, function(x)
      calls = calls + 1
      if calls < 3 then error "not yet" end
      return x, calls
    end, "x")
    assert.same({ "x", 3 }, { a, b })
  end)

  scenario("gives up at once when it is cancelled", {}, function()
    local calls = 0
    local task = lh.create_task(retry, OPTIONS, function()
      calls = calls + 1
      lh.sleep(10)
    end)
    lh.sleep(1)
    task:cancel()
    lh.wait({ task }, { timeout = 60 })
    assert.equal(1, calls)
    assert.is_cancelled(task)
  end)
end)
