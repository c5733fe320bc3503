-- runner.lua -- a loop from its making to its closing around one function, or several.
--
-- As asyncio.run and asyncio.Runner: what is left when the functions have ended is
-- cancelled, in the order of its creation, and waited for; then the loop is closed.

local core = require "loophost.core"
local argument = require "loophost.argument"
local tasks = require "loophost.tasks"
local policy = require "loophost.policy"
local eventloop = require "loophost.eventloop"

local runner = {}

---@class loophost.Runner
---@field state "created"|"initialized"|"closed"
---@field loop? loophost.EventLoop
---@field loop_factory? fun(): loophost.EventLoop
---@field debug? boolean
---@field sets_current? boolean its loop is the current one
---@field context? table the context variables, from one function to the next
local Runner = { __name = "loophost.Runner" }
Runner.__index = Runner

-- How long a cancelled task may take for its cleanup before it is cancelled once more, and
-- how often that is done: one that goes on even then is closed by force.
local GRACE_SECONDS, ROUNDS = 10, 3

-- The task will never run again; its <close> variables are lost, and that is reported.
local function close_by_force(loop, task)
  loop:call_exception_handler {
    message = "a task went on swallowing its cancellation and was closed by force",
    task = task, traceback = core.task_traceback(task),
  }
  core.detach(task)
end

-- Waits for the tasks, all cancelled, as long as they may take. The loop itself keeps the
-- time, without a timer: one that nothing can wake any more is still a deadlock.
local function wait_for_ends(loop, left)
  local n = #left
  local items = table.move(left, 1, n, 1, { n = n })
  local ended = core.gather(loop, items, n, true)
  for round = 1, ROUNDS do
    core.give_up_after(loop, GRACE_SECONDS)
    local ok, err = core.rawpcall(loop.run_until_complete, loop, ended)
    local gave_up = core.give_up_after(loop, nil)
    if ok then return end
    if not gave_up then error(err, 0) end
    for _, task in ipairs(left) do
      if not task:done() then
        if round < ROUNDS then task:cancel() else close_by_force(loop, task) end
      end
    end
  end
end

-- Cancels tasks of the loop, waits for their end, and reports what they failed with.
---@param loop loophost.EventLoop
---@param left loophost.Task[]
function runner.cancel(loop, left)
  if #left == 0 then return end
  for _, task in ipairs(left) do task:cancel() end
  wait_for_ends(loop, left)
  for _, task in ipairs(left) do
    if core.failed(task) then
      local err, story = task:exception(), core.get(task, "story")
      loop:call_exception_handler {
        message = "unhandled exception during shutdown: a task failed as it was cancelled",
        exception = err, traceback = story and tostring(story), task = task,
      }
    end
  end
end

-- The same for all tasks of the loop.
---@param loop loophost.EventLoop
function runner.cancel_all(loop)
  runner.cancel(loop, tasks.all_tasks(loop))
end

-- Makes the loop when it is first needed.
local function prepare(self, level)
  if self.state == "closed" then error("Runner is closed", level + 1) end
  if self.state == "initialized" then return end
  if self.loop_factory then
    self.loop = self.loop_factory()
    if not eventloop.is(self.loop) then error("loop_factory must make an EventLoop", level + 1) end
  else
    self.loop = policy.get_event_loop_policy():new_event_loop()
    policy.get_event_loop_policy():set_event_loop(self.loop)
    self.sets_current = true
  end
  if self.debug ~= nil then self.loop:set_debug(self.debug) end
  self.context = core.context()
  self.state = "initialized"
end

local OPTIONS = { loop_factory = "any", debug = "any" }

---@param opts? { loop_factory?: (fun(): loophost.EventLoop), debug?: boolean }
---@return loophost.Runner block for a variable with <close>, or to be closed by close()
function runner.Runner(opts)
  opts = argument.options(opts, OPTIONS, 1, "Runner", 2)
  return setmetatable({
    state = "created", loop_factory = opts.loop_factory, debug = opts.debug,
  }, Runner)
end

-- The runner's loop, which is made if it was not used yet.
---@return loophost.EventLoop
function Runner:get_loop()
  prepare(self, 2)
  return self.loop
end

local function check(fn, who, level)
  argument.body(fn, 1, who, level + 1)
  if core.running_loop() then
    error(("%s cannot be called from a running event loop"):format(who), level + 1)
  end
end

local function ended(self, task, interrupted, ok, ...)
  core.interrupt_task = interrupted
  self.context = core.get(task, "context")
  if ok then return ... end
  error(..., 0)
end

-- Runs fn(...) as a task of the runner's loop.
local function run(self, fn, ...)
  local task = self.loop:create_task(fn, ...)
  core.set(task, "context", self.context)
  local interrupted = core.interrupt_task
  core.interrupt_task = task
  return ended(self, task, interrupted,
    core.rawpcall(self.loop.run_until_complete, self.loop, task))
end

-- Runs fn(...) as a task until it ends, and returns what it returns.
---@param fn function
---@param ... any
---@return any ...
function Runner:run(fn, ...)
  check(fn, "run", 2)
  prepare(self, 2)
  return run(self, fn, ...)
end

-- Cancels the tasks that are left, waits for their end, and closes the loop. May be
-- called twice.
function Runner:close()
  if self.state ~= "initialized" then return end
  local loop = self.loop --[[@as loophost.EventLoop]]
  local ok, err = core.rawpcall(runner.cancel_all, loop)
  self.state, self.loop = "closed", nil
  if self.sets_current then policy.get_event_loop_policy():set_event_loop(nil) end
  loop:close()
  if not ok then error(err, 0) end
end

Runner.__close = Runner.close
argument.methods("Runner", Runner)

-- Runs fn(...) in a loop of its own, with all that it needs before and after.
---@param fn function
---@param ... any
---@return any ...
function runner.run(fn, ...)
  check(fn, "run", 2)
  local self <close> = runner.Runner()
  prepare(self, 2)
  return run(self, fn, ...)
end

return runner
