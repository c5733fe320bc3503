-- BUG=rate_limiter is found by: does not save up an hour's calls for one second

local lh = require "loophost"
local testing = require "loophost.testing"
local new_limiter = require "scripts.examples.scenarios.rate_limiter"

local scenario = testing.scenario

-- The times at which n calls passed, relative to the first.
local function passes(limiter, n)
  local loop, times = lh.get_running_loop(), {}
  local group <close> = lh.TaskGroup()
  for _ = 1, n do
    group:create_task(function()
      limiter:acquire()
      times[#times + 1] = loop:time()
    end)
  end
  return times
end

-- The largest number of calls within one second.
local function busiest_second(times)
  local most = 0
  for i = 1, #times do
    local n = 0
    for j = i, #times do
      if times[j] - times[i] < 1 - 1e-6 then n = n + 1 end
    end
    most = math.max(most, n)
  end
  return most
end

describe("rate limiter", function()
  scenario("lets a burst pass, then one call after the other", {}, function()
    local limiter = new_limiter(10, 5)
    local times = passes(limiter, 25)
    lh.sleep(0)
    assert.equal(25, #times)
    assert.is_true(math.abs(times[25] - times[1] - 2) < 1e-6)
    assert.is_true(busiest_second(times) <= 15)
  end)

  scenario("does not save up an hour's calls for one second", {}, function()
    local limiter = new_limiter(10, 5)
    lh.sleep(3600)
    local times = passes(limiter, 100)
    lh.sleep(0)
    assert.is_true(busiest_second(times) <= 15)
  end)
end)
