-- pubsub.lua -- messages to all who have subscribed; a slow one misses some, but slows
-- nobody else.
--
-- Planted bug (BUG=pubsub): the publisher waits for the slow one.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "pubsub"

local Topic = {}
Topic.__index = Topic

local function new()
  return setmetatable({ subscribers = {} }, Topic)
end

local Subscription = {}
Subscription.__index = Subscription

-- Messages from now on; the last `backlog` are kept for one who is slow.
---@param backlog integer
function Topic:subscribe(backlog)
  local subscription = setmetatable({
    topic = self, queue = lh.Queue(backlog), missed = 0,
  }, Subscription)
  table.insert(self.subscribers, subscription)
  return subscription
end

-- Never waits.
function Topic:publish(message)
  for _, subscription in ipairs(self.subscribers) do
    local queue = subscription.queue
    if BUG then
      queue:put(message)
    else
      if queue:full() then
        queue:get_nowait()
        subscription.missed = subscription.missed + 1
      end
      queue:put_nowait(message)
    end
  end
end

-- The next message, oldest first.
function Subscription:receive()
  return self.queue:get()
end

function Subscription:close()
  for i, subscription in ipairs(self.topic.subscribers) do
    if subscription == self then return table.remove(self.topic.subscribers, i) end
  end
end
Subscription.__close = Subscription.close

return new
