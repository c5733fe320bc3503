-- sleep.lua -- sleeping on a loop that overrides how futures and timers are made.
--
-- As asyncio.sleep, call by call, so that such a loop sees each of them. On any other
-- loop C does it, without a future and without a timer handle.

local core = require "loophost.core"

local function set_result_unless_done(future, result)
  if not future:done() then future:set_result(result) end
end

local function woken(timer, ok, ...)
  timer:cancel()
  if ok then return ... end
  error(..., 0)
end

---@param delay number seconds, more than nought
---@param result any
---@return any result
local function slow_sleep(delay, result)
  local loop = core.get_running_loop()
  local future = loop:create_future()
  local timer = loop:call_later(delay, set_result_unless_done, future, result)
  return woken(timer, core.rawpcall(core.await, future))
end

return { slow_sleep = slow_sleep }
