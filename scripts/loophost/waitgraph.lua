-- waitgraph.lua -- who waits for what, and for whom: the tasks of a loop as people want to
-- see them when nothing goes on.

local core = require "loophost.core"
local tasks = require "loophost.tasks"

local waitgraph = {}

local MAX_TASKS, MAX_NAMES = 50, 20 -- that are told of; in a circle

local function kind_of(object)
  local meta = debug.getmetatable(object)
  local name = type(meta) == "table" and meta.__name
  return type(name) == "string" and name:gsub("^loophost%.", ""):lower() or type(object)
end

-- Names things that have none: "lock 1 (made at x.lua:3)".
local function new_namer()
  local names, counts = {}, {}
  return function(object, kind)
    if names[object] then return names[object] end
    counts[kind] = (counts[kind] or 0) + 1
    local place = core.place_of(object)
    local name = ("%s %d"):format(kind, counts[kind])
    names[object] = name
    return place and ("%s (made at %s)"):format(name, place) or name
  end
end

-- "file:line" where the task was created; nil if that was busted itself.
---@param task loophost.Task
---@return string?
function waitgraph.created(task)
  local place = core.task_created(task)
  if place and not place:find "/busted/[^/]*%.lua:%d+$" then return place end
end

-- The tasks of the loop by their number, and what is known of each.
local function collect(loop)
  local list, by_number, by_task = {}, {}, {}
  for i, task in ipairs(tasks.all_tasks(loop)) do
    local what, where, awaited, object = core.task_waits(task)
    local node = {
      task = task, name = task:get_name(), what = what, where = where, awaited = awaited,
      object = object, created = waitgraph.created(task),
    }
    list[i], by_number[core.task_number(task)], by_task[task] = node, node, node
  end
  return list, by_number, by_task
end

-- Whom the task of the node waits for, if that is a task; and how that is said.
local function blocker(node, by_number, by_task, name_of)
  if node.awaited then
    if core.istask(node.awaited) then
      local other = by_task[node.awaited]
      return other, ("task '%s'"):format(node.awaited:get_name())
    end
    return nil, nil
  end
  local object = node.object
  if object == nil then return nil, nil end
  local text = name_of(object, kind_of(object))
  local is_locked, holder = core.lock_holder(object)
  if is_locked == nil then
    return nil, ("%s, which is %s"):format(text, tostring(object))
  elseif not is_locked then
    return nil, text
  end
  local other = by_number[holder]
  local who = holder == 0 and "by a callback" or other and ("by task '%s'"):format(other.name)
    or ("by Task-%d, which has ended"):format(holder)
  return other, ("%s, held %s"):format(text, who)
end

-- Adds the circle in which the node waits for itself, if it does.
local function add_cycle(lines, start, seen)
  local path, at, position = {}, start, {}
  while at and not position[at] do
    if seen[at] then return end
    position[at] = #path + 1
    path[#path + 1] = at
    at = at.waits_for
  end
  for _, node in ipairs(path) do seen[node] = true end
  if not at then return end
  local names, first = {}, position[at]
  local last = math.min(#path, first + MAX_NAMES - 1)
  for i = first, last do names[#names + 1] = ("'%s'"):format(path[i].name) end
  if last < #path then names[#names + 1] = ("%d more"):format(#path - last) end
  names[#names + 1] = ("'%s'"):format(at.name)
  lines[#lines + 1] = "a circle: " .. table.concat(names, " waits for ")
end

-- Adds what is known of the task of the node.
local function add_node(lines, node, whom)
  local state
  if node.task == core.running_task() then
    state = "runs at " .. (waitgraph.place_of(node.task) or "?")
  elseif node.what then
    local what = whom and node.awaited and whom or node.what
    state = ("waits for %s at %s"):format(what, node.where or "?")
  else
    state = "waits for its turn"
  end
  if node.created then state = state .. ", created at " .. node.created end
  lines[#lines + 1] = ("  task '%s' %s"):format(node.name, state)
  if whom and not node.awaited then lines[#lines + 1] = "    for " .. whom end
  if node.awaited and not core.istask(node.awaited) then
    local place = core.place_of(node.awaited)
    if place then lines[#lines + 1] = "    the future was made at " .. place end
  end
end

-- Adds a line, or more, about each of the first tasks of the loop that are not done, oldest
-- first; then the circles in which tasks wait for each other.
---@param loop loophost.EventLoop
---@param lines string[]
---@return string[] lines
function waitgraph.describe(loop, lines)
  local nodes, by_number, by_task = collect(loop)
  local name_of = new_namer()
  for i, node in ipairs(nodes) do
    local other, whom = blocker(node, by_number, by_task, name_of)
    node.waits_for = other
    if i <= MAX_TASKS then add_node(lines, node, whom) end
  end
  if #nodes > MAX_TASKS then
    lines[#lines + 1] = ("  and %d more tasks"):format(#nodes - MAX_TASKS)
  end
  local seen = {}
  for _, node in ipairs(nodes) do add_cycle(lines, node, seen) end
  return lines
end

local OURS = "@loophost/"

-- "file:line" of the script's innermost function that runs, from the caller outwards.
---@return string?
function waitgraph.here()
  for level = 2, math.huge do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and info.source:sub(1, #OURS) ~= OURS then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
end

-- "file:line" where the task waits, or where it runs.
---@param task loophost.Task
---@return string?
function waitgraph.place_of(task)
  if task == core.running_task() then return waitgraph.here() end
  local _, where = core.task_waits(task)
  return where
end

return waitgraph
