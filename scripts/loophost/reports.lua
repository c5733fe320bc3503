-- reports.lua -- errors that nobody is there to catch, and what else a loop complains of.
-- C calls these by name; all end in the loop's call_exception_handler, or on stderr.

local core = require "loophost.core"

local reports = {}

-- Of a callback that has run without a handle there is only the function.
local function shown(source)
  return type(source) == "function" and core.handle_of(source) or source
end

-- An error in a callback, with the traceback that C kept of it.
---@param loop loophost.EventLoop
---@param err any
---@param message string
---@param source_name? "handle"|"task"|"future"
---@param source? any
function reports.report(loop, err, message, source_name, source)
  local context = { message = message, exception = err, traceback = core.take_traceback() }
  if source_name then context[source_name] = shown(source) end
  loop:call_exception_handler(context)
end

-- ---- errors that nobody looks at ----

-- The guards of failed futures that are alive, with the order of their making.
local guards = setmetatable({}, { __mode = "k" })
local guards_made = 0

core.unretrieved_count = core.unretrieved_count or 0

local function report_unretrieved(future)
  local unretrieved, err = core.unretrieved(future)
  if not unretrieved then return end
  local is_task, story = core.istask(future), core.get(future, "story")
  local loop = future:get_loop()
  -- an error that a handler of the script's own hears of is looked at; one that a test
  -- collects (testing/scope.lua) is said by the test
  if is_task and loop:get_exception_handler() == nil and not loop.errors_collected then
    core.unretrieved_count = core.unretrieved_count + 1
  end
  loop:call_exception_handler {
    message = (is_task and "Task" or "Future") .. " exception was never retrieved",
    exception = err, traceback = story and tostring(story),
    future = future, task = is_task and future or nil,
  }
end

local Guard = { __gc = function(guard) report_unretrieved(guard.future) end }

-- What a failed future holds, and only that: collected together with the future, it
-- reports the error if nobody has looked at it.
---@param future loophost.Future
---@return table guard
function reports.guard(future)
  local guard = setmetatable({ future = future }, Guard)
  guards_made = guards_made + 1
  guards[guard] = guards_made
  return guard
end

local function report_all(of)
  local list = {}
  for guard in pairs(guards) do
    if of == nil or guard.future:get_loop() == of then list[#list + 1] = guard end
  end
  table.sort(list, function(a, b) return guards[a] < guards[b] end)
  for _, guard in ipairs(list) do report_unretrieved(guard.future) end
end

-- At the end of the host: reports the errors that nobody has looked at, oldest first.
---@return boolean any whether there were any since the start
function reports.report_unretrieved()
  report_all(nil)
  return core.unretrieved_count > 0
end

-- The same at the end of one loop, for its futures.
---@param loop loophost.EventLoop
function reports.report_unretrieved_of(loop)
  report_all(loop)
end

-- ---- debug mode ----

---@param source? userdata|function the handle or task that was slow
---@param seconds number
function reports.warn_slow(_, source, seconds)
  local what = tostring(shown(source) or "a callback")
  io.stderr:write(("Executing %s took %.3f seconds\n"):format(what, seconds))
end

-- A task has yielded a value that is nothing to wait for.
---@param task loophost.Task
---@param value any
function reports.foreign_yield(task, value)
  task:get_loop():call_exception_handler {
    message = ("a task yielded what nobody waits for: %s"):format(tostring(value)),
    traceback = core.task_traceback(task), task = task,
  }
end

-- A loop is about to be closed and forgets its tasks.
---@param loop loophost.EventLoop
function reports.loop_closing(loop)
  if not loop:get_debug() then return end
  for _, task in ipairs(require("loophost.tasks").all_tasks(loop)) do
    loop:call_exception_handler {
      message = "Task was destroyed but it is pending!",
      traceback = core.task_story(task), task = task,
    }
  end
end

return reports
