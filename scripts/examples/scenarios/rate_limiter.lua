-- rate_limiter.lua -- lets at most `rate` calls a second pass, and `burst` at once.
--
-- A bucket of tokens that fills with time; who finds it empty takes a token on credit and
-- waits until it is there, so that all are served in order.
--
-- Planted bug (BUG=rate_limiter): a full bucket goes on filling.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "rate_limiter"

local Limiter = {}
Limiter.__index = Limiter

---@param rate number calls a second
---@param burst integer
local function new(rate, burst)
  return setmetatable({
    rate = rate, burst = burst, tokens = burst, filled = lh.get_running_loop():time(),
  }, Limiter)
end

-- Waits for its turn.
function Limiter:acquire()
  local now = lh.get_running_loop():time()
  self.tokens = self.tokens + (now - self.filled) * self.rate
  if not BUG then self.tokens = math.min(self.burst, self.tokens) end
  self.filled = now
  self.tokens = self.tokens - 1
  if self.tokens < 0 then lh.sleep(-self.tokens / self.rate) end
end

return new
