-- BUG=pool is found by: connections that cannot be opened do not use up the pool

local lh = require "loophost"
local testing = require "loophost.testing"
local new_pool = require "scripts.examples.scenarios.pool"

local scenario = testing.scenario

describe("connection pool", function()
  scenario("never opens more than its size, and uses each by one task at a time", {}, function()
    local opened = 0
    local pool = new_pool(3, function()
      opened = opened + 1
      lh.sleep(0.1)
      return { busy = false }
    end)
    local group <close> = lh.TaskGroup()
    for _ = 1, 20 do
      group:create_task(pool.with, pool, 60, function(connection)
        assert.is_false(connection.busy)
        connection.busy = true
        lh.sleep(1)
        connection.busy = false
      end)
    end
    lh.sleep(30)
    assert.equal(3, opened)
  end)

  scenario("who waits too long gets a timeout, and takes nothing with it", {}, function()
    local pool = new_pool(1, function() return {} end)
    local group <close> = lh.TaskGroup()
    group:create_task(pool.with, pool, 1, function() lh.sleep(10) end)
    lh.sleep(0)
    local ok, err = pcall(pool.with, pool, 2, print)
    assert.is_false(ok)
    assert.is_true(lh.iserror(err, lh.TimeoutError))
    assert.equal("served", pool:with(20, function() return "served" end))
  end)

  scenario("connections that cannot be opened do not use up the pool", {}, function()
    local down = true
    local pool = new_pool(2, function()
      lh.sleep(1)
      if down then error("refused", 0) end
      return {}
    end)
    for _ = 1, 5 do pcall(pool.with, pool, 5, print) end
    down = false
    assert.equal("served", pool:with(5, function() return "served" end))
  end)
end)
