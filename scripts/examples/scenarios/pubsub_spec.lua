-- BUG=pubsub is found by: a slow consumer misses messages, a fast one none

local lh = require "loophost"
local testing = require "loophost.testing"
local new_topic = require "scripts.examples.scenarios.pubsub"

local scenario = testing.scenario

describe("pub/sub", function()
  scenario("a slow consumer misses messages, a fast one none", {}, function()
    local topic = new_topic()
    local fast, slow = topic:subscribe(3), topic:subscribe(3)
    local received = { fast = {}, slow = {} }
    local function consume(name, subscription, seconds)
      return lh.create_task(function()
        while true do
          table.insert(received[name], subscription:receive())
          lh.sleep(seconds)
        end
      end)
    end
    local consumers = { consume("fast", fast, 0.1), consume("slow", slow, 10.5) }
    local loop = lh.get_running_loop()
    local began = loop:time()
    for i = 1, 20 do
      topic:publish(i)
      lh.sleep(1)
    end
    assert.equal(20.0, loop:time() - began)
    assert.equal(20, #received.fast)
    assert.same({ 1, 9 }, received.slow)
    for _, task in ipairs(consumers) do task:cancel() end
    lh.wait(consumers)
  end)

  scenario("who has left gets nothing any more", {}, function()
    local topic = new_topic()
    do
      local gone <close> = topic:subscribe(1)
      topic:publish "a"
      assert.equal("a", gone:receive())
    end
    for i = 1, 10 do topic:publish(i) end
    assert.equal(0, #topic.subscribers)
  end)
end)
