-- limit.lua -- runs a function of a test so that it ends: after a time limit, or when nothing
-- can ever happen again.
--
-- Both ask the task to end, by a CancelledError, so that cleanup runs and no pcall is in the
-- way; on its way out of the function that error becomes the verdict, which says why.

local core = require "loophost.core"
local failure = require "loophost.testing.failure"
local waitgraph = require "loophost.waitgraph"

local limit = { verdicts = 0 } -- so far

local active -- the innermost Limit under way
local MAX_DEADLOCKS = 3 -- in one function: whose cleanup waits for what never comes, too

---@class loophost.testing.Limit
---@field seconds number
---@field deadline number of the monotonic clock
---@field what string "the test", for messages
---@field place string "file:line" where that is
---@field outer? loophost.testing.Limit
---@field verdict? string
---@field deadlocks integer
local Limit = { __name = "loophost.testing.Limit" }

local function arm(self)
  local left = self.deadline - core.monotonic()
  core.set_limit(math.max(left, 0.001),
    ("loophost: %s: %s still runs %d s after its time limit; the process ends\n"):format(self.place,
      self.what, 5))
end

function Limit:__close(err)
  active = self.outer
  if active then arm(active) else core.set_limit(nil) end
  local cancelled = core.forget_cancel()
  if self.verdict then
    limit.verdicts = limit.verdicts + 1
    error(failure.new(self.verdict), 0)
  end
  if err == nil and cancelled then err = core.errors.CancelledError() end
  if err == nil or not core.iserror(err, core.errors.CancelledError) then return end
  -- In the host this error goes through every pcall; it may not end all the tests.
  if not core.interrupted() then
    error(failure.new(("%s: %s was left by %s"):format(self.place, self.what, tostring(err))), 0)
  end
end

-- Called by C when the time is over, before the task is asked to end: the tasks still stand
-- where they are.
---@param in_code? boolean Lua code is running; else the loop itself asks
function core.limit_reached(in_code)
  local self = active
  if not self or self.verdict then return end
  local loop, task = core.running_loop(), core.running_task()
  local text = ("%s has not ended after %g s"):format(self.what, self.seconds)
  local asked = core.interrupt_task
  local where = in_code and waitgraph.here() or asked and waitgraph.place_of(asked)
    or core.main_place()
  local lines = { where and where .. ": " .. text or text }
  if loop then waitgraph.describe(loop, lines) end
  if in_code and not task then
    lines[#lines + 1] = "it runs:" .. debug.traceback("", 2):gsub("\nstack traceback:", "", 1)
  end
  self.verdict = table.concat(lines, "\n")
end

-- Called by C when the main task waits for what can never happen: true if it has been
-- asked to end.
---@param err any
---@return boolean
function core.on_deadlock(err)
  local self = active
  if not self or not core.iserror(err, core.errors.DeadlockError) then return false end
  self.deadlocks = self.deadlocks + 1
  if self.deadlocks > MAX_DEADLOCKS then return false end
  if not self.verdict then
    local where = core.main_place()
    self.verdict = (where and where .. ": " or "") .. tostring(err)
  end
  return core.cancel_main("deadlock") or false
end

-- Runs fn(...), which gets so many seconds of real time; raises a failure when it has not
-- ended by then.
---@param seconds number
---@param what string
---@param place string
---@param fn function
---@param ... any
---@return any ...
function limit.run(seconds, what, place, fn, ...)
  local self <close> = setmetatable({
    seconds = seconds, deadline = core.monotonic() + seconds, what = what, place = place,
    outer = active, verdict = nil, deadlocks = 0,
  }, Limit)
  if active then self.deadline = math.min(self.deadline, active.deadline) end
  active = self
  arm(self)
  return fn(...)
end

return limit
