-- stories.lua -- where an error came from, across tasks; and who waits for what.
--
-- When a task fails, the coroutines of those who await it still stand where they wait: a
-- story keeps the tracebacks of them all. When the error goes on and makes one of them
-- fail, too, that one's story continues the first.

local core = require "loophost.core"
local argument = require "loophost.argument"

local get = core.get

local stories = {}

local MAX_DEPTH = 16 -- tasks that await each other

---@class loophost.Story
---@field name string of the task
---@field traceback string at the error, or where the task waits
---@field created? string "file:line"
---@field cause? loophost.Story of the task whose error this one passed on
---@field parts? table<integer, loophost.Story> of an ExceptionGroup's errors
---@field awaiters loophost.Story[]
local Story = { __name = "loophost.Story" }

-- The story of the task whose error the future passes on: its own, or, for a future that
-- ended as another one did, that one's.
local function story_of(future)
  for _ = 1, MAX_DEPTH do
    if future == nil then return nil end
    local story = get(future, "story")
    if story ~= nil then return story end
    future = get(future, "cause")
  end
end

local function awaiters_of(task, depth)
  local list = {}
  for i, awaiter in ipairs(depth < MAX_DEPTH and core.task_awaiters(task) or list) do
    list[i] = {
      name = awaiter:get_name(), traceback = core.task_traceback(awaiter),
      created = core.task_created(awaiter), awaiters = awaiters_of(awaiter, depth + 1),
    }
  end
  return list
end

-- What is to be told about a task that has just failed.
---@param task loophost.Task
---@param traceback? string at the error
---@param cause? loophost.Future whose error it was that the task passed on
---@param failed boolean if it was cancelled instead, nobody asks who awaited it
---@return loophost.Story
function stories.story(task, traceback, cause, failed)
  return setmetatable({
    name = task:get_name(), traceback = traceback or "", created = core.task_created(task),
    cause = story_of(cause), awaiters = failed and awaiters_of(task, 1) or {},
  }, Story)
end

-- Raises an ExceptionGroup so that the stories of its parts become the cause of whatever it
-- makes fail: by way of a future, which a loop's own create_future shall not see.
---@param loop loophost.EventLoop
---@param group table the error
---@param parts table<integer, loophost.Story>
function stories.raise_group(loop, group, parts)
  local future = core.methods.create_future(loop)
  future:set_exception(group)
  core.set(future, "story", setmetatable({ traceback = "", awaiters = {}, parts = parts }, Story))
  future:result()
end

local function add_created(lines, story)
  if story.created then
    lines[#lines + 1] = ("task '%s' created at %s"):format(story.name, story.created)
  end
end

local function add_awaiting(lines, story)
  lines[#lines + 1] = ("awaited by task '%s':"):format(story.name)
  local frames = story.traceback:gsub("^stack traceback:\n", "")
  if frames ~= "" then lines[#lines + 1] = frames end
  add_created(lines, story)
end

local function add_awaiters(lines, story)
  for _, awaiter in ipairs(story.awaiters) do
    add_awaiting(lines, awaiter)
    add_awaiters(lines, awaiter)
  end
end

local function add_parts(lines, parts)
  local places = {}
  for i in pairs(parts) do places[#places + 1] = i end
  table.sort(places)
  for _, i in ipairs(places) do
    lines[#lines + 1] = ("sub-exception %d:\n%s"):format(i, tostring(parts[i]))
  end
end

function Story:__tostring()
  local chain, lines = {}, {}
  local story = self
  while story and #chain < MAX_DEPTH do
    chain[#chain + 1], story = story, story.cause
  end
  for i = #chain, 1, -1 do
    story = chain[i]
    if i == #chain then
      if story.parts then add_parts(lines, story.parts) end
      if story.traceback ~= "" then lines[#lines + 1] = story.traceback end
      add_created(lines, story)
    else
      add_awaiting(lines, story)
    end
  end
  add_awaiters(lines, self)
  return table.concat(lines, "\n")
end

-- Where the task's error came from or, if it is not done, where it waits; then who awaits
-- it, and where all of them were created.
---@param task loophost.Task
---@return string
function stories.task_story(task)
  if not core.istask(task) then argument.mismatch(1, "traceback", "Task", task, 3) end
  local story = get(task, "story")
  if story == nil then
    story = stories.story(task, core.task_traceback(task), nil, not task:done())
  end
  return tostring(story)
end

-- What run_until_complete raises when nothing can ever happen again.
---@param loop loophost.EventLoop
---@return table error a DeadlockError that lists every waiting task
function stories.deadlock(loop)
  local tasks = require("loophost.tasks").all_tasks(loop)
  local lines = { ("nothing can ever happen again, and %d task%s wait%s"):format(#tasks,
    #tasks == 1 and "" or "s", #tasks == 1 and "s" or "") }
  if select(2, core.clock_kind(loop)) then lines[1] = lines[1] .. " (the clock is frozen)" end
  require("loophost.waitgraph").describe(loop, lines)
  return core.errors.DeadlockError(table.concat(lines, "\n"))
end

return stories
