-- heartbeat.lua -- notices when something has not been heard of for too long.
--
-- Planted bug (BUG=heartbeat): a beat starts a new deadline, but does not end the old one.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "heartbeat"

local Monitor = {}
Monitor.__index = Monitor

---@param timeout number seconds without a beat after which `lost(name)` is called
---@param lost fun(name: string)
local function new(timeout, lost)
  return setmetatable({ timeout = timeout, lost = lost, deadlines = {} }, Monitor)
end

-- The one of this name is alive.
function Monitor:beat(name)
  local old = self.deadlines[name]
  if old and not BUG then old:cancel() end
  self.deadlines[name] = lh.get_running_loop():call_later(self.timeout, function()
    self.deadlines[name] = nil
    self.lost(name)
  end)
end

-- It has said good-bye: nobody waits for it any more.
function Monitor:forget(name)
  local deadline = self.deadlines[name]
  if deadline then deadline:cancel() end
  self.deadlines[name] = nil
end

return new
