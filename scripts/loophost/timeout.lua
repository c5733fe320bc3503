-- timeout.lua -- a deadline for a block: `local t <close> = lh.timeout(seconds)`.
--
-- As asyncio.timeout of CPython 3.12. A timer cancels the task; leaving the block turns
-- that CancelledError into a TimeoutError, unless somebody else has cancelled the task,
-- too: the counts of cancelling() tell. All happens in one task, so whatever was finished
-- in the block is finished, and nothing that was taken is lost.

local core = require "loophost.core"
local argument = require "loophost.argument"
local awaitable = require "loophost.awaitable"
local tasks = require "loophost.tasks"

local await, current_task, iserror = core.await, core.current_task, core.iserror
local CancelledError, TimeoutError = core.errors.CancelledError, core.errors.TimeoutError

local timeout = {}

---@class loophost.Timeout
---@field state "active"|"expiring"|"expired"|"finished"
---@field task loophost.Task
---@field cancelling integer what task:cancelling() was when the block began
---@field deadline? number seconds of the loop's clock
---@field timer? userdata
local Timeout = { __name = "loophost.Timeout" }
Timeout.__index = Timeout

local function expire(self)
  self.state, self.timer = "expiring", nil
  self.task:cancel()
end

local function schedule(self, loop, when, now)
  self.deadline = when
  if when <= now then
    self.timer = loop:call_soon(expire, self)
  else
    self.timer = loop:call_at(when, expire, self)
  end
end

-- Begins a block; `delay` or `when` says how far it may go, nil without limit.
local function enter(delay, when)
  local task = current_task()
  if not task then error("a timeout can only be used inside a task", 3) end
  local self = setmetatable({
    state = "active", task = task, cancelling = task:cancelling(), deadline = nil, timer = nil,
  }, Timeout)
  if delay or when then
    local loop = tasks.loop()
    local now = loop:time()
    schedule(self, loop, when or now + delay, now)
  end
  return self
end

-- A block that must be over after `delay` seconds; nil: it may take as long as it likes.
-- Raises TimeoutError out of the block. As asyncio.timeout.
---@param delay? number seconds; nought and less: it ends at its first wait
---@return loophost.Timeout block for a variable with <close>
function timeout.timeout(delay)
  argument.seconds(delay, 1, "timeout", 2)
  local self = enter(delay, nil)
  return self
end

-- As timeout, until a moment of the loop's clock. As asyncio.timeout_at.
---@param when? number seconds, as loop:time()
---@return loophost.Timeout block for a variable with <close>
function timeout.timeout_at(when)
  argument.seconds(when, 1, "timeout_at", 2)
  local self = enter(nil, when)
  return self
end

-- The deadline, in seconds of the loop's clock; nil if there is none.
---@return number?
function Timeout:when()
  return self.deadline
end

-- Whether the deadline has passed before the block was over.
---@return boolean
function Timeout:expired()
  return self.state == "expiring" or self.state == "expired"
end

-- Moves the deadline; only while the block runs and has not expired.
---@param when? number seconds, as loop:time(); nil: there shall be none
function Timeout:reschedule(when)
  argument.seconds(when, 1, "reschedule", 2)
  if self.state ~= "active" then
    error(("Cannot change state of %s Timeout"):format(self.state), 2)
  end
  if self.timer then self.timer:cancel() end
  self.timer, self.deadline = nil, nil
  if when then
    local loop = core.get_running_loop()
    schedule(self, loop, when, loop:time())
  end
end

function Timeout:__close(err)
  if self.timer then
    self.timer:cancel()
    self.timer = nil
  end
  if self.state == "active" then
    self.state = "finished"
  elseif self.state == "expiring" then
    self.state = "expired"
    if self.task:uncancel() <= self.cancelling and err ~= nil and iserror(err, CancelledError) then
      error(TimeoutError("timed out"), 0)
    end
  end
end

function Timeout:__tostring()
  local when = self.state == "active" and self.deadline
  return ("<Timeout [%s]%s>"):format(self.state, when and (" when=%.3f"):format(when) or "")
end

-- ---- wait_for ----

local function release(waiter)
  if not waiter:done() then waiter:set_result() end
end

-- Waits by way of a waiter, so that the wait itself can be cancelled.
local function cancel_and_wait(loop, future)
  local waiter = loop:create_future()
  local function on_done() release(waiter) end
  future:add_done_callback(on_done)
  future:cancel()
  local ok, err = core.rawpcall(await, waiter)
  future:remove_done_callback(on_done)
  if not ok then error(err, 0) end
end

local function in_time(ok, ...)
  if ok then return ... end
  local err = ...
  if iserror(err, CancelledError) then err = TimeoutError("timed out") end
  error(err, 0)
end

-- No time at all: what is done already counts, anything else is cancelled.
local function wait_for_nothing(value)
  local loop = tasks.loop()
  local future = awaitable.future(loop, value)
  if not future:done() then
    cancel_and_wait(loop, future)
    return in_time(core.rawpcall(future.result, future))
  end
  return future:result()
end

-- Waits for the value, at most so long; then cancels it and raises TimeoutError. A
-- function runs in this task. As asyncio.wait_for of CPython 3.12.
---@param value loophost.Future|function
---@param seconds? number nil: as long as it takes
---@return any ... the results
function timeout.wait_for(value, seconds)
  awaitable.check(value, nil, 1, "wait_for", 2)
  argument.seconds(seconds, 2, "wait_for", 2)
  if seconds == nil then return await(value) end
  if not current_task() then error("wait_for was called where no task runs", 2) end
  if seconds <= 0 then return wait_for_nothing(value) end
  local _ <close> = enter(seconds, nil)
  return await(value)
end

return timeout
