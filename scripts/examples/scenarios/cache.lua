-- cache.lua -- values that are slow to load, kept for a while; however many ask for one at
-- the same time, it is loaded once.
--
-- The load is a task of its own, shielded from the cancellation of those who wait for it.
--
-- Planted bug (BUG=cache): the load is not shielded, and so ends with the first of them.

local lh = require "loophost"

local await = os.getenv "BUG" == "cache" and lh.await or lh.shield

local Cache = {}
Cache.__index = Cache

---@param seconds number how long a value is good
---@param load fun(key: any): any
local function new(seconds, load)
  return setmetatable({ seconds = seconds, load = load, entries = {} }, Cache)
end

-- The value of the key; waits until it is loaded, raises what loading raised.
function Cache:get(key)
  local now = lh.get_running_loop():time()
  local entry = self.entries[key]
  if not entry or entry.loaded and now >= entry.loaded + self.seconds then
    entry = {}
    self.entries[key] = entry
    entry.task = lh.create_task(function()
      local ok, value = pcall(self.load, key)
      if not ok then
        self.entries[key] = nil -- a failure is not kept
        error(value, 0)
      end
      entry.loaded = lh.get_running_loop():time()
      return value
    end)
  end
  return await(entry.task)
end

return new
