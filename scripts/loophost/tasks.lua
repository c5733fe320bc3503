-- tasks.lua -- making tasks and finding them: the functions that have no loop in their name.

local core = require "loophost.core"
local argument = require "loophost.argument"

local tasks = {}

-- The loop that runs; at a script's top level the current one.
---@return loophost.EventLoop
function tasks.loop()
  return core.running_loop() or core.get_event_loop()
end

local resume, yield, status = core.coroutine.resume, core.coroutine.yield, core.coroutine.status

local function driven(coroutine, ok, ...)
  if not ok then error(..., 0) end
  if status(coroutine) == "dead" then return ... end
  return driven(coroutine, resume(coroutine, yield(...)))
end

-- For C: the body of a task that is made of a coroutine which has begun already; runs it
-- to its end.
---@param coroutine thread
---@param ... any
function tasks.drive(coroutine, ...)
  return driven(coroutine, resume(coroutine, ...))
end

local function older(a, b) return core.task_number(a) < core.task_number(b) end

-- Sorts a list of tasks by the order of their creation.
---@param list loophost.Task[]
---@return loophost.Task[] list
function tasks.sort(list)
  table.sort(list, older)
  return list
end

-- The tasks of the loop, or of the running one, that are not done, oldest first. As
-- asyncio.all_tasks.
---@param loop? loophost.EventLoop
---@return loophost.Task[]
function tasks.all_tasks(loop)
  if loop ~= nil and type(loop) ~= "userdata" then
    argument.mismatch(1, "all_tasks", "EventLoop", loop, 2)
  end
  return tasks.sort(core.all_tasks(loop or tasks.loop()))
end

return tasks
