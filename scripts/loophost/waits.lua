-- waits.lua -- wait for some, take them as they come, and wait without harm to them.
--
-- As asyncio's functions of these names, hop by hop: callbacks on the futures end a
-- waiter, for which the caller waits.

local core = require "loophost.core"
local argument = require "loophost.argument"
local awaitable = require "loophost.awaitable"
local tasks = require "loophost.tasks"

local await, rawpcall, isfuture, failed = core.await, core.rawpcall, core.isfuture, core.failed

---@alias loophost.Waitable function|loophost.Future|loophost.Task

local waits = {}

local function release(waiter)
  if not waiter:done() then waiter:set_result() end
end

local function check_list(list, who)
  if type(list) == "table" and not awaitable.is(list) then return end
  argument.mismatch(1, who, "list of tasks", list, 3)
end

local OPTIONS = { timeout = "any", return_when = "any" }
local RETURN_WHEN = { ALL_COMPLETED = true, FIRST_COMPLETED = true, FIRST_EXCEPTION = true }

-- The futures of the list, each once, in its order.
local function distinct_futures(list, loop)
  local futures, seen = {}, {}
  for i = 1, list.n or #list do
    local future = list[i]
    local where = ("1 (element %d)"):format(i)
    if not isfuture(future) then argument.mismatch(where, "wait", "Task or Future", future, 3) end
    awaitable.check(future, loop, where, "wait", 3)
    if not seen[future] then
      seen[future] = true
      futures[#futures + 1] = future
    end
  end
  if not futures[1] then argument.fail(1, "wait", "the list of tasks is empty", 3) end
  return futures
end

---@class loophost.WaitOptions
---@field timeout? number seconds
---@field return_when? "ALL_COMPLETED"|"FIRST_COMPLETED"|"FIRST_EXCEPTION"

-- Waits for tasks and futures until all, or the first, or the first that fails, are done.
-- Raises none of their errors, and does not cancel any.
---@param list loophost.Future[]
---@param opts? loophost.WaitOptions
---@return loophost.Future[] done in the order of the list
---@return loophost.Future[] pending
function waits.wait(list, opts)
  check_list(list, "wait")
  opts = argument.options(opts, OPTIONS, 2, "wait", 2)
  local timeout, return_when = opts.timeout, opts.return_when or "ALL_COMPLETED"
  if not RETURN_WHEN[return_when] then
    argument.fail(2, "wait", ("invalid return_when: %s"):format(tostring(return_when)), 2)
  end
  argument.seconds(timeout, 2, "wait", 2)
  if not core.current_task() then error("wait was called where no task runs", 2) end
  local loop = tasks.loop()
  local futures = distinct_futures(list, loop)

  local waiter = loop:create_future()
  if core.note_wait then core.note_wait(waiter, "wait", futures) end
  local timer = timeout and loop:call_later(timeout, release, waiter)
  local left = #futures
  local function on_done(future)
    left = left - 1
    if left <= 0 or return_when == "FIRST_COMPLETED"
      or return_when == "FIRST_EXCEPTION" and failed(future)
    then
      if timer then timer:cancel() end
      release(waiter)
    end
  end
  for _, future in ipairs(futures) do future:add_done_callback(on_done) end

  local ok, err = rawpcall(await, waiter)
  if timer then timer:cancel() end
  for _, future in ipairs(futures) do future:remove_done_callback(on_done) end
  if not ok then error(err, 0) end

  local done, pending = {}, {}
  for _, future in ipairs(futures) do
    local part = future:done() and done or pending
    part[#part + 1] = future
  end
  return done, pending
end

local TIMED_OUT = {}

-- Waits for tasks, futures and functions, which become tasks, and gives them one by one
-- as they end: `for task in lh.as_completed(list) do`. They start at once.
---@param list loophost.Waitable[]|{ n?: integer }
---@param timeout? number seconds for all of them; the iterator then raises TimeoutError
---@return fun(): loophost.Future? next
function waits.as_completed(list, timeout)
  check_list(list, "as_completed")
  argument.seconds(timeout, 2, "as_completed", 2)
  local loop, n = tasks.loop(), list.n or #list
  for i = 1, n do
    awaitable.check(list[i], loop, ("1 (element %d)"):format(i), "as_completed", 2)
  end

  local finished = core.Queue()
  local todo, order, left, timer = {}, {}, 0, nil
  for i = 1, n do
    local future = awaitable.future(loop, list[i])
    if not todo[future] then
      todo[future], left, order[left + 1] = true, left + 1, future
    end
  end

  local function on_done(future)
    if left == 0 then return end -- the time was over first
    todo[future], left = nil, left - 1
    finished:put_nowait(future)
    if left == 0 and timer then timer:cancel() end
  end
  local function on_timeout()
    for _, future in ipairs(order) do
      if todo[future] then
        future:remove_done_callback(on_done)
        finished:put_nowait(TIMED_OUT)
      end
    end
    todo, left = {}, 0
  end

  if core.note_wait then core.note_wait(finished, "as_completed", order) end
  for _, future in ipairs(order) do future:add_done_callback(on_done) end
  if left > 0 and timeout then timer = loop:call_later(timeout, on_timeout) end

  local to_give = left
  return function()
    if to_give == 0 then return nil end
    to_give = to_give - 1
    local future = finished:get()
    if future == TIMED_OUT then error(core.errors.TimeoutError("timed out"), 0) end
    return future
  end
end

-- Waits for the value so that a cancellation of the one who waits does not reach it.
-- A function becomes a task.
---@param value loophost.Future|function
---@return any ... its results
function waits.shield(value)
  if not core.current_task() then error("shield was called where no task runs", 2) end
  local loop = tasks.loop()
  awaitable.check(value, loop, 1, "shield", 2)
  local inner = awaitable.future(loop, value)
  if inner:done() then return await(inner) end
  local outer = loop:create_future()
  if core.note_wait then core.note_wait(outer, "shield", { inner }) end
  local function on_done()
    if outer:cancelled() then
      if not inner:cancelled() then inner:exception() end -- nobody will ask: looked at
    elseif inner:cancelled() then
      outer:cancel()
    else
      core.copy_outcome(outer, inner)
    end
  end
  inner:add_done_callback(on_done)
  outer:add_done_callback(function()
    if not inner:done() then inner:remove_done_callback(on_done) end
  end)
  return await(outer)
end

return waits
