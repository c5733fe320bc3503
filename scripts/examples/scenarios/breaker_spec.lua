-- BUG=breaker is found by: one call alone tries a service that was broken

local lh = require "loophost"
local testing = require "loophost.testing"
local new_breaker = require "scripts.examples.scenarios.breaker"

local scenario = testing.scenario

-- A service that takes a second, and what has happened to it.
local function new_service()
  local service = { up = true, calls = 0 }
  function service.call()
    service.calls = service.calls + 1
    lh.sleep(1)
    if not service.up then error("unavailable", 0) end
    return "fine"
  end
  return service
end

describe("circuit breaker", function()
  scenario("leaves a broken service alone, and finds out when it is back", {}, function()
    local service, breaker = new_service(), new_breaker(3, 60)
    service.up = false
    for _ = 1, 100 do pcall(breaker.call, breaker, service.call) end
    assert.equal(3, service.calls)
    lh.sleep(60)
    assert.is_false(pcall(breaker.call, breaker, service.call))
    assert.equal(4, service.calls)
    service.up = true
    lh.sleep(60)
    assert.equal("fine", breaker:call(service.call))
    assert.equal("fine", breaker:call(service.call))
  end)

  scenario("one call alone tries a service that was broken", {}, function()
    local service, breaker = new_service(), new_breaker(1, 60)
    service.up = false
    pcall(breaker.call, breaker, service.call)
    lh.sleep(60)
    service.calls = 0
    local calls = {}
    for i = 1, 10 do
      calls[i] = function() return (pcall(breaker.call, breaker, service.call)) end
    end
    lh.gather(calls)
    assert.equal(1, service.calls)
  end)

  scenario("a trial that is cancelled leaves the way free for the next", {}, function()
    local service, breaker = new_service(), new_breaker(1, 60)
    service.up = false
    pcall(breaker.call, breaker, service.call)
    service.up = true
    lh.sleep(60)
    local trial = lh.create_task(breaker.call, breaker, service.call)
    lh.sleep(0.5)
    trial:cancel()
    lh.wait { trial }
    assert.equal("fine", breaker:call(service.call))
  end)
end)
