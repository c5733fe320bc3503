-- gather.lua -- waits for several at once; the results come in the order of the arguments.
--
-- As asyncio.gather, hop by hop: a callback on each child settles one outer future, for
-- which the caller waits. Cancelling that future cancels the children instead.

local core = require "loophost.core"
local awaitable = require "loophost.awaitable"
local tasks = require "loophost.tasks"

local await, isfuture = core.await, core.isfuture
local failed, copy_outcome = core.failed, core.copy_outcome

local gather = {}

-- The cancellation of the child as a result. As in asyncio, only a plain future knows the
-- message; a task's belongs to the first one who awaits it.
local function cancellation(child)
  return core.errors.CancelledError(core.cancel_message(child))
end

-- Turns the list of children, all done, into the list of what they came to.
local function into_results(list)
  for i = 1, list.n do
    local child = list[i]
    if child:cancelled() then
      list[i] = cancellation(child)
    elseif failed(child) then
      list[i] = child:exception()
    else
      list[i] = (child:result())
    end
  end
  return list
end

-- A future that ends when the items do, with the table of their results.
---@param loop loophost.EventLoop
---@param items table what was checked to be awaitable, with its `n`; becomes the results
---@param return_exceptions? boolean errors are results; else the first one ends the future
---@return loophost.Future outer
function gather.future(loop, items, return_exceptions)
  local n, left = items.n, 0
  local outer, seen, cancel_requested

  local function on_done(child)
    left = left - 1
    if outer:done() then
      if not child:cancelled() then child:exception() end -- nobody will ask: looked at
    elseif not return_exceptions and (child:cancelled() or failed(child)) then
      copy_outcome(outer, child)
    elseif left == 0 then
      local last = items[n]
      local results = into_results(items)
      if not cancel_requested then
        outer:set_result(results)
      elseif last:cancelled() then
        copy_outcome(outer, last)
      else
        outer:set_exception(core.errors.CancelledError())
      end
    end
  end

  for i = 1, n do
    local item = items[i]
    if not isfuture(item) then
      item = awaitable.future(loop, item)
      items[i] = item
    elseif seen and seen[item] then
      goto continue
    else
      seen = seen or {}
      seen[item] = true
    end
    left = left + 1
    item:add_done_callback(on_done)
    ::continue::
  end

  outer = loop:create_future()
  core.on_cancel(outer, function(_, message)
    local any = false
    for i = 1, n do
      if items[i]:cancel(message) then any = true end
    end
    cancel_requested = cancel_requested or any
    return any
  end)
  return outer
end

-- Whether gather was called as gather(list[, options]).
local function is_list(first, second, count)
  return type(first) == "table" and not awaitable.is(first)
    and (count == 1 or count == 2 and (second == nil or type(second) == "table"))
end

-- Checks the n items before any of them is started.
local function check(items, n, loop, form)
  for i = 1, n do
    local item = items[i]
    if isfuture(item) then
      if item:get_loop() ~= loop then awaitable.check(item, loop, form:format(i), "gather", 3) end
    elseif type(item) ~= "function" then
      awaitable.check(item, loop, form:format(i), "gather", 3)
    end
  end
end

-- Runs functions as tasks, waits for them and for the futures among the arguments, and
-- returns the results. Also: gather(list, { return_exceptions = boolean }).
-- The first error is raised, and the others run on; cancelled, it cancels them all.
---@param ... function|loophost.Future|loophost.Task
---@return table results the first result of each, and `n`
function gather.gather(...)
  local n = select("#", ...)
  local first, second = ...
  local items, return_exceptions, form
  if is_list(first, second, n) then
    n = first.n or #first
    items, form = table.move(first, 1, n, 1, { n = n }), "1 (element %d)"
    return_exceptions = second and second.return_exceptions
  else
    items, form = table.pack(...), "%d"
  end
  if n == 0 then return items end
  if not core.current_task() then error("gather waits, and no task runs here that could", 2) end
  local loop = tasks.loop()
  check(items, n, loop, form)
  return await(gather.future(loop, items, return_exceptions))
end

return gather
