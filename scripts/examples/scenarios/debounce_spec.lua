-- BUG=debounce is found by: saves once, after the typing has stopped

local lh = require "loophost"
local testing = require "loophost.testing"
local debounce = require "scripts.examples.scenarios.debounce"

local scenario = testing.scenario

describe("debounce", function()
  scenario("saves once, after the typing has stopped", {}, function()
    local loop, saved = lh.get_running_loop(), {}
    local began = loop:time()
    local save = debounce(2, function(text)
      saved[#saved + 1] = ("%s@%g"):format(text, loop:time() - began)
    end)
    for _, text in ipairs { "h", "he", "hel", "hell", "hello" } do
      save(text)
      lh.sleep(1)
    end
    lh.sleep(60)
    save "bye"
    lh.sleep(60)
    assert.same({ "hello@6", "bye@67" }, saved)
  end)
end)
