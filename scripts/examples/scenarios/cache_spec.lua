-- BUG=cache is found by: who stops waiting does not take the value from the others

local lh = require "loophost"
local testing = require "loophost.testing"
local new_cache = require "scripts.examples.scenarios.cache"

local scenario = testing.scenario

describe("cache", function()
  local loads, cache

  local function fresh(fails)
    loads = 0
    cache = new_cache(60, function(key)
      loads = loads + 1
      lh.sleep(5)
      if fails and loads == 1 then error("cannot load " .. key, 0) end
      return key:upper() .. loads
    end)
  end

  scenario("loads once for a hundred who ask, and again when it is old", {}, function()
    fresh()
    local askers = {}
    for i = 1, 100 do askers[i] = function() return cache:get "a" end end
    for _, value in ipairs(lh.gather(askers)) do assert.equal("A1", value) end
    assert.equal("A1", cache:get "a")
    lh.sleep(61)
    assert.equal("A2", cache:get "a")
  end)

  scenario("does not keep failures", {}, function()
    fresh(true)
    assert.has_error(function() cache:get "a" end, "cannot load a")
    assert.equal("A2", cache:get "a")
  end)

  scenario("who stops waiting does not take the value from the others", {}, function()
    fresh()
    local first = lh.create_task(cache.get, cache, "a")
    lh.sleep(1)
    local second = lh.create_task(cache.get, cache, "a")
    lh.sleep(1)
    first:cancel()
    lh.wait({ first, second }, { timeout = 60 })
    assert.is_cancelled(first)
    assert.is_false(second:cancelled())
    assert.equal("A1", second:result())
  end)
end)
