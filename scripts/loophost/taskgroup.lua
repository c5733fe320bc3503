-- taskgroup.lua -- a block that ends when all tasks that were started in it have ended:
-- `local tg <close> = lh.TaskGroup()`.
--
-- As asyncio.TaskGroup, call by call. The first task that fails cancels the others and the
-- block; all that failed come out as one ExceptionGroup. A cancellation from outside does
-- the same, and stays a cancellation.

local core = require "loophost.core"
local argument = require "loophost.argument"
local tasks = require "loophost.tasks"

local iserror, await, rawpcall = core.iserror, core.await, core.rawpcall
local errors = core.errors

---@class loophost.TaskGroup
---@field loop loophost.EventLoop
---@field parent loophost.Task the task of the block
---@field tasks table<loophost.Task, true> that have not ended
---@field failures any[] errors in the order of their arrival
---@field stories table<integer, loophost.Story> of the failures, where one is known
---@field leaving boolean the end of the block is reached
---@field aborting boolean no more tasks are taken
---@field cancelled_parent boolean by us: to be taken back at the end
---@field emptied? loophost.Future for the last task's end
---@field on_done fun(task: loophost.Task)
local TaskGroup = { __name = "loophost.TaskGroup" }
TaskGroup.__index = TaskGroup

-- Cancels the tasks in the order in which they were created.
local function abort(self)
  self.aborting = true
  local list = {}
  for task in pairs(self.tasks) do list[#list + 1] = task end
  for _, task in ipairs(tasks.sort(list)) do
    if not task:done() then task:cancel() end
  end
end

local function task_done(self, task)
  self.tasks[task] = nil
  local emptied = self.emptied
  if emptied and next(self.tasks) == nil and not emptied:done() then emptied:set_result() end
  if not core.failed(task) then return end

  local err = task:exception()
  if err == nil then err = "nil" end -- error(nil) is a failure, too
  table.insert(self.failures, err)
  self.stories[#self.failures] = core.get(task, "story")
  if self.parent:done() then
    self.loop:call_exception_handler {
      message = "a task has failed whose group's block is gone", exception = err, task = task,
    }
  elseif not self.aborting and not self.cancelled_parent then
    abort(self)
    self.cancelled_parent = true
    self.parent:cancel()
  end
end

-- Begins a block around tasks. Only inside a task.
---@return loophost.TaskGroup group for a variable with <close>
local function new()
  local parent = core.current_task()
  if not parent then error("TaskGroup cannot determine the parent task: none runs here", 2) end
  local self = setmetatable({
    loop = tasks.loop(), parent = parent, tasks = {}, failures = {}, stories = {},
    leaving = false, aborting = false, cancelled_parent = false,
  }, TaskGroup)
  self.on_done = function(task) task_done(self, task) end
  return self
end

-- Starts a task of the group. Refused once the group has failed or ended.
---@param fn function
---@param ... any its arguments
---@return loophost.Task
function TaskGroup:create_task(fn, ...)
  if self.leaving and next(self.tasks) == nil then error("TaskGroup is finished", 2) end
  if self.aborting then error("TaskGroup is shutting down", 2) end
  argument.body(fn, 1, "create_task", 2)
  local task = self.loop:create_task(fn, ...)
  self.tasks[task] = true
  task:add_done_callback(self.on_done)
  return task
end

-- Waits for the tasks; returns the cancellation that came from outside meanwhile, if any.
local function wait_for_tasks(self, cancellation)
  while next(self.tasks) ~= nil do
    self.emptied = self.loop:create_future()
    if core.note_wait then core.note_wait(self.emptied, "a TaskGroup's end", self.tasks) end
    local ok, err = rawpcall(await, self.emptied)
    self.emptied = nil
    if not ok then
      if not iserror(err, errors.CancelledError) then error(err, 0) end
      if not self.aborting then
        cancellation = err
        abort(self)
      end
    end
  end
  return cancellation
end

function TaskGroup:__close(err)
  self.leaving = true
  local cancelled = err ~= nil and iserror(err, errors.CancelledError)
  local cancellation = cancelled and err or nil
  if self.cancelled_parent and self.parent:uncancel() == 0 then cancellation = nil end
  if err ~= nil and not self.aborting then abort(self) end
  cancellation = wait_for_tasks(self, cancellation)

  local failures = self.failures
  if cancellation ~= nil and #failures == 0 then error(cancellation, 0) end
  if err ~= nil and not cancelled then table.insert(failures, err) end
  if #failures > 0 then
    local group = errors.ExceptionGroup("unhandled errors in a TaskGroup", failures)
    require("loophost.stories").raise_group(self.loop, group, self.stories)
  end
end

function TaskGroup:__tostring()
  local n = 0
  for _ in pairs(self.tasks) do n = n + 1 end
  return ("<TaskGroup tasks=%d errors=%d%s>"):format(n, #self.failures,
    self.aborting and " cancelling" or "")
end

argument.methods("TaskGroup", TaskGroup)

return { TaskGroup = new }
