-- BUG=lease is found by: two never lead at once, however slow the network is

local lh = require "loophost"
local testing = require "loophost.testing"
local lease = require "scripts.examples.scenarios.lease"

local scenario = testing.scenario

-- Runs the nodes for so long, and looks every 0.1 s who leads. Returns how many seconds
-- somebody did, and the largest number of leaders at a time.
local function watch(nodes, seconds)
  local group <close> = lh.TaskGroup()
  local running, led, most = {}, 0, 0
  for i, node in ipairs(nodes) do running[i] = group:create_task(node.run, node) end
  for _ = 1, seconds * 10 do
    local leaders = 0
    for _, node in ipairs(nodes) do
      if node:leads() then leaders = leaders + 1 end
    end
    most = math.max(most, leaders)
    if leaders > 0 then led = led + 0.1 end
    lh.sleep(0.1)
  end
  for _, task in ipairs(running) do task:cancel() end
  return led, most
end

local function nodes_of(store, n)
  local nodes = {}
  for i = 1, n do nodes[i] = lease.node("node" .. i, store) end
  return nodes
end

describe("leader lease", function()
  scenario("one node leads, nearly always", {}, function()
    local store = lease.store(9, function() return 0.01 end)
    local led, most = watch(nodes_of(store, 3), 600)
    assert.is_true(led > 590)
    assert.equal(1, most)
  end)

  scenario("two never lead at once, however slow the network is", {}, function()
    local messages = 0
    local store = lease.store(9, function()
      messages = messages + 1
      return messages % 11 == 0 and 14 or 0.5
    end)
    local led, most = watch(nodes_of(store, 3), 3600)
    assert.is_true(led > 600)
    assert.equal(1, most)
  end)
end)
