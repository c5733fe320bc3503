-- lease.lua -- of several nodes one leads: the one that holds a lease, and renews it in time.
--
-- The store grants the lease for some seconds. A node counts them from before it asks, so
-- that its own idea of the lease always ends before the store's.
--
-- Planted bug (BUG=lease): it counts from when the answer came.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "lease"

local function time() return lh.get_running_loop():time() end

local lease = {}

-- The store. `delay` is what a request takes on its way there, and the answer back.
---@param seconds number how long a lease lasts
---@param delay fun(): number
function lease.store(seconds, delay)
  local holder, until_when = nil, 0
  local store = { seconds = seconds }

  -- Whether `node` has the lease now.
  function store.acquire(node)
    lh.sleep(delay())
    if time() >= until_when or holder == node then
      holder, until_when = node, time() + seconds
    end
    local granted = holder == node
    lh.sleep(delay())
    return granted
  end
  return store
end

local Node = {}
Node.__index = Node

function lease.node(name, store)
  return setmetatable({ name = name, store = store, leads_until = 0 }, Node)
end

-- Whether it may act as the leader now.
function Node:leads()
  return time() < self.leads_until
end

-- Tries to become the leader, and to stay it, until it is cancelled.
function Node:run()
  while true do
    local asked = time()
    local granted = self.store.acquire(self.name)
    if granted then self.leads_until = (BUG and time() or asked) + self.store.seconds end
    lh.sleep(self.store.seconds / 3)
  end
end

return lease
