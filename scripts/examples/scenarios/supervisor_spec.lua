-- BUG=supervisor is found by: restarts a child that fails now and then, for days

local lh = require "loophost"
local testing = require "loophost.testing"
local supervise = require "scripts.examples.scenarios.supervisor"

local scenario = testing.scenario
local OPTIONS = { restarts = 3, within = 10 }

describe("supervisor", function()
  scenario("restarts a child that fails now and then, for days", {}, function()
    local starts = 0
    supervise(OPTIONS, {
      flaky = function()
        starts = starts + 1
        lh.sleep(3600)
        if starts < 48 then error "crash" end
      end,
    })
    assert.equal(48, starts)
  end)

  scenario("gives up on one that always fails, and ends the others", {}, function()
    local starts, ended = 0, false
    local ok, err = pcall(supervise, OPTIONS, {
      broken = function()
        starts = starts + 1
        lh.sleep(1)
        error("broken", 0)
      end,
      fine = function()
        local _ <close> = setmetatable({}, { __close = function() ended = true end })
        lh.sleep(1e6)
      end,
    })
    assert.is_false(ok)
    assert.same({ "broken" }, err.exceptions)
    assert.equal(4, starts)
    assert.is_true(ended)
  end)
end)
