-- gather.lua -- waits for several at once; the results come in the order of the arguments.
--
-- As asyncio.gather. What is done with the arguments once they are checked is C's: see
-- bindings/gather.c.

local core = require "loophost.core"
local argument = require "loophost.argument"
local awaitable = require "loophost.awaitable"
local tasks = require "loophost.tasks"

local await = core.await

local gather = {}

local OPTIONS = { return_exceptions = "any" }

-- Whether gather was called as gather(list[, options]).
local function is_list(first, second, count)
  return type(first) == "table" and not awaitable.is(first)
    and (count == 1 or count == 2 and (second == nil or type(second) == "table"))
end

-- Checks the n items before any of them is started.
local function check(items, n, loop, form)
  local i = core.first_unplain(loop, items, 1, n)
  while i do
    awaitable.check(items[i], loop, form:format(i), "gather", 3)
    i = core.first_unplain(loop, items, i + 1, n)
  end
end

-- Runs functions as tasks, waits for them and for the futures among the arguments, and
-- returns the results. Also: gather(list, { return_exceptions = boolean }).
-- The first error is raised, and the others run on; cancelled, it cancels them all.
---@param ... loophost.Waitable|loophost.Waitable[]|{ return_exceptions?: boolean }
---@return table results the first result of each, and `n`
function gather.gather(...)
  local n = select("#", ...)
  local first, second = ... ---@type any, any
  local items, return_exceptions, form
  if is_list(first, second, n) then
    n = first.n or #first
    items, form = table.move(first, 1, n, 1, { n = n }), "1 (element %d)"
    return_exceptions = argument.options(second, OPTIONS, 2, "gather", 2).return_exceptions
  else
    items, form = table.pack(...), "%d"
  end
  if n == 0 then return items end
  if not core.current_task() then error("gather waits, and no task runs here that could", 2) end
  local loop = tasks.loop()
  check(items, n, loop, form)
  local future = core.gather(loop, items, n, return_exceptions)
  if core.note_wait then core.note_wait(future, "gather", items) end
  return await(future)
end

return gather
