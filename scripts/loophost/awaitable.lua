-- awaitable.lua -- what can be waited for, and how it becomes a future.
--
-- Arguments are checked before anything is started, so that a mistake in the last of
-- them leaves no half of the others running.

local core = require "loophost.core"
local argument = require "loophost.argument"

local isfuture = core.isfuture
local type, getmetatable = type, getmetatable

local awaitable = {}

-- Whether the value is neither function nor future, but knows how it is awaited: a
-- Sleep, or a value with `__await`.
local function awaits_itself(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__await ~= nil or core.issleep(value)
end

---@return boolean
function awaitable.is(value)
  return type(value) == "function" or isfuture(value) or argument.is_body(value)
    or awaits_itself(value)
end

-- Raises an argument error unless the value can be waited for, by tasks of the loop.
---@param value any
---@param loop? loophost.EventLoop
---@param arg integer|string of the function `who`
---@param who string
---@param level integer
function awaitable.check(value, loop, arg, who, level)
  if not awaitable.is(value) then
    argument.mismatch(arg, who, "function, Future or Task", value, level + 1)
  elseif loop and isfuture(value) and value:get_loop() ~= loop then
    argument.fail(arg, who, "the future belongs to a different loop", level + 1)
  end
end

-- The future of a checked value: itself, or a task that runs or awaits it.
---@param loop loophost.EventLoop
---@param value any
---@param ... any for a function
---@return loophost.Future
function awaitable.future(loop, value, ...)
  if isfuture(value) then return value end
  if type(value) ~= "function" and awaits_itself(value) then
    return loop:create_task(core.await, value)
  end
  return loop:create_task(value, ...)
end

-- What C makes of the argument of run_until_complete. As asyncio.ensure_future.
function awaitable.ensure_future(loop, value, ...)
  awaitable.check(value, loop, 1, "run_until_complete", 3)
  return awaitable.future(loop, value, ...)
end

return awaitable
