-- waitfor.lua -- wait_for with no time left, or of what is neither function nor future, or
-- called by mistake. Whatever else is bindings/timeout.c's.

local core = require "loophost.core"
local argument = require "loophost.argument"
local awaitable = require "loophost.awaitable"
local tasks = require "loophost.tasks"

local await, current_task, iserror = core.await, core.current_task, core.iserror
local CancelledError, TimeoutError = core.errors.CancelledError, core.errors.TimeoutError

local waitfor = {}

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
function waitfor.careful_wait_for(value, seconds)
  awaitable.check(value, nil, 1, "wait_for", 3)
  argument.seconds(seconds, 2, "wait_for", 3)
  if seconds == nil then return await(value) end
  if not current_task() then error("wait_for was called where no task runs", 3) end
  if seconds <= 0 then return wait_for_nothing(value) end
  local _ <close> = core.timeout(seconds)
  return await(value)
end

return waitfor
