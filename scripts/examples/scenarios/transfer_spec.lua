-- BUG=transfer is found by: in both directions lose nothing, under any schedule

local lh = require "loophost"
local testing = require "loophost.testing"
local new_bank = require "scripts.examples.scenarios.transfer"

local scenario = testing.scenario

describe("transfers", function()
  -- Who runs when decides whether the bug shows: so it is run under several schedules.
  scenario("in both directions lose nothing, under any schedule", { seeds = 20 }, function()
    local bank = new_bank { a = 100, b = 100, c = 100 }
    local group <close> = lh.TaskGroup()
    for _, way in ipairs { "ba", "ab", "ab", "bc" } do
      group:create_task(function()
        lh.sleep(1)
        bank:transfer(way:sub(1, 1), way:sub(2, 2), 10)
      end)
    end
    lh.sleep(10)
    assert.equal(300, bank.balances.a + bank.balances.b + bank.balances.c)
  end)
end)
