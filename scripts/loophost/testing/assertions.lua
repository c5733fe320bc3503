-- assertions.lua -- what luassert says about time and tasks:
--   assert.completes_within(seconds, fn)   fn() returns before so many seconds are over
--   assert.times_out(seconds, fn)          fn() does not, and is cancelled
--   assert.is_cancelled(task)              the task, or future, was cancelled
-- The seconds are the loop's. An error of fn is the test's.

local core = require "loophost.core"
local lh = require "loophost"

local TimeoutError = core.errors.TimeoutError

local assertions = {}

-- Runs fn within the seconds: whether it was in time; an error of its own is raised. luassert's
-- level is that of who calls the function which calls this one.
local function in_time(arguments, who, level)
  local seconds, fn = arguments[1], arguments[2]
  local is_time = type(seconds) == "number" and seconds == seconds
  if not is_time or type(fn) ~= "function" then
    error(("%s(seconds, function) expected"):format(who), level + 2)
  end
  core.sleep(0) -- a main task is on a loop from here on
  local block
  local ok, err = core.pcall(function()
    local within <close> = lh.timeout(seconds)
    block = within
    fn()
  end)
  if ok then return true end
  if block:expired() and core.iserror(err, TimeoutError) then return false end
  error(err, 0)
end

local function completes_within(_, arguments, level)
  return (in_time(arguments, "completes_within", level))
end

local function times_out(_, arguments, level)
  return not in_time(arguments, "times_out", level)
end

local function cancelled(_, arguments, level)
  local future = arguments[1]
  if not core.isfuture(future) then error("cancelled: a Task or Future expected", level + 1) end
  return future:cancelled()
end

local MESSAGES = {
  completes_within = { "Expected to be done within %s seconds:\n%s",
    "Expected not to be done within %s seconds:\n%s" },
  times_out = { "Expected to take longer than %s seconds:\n%s",
    "Expected to take no longer than %s seconds:\n%s" },
  cancelled = { "Expected to be cancelled:\n%s", "Expected not to be cancelled:\n%s" },
}

-- Makes them known to luassert, if it is there; may be called again.
function assertions.register()
  local ok, luassert = core.rawpcall(require, "luassert")
  if not ok then return end
  local say = require "say"
  local callbacks = {
    completes_within = completes_within, times_out = times_out, cancelled = cancelled,
  }
  for name, callback in pairs(callbacks) do
    local key = "assertion.loophost." .. name
    say:set(key .. ".positive", MESSAGES[name][1])
    say:set(key .. ".negative", MESSAGES[name][2])
    luassert:register("assertion", name, callback, key .. ".positive", key .. ".negative")
  end
end

return assertions
