-- pool.lua -- a pool of connections: at most `size` of them, used by one task at a time.
--
-- Planted bug (BUG=pool): the place of a connection that could not be opened is lost.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "pool"

local Pool = {}
Pool.__index = Pool

---@param size integer
---@param open fun(): table what opens a connection; may fail, and take its time
local function new(size, open)
  return setmetatable({ open = open, idle = {}, places = lh.Semaphore(size) }, Pool)
end

-- fn(connection, ...) with a connection of its own; waits at most `seconds` for one.
---@return any ... what fn returns
function Pool:with(seconds, fn, ...)
  do
    local _limit <close> = lh.timeout(seconds)
    self.places:acquire()
  end
  local held <close> = setmetatable({}, { __close = function(_, err)
    if not (BUG and err) then self.places:release() end
  end })
  local connection = table.remove(self.idle) or self.open()
  local results = table.pack(fn(connection, ...))
  table.insert(self.idle, connection) -- one that failed in use is not used again
  return table.unpack(results, 1, results.n)
end

return new
