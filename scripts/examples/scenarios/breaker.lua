-- breaker.lua -- a circuit breaker: does not call for a while what has failed too often.
--
-- Closed: calls pass. After `failures` failures in a row it opens: calls are refused for
-- `pause` seconds. Then one call may try: if it succeeds the breaker closes, else it opens
-- again.
--
-- Planted bug (BUG=breaker): after the pause all calls may try, not one.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "breaker"

local Breaker = {}
Breaker.__index = Breaker

---@param failures integer
---@param pause number seconds
local function new(failures, pause)
  return setmetatable({
    state = "closed", allowed = failures, pause = pause, failed = 0, retry_at = 0,
  }, Breaker)
end

local function admit(self)
  if self.state == "closed" then return end
  if self.state == "open" and lh.get_running_loop():time() >= self.retry_at then
    self.state = "trying"
    return
  end
  if self.state == "trying" and BUG then return end
  error("circuit open", 0)
end

---@return any ... what fn returns
function Breaker:call(fn, ...)
  admit(self)
  local settled = false
  local _undecided <close> = setmetatable({}, { __close = function()
    if not settled and self.state == "trying" then self.state = "open" end -- cancelled
  end })
  local results = table.pack(pcall(fn, ...))
  settled = true
  if results[1] then
    self.state, self.failed = "closed", 0
    return table.unpack(results, 2, results.n)
  end
  self.failed = self.failed + 1
  if self.state == "trying" or self.failed >= self.allowed then
    self.state = "open"
    self.retry_at = lh.get_running_loop():time() + self.pause
  end
  error(results[2], 0)
end

return new
