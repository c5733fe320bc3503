-- limit.lua -- runs a function of a test so that it ends: after a time limit, or when nothing
-- can ever happen again.
--
-- Both ask the task to end, by a CancelledError, so that cleanup runs and no pcall is in the
-- way; on its way out of the function that error becomes the verdict, which says why.

local core = require "loophost.core"
local failure = require "loophost.testing.failure"
local waitgraph = require "loophost.waitgraph"

local limit = { verdicts = 0 } -- so far

local DEFAULT_SECONDS = 10

local active -- the innermost Limit under way
local MOST_TASKS = 50 -- that are told of
local MAX_FAILURES = 3 -- of the loop, in one function: whose cleanup waits in vain, too

---@class loophost.testing.Limit
---@field seconds number
---@field deadline number of the monotonic clock
---@field what string "the test", for messages
---@field place string "file:line" where that is
---@field outer? loophost.testing.Limit
---@field verdict? string
---@field failures integer of the loop
local Limit = { __name = "loophost.testing.Limit" }

local function arm(self)
  local left = self.deadline - core.monotonic()
  core.set_limit(math.max(left, 0.001),
    ("loophost: %s: %s still runs %d s after its time limit; the process ends\n"):format(self.place,
      self.what, 5))
end

-- The outermost limit whose time is over.
local function due()
  local now, found, at = core.monotonic(), nil, active
  while at do
    if at.deadline <= now then found = at end
    at = at.outer
  end
  return found or active
end

-- Whether a limit around this one has ended what is under way.
local function is_ended_from_outside(self)
  local at = self.outer
  while at and not at.verdict do at = at.outer end
  return at ~= nil
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
  if not core.interrupted() and not is_ended_from_outside(self) then
    error(failure.new(("%s: %s was left by %s"):format(self.place, self.what, tostring(err))), 0)
  end
end

-- Called by C when the time is over, before the task is asked to end: the tasks still stand
-- where they are.
---@param in_code? boolean Lua code is running; else the loop itself asks
function core.limit_reached(in_code)
  local self = due()
  if not self or self.verdict then return end
  local loop, task = core.running_loop(), core.running_task()
  local text = ("%s has not ended after %g s"):format(self.what, self.seconds)
  local asked = core.interrupt_task
  local where = in_code and waitgraph.here() or asked and waitgraph.place_of(asked)
    or core.main_place()
  local lines = { where and where .. ": " .. text or text }
  if loop then waitgraph.describe(loop, lines, MOST_TASKS) end
  if in_code and not task then
    lines[#lines + 1] = "it runs:" .. debug.traceback("", 2):gsub("\nstack traceback:", "", 1)
  end
  self.verdict = table.concat(lines, "\n")
end

-- Called by C when the main task waits for what can never happen, or when its loop was
-- stopped: true if it has been asked to end.
---@param err any
---@return boolean
function core.on_loop_failure(err)
  local self = active
  if not self then return false end
  self.failures = self.failures + 1
  if self.failures > MAX_FAILURES then return false end
  if not self.verdict then
    local where = core.main_place()
    self.verdict = (where and where .. ": " or "") .. tostring(err)
  end
  return core.cancel_main("the loop has failed") or false
end

-- The seconds that a test gets if nothing else is said.
---@return number
function limit.seconds()
  return core.defaults.test_timeout or DEFAULT_SECONDS
end

local function begin(self)
  active = setmetatable(self, Limit)
  self.deadline = core.monotonic() + self.seconds
  self.failures = 0
  return self
end

-- Runs fn(...), which gets so many seconds of real time, or what is left of those around it;
-- raises a failure when it has not ended by then.
---@param seconds number
---@param what string
---@param place string
---@param fn function
---@param ... any
---@return any ...
function limit.run(seconds, what, place, fn, ...)
  local self <close> = begin { seconds = seconds, what = what, place = place, outer = active }
  if self.outer then self.deadline = math.min(self.deadline, self.outer.deadline) end
  arm(self)
  return fn(...)
end

-- The same for what is done after a test: in any case it gets all of its time, and raises
-- nothing.
---@return boolean ok whether it has ended, and well
---@return string? verdict when it has not ended
function limit.after(what, place, fn, ...)
  local self = { seconds = limit.seconds(), what = what, place = place, outer = active }
  local ok = core.rawpcall(function(...)
    local _ <close> = begin(self)
    arm(self)
    fn(...)
  end, ...)
  return ok, self.verdict
end

return limit
