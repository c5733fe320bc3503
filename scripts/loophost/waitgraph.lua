-- waitgraph.lua -- who waits for what, and for whom: the tasks of a loop as people want to
-- see them when nothing goes on.

local core = require "loophost.core"
local tasks = require "loophost.tasks"

local waitgraph = {}

local MAX_NAMES = 20 -- that are told of in a circle

local function kind_of(object)
  local meta = debug.getmetatable(object)
  local name = type(meta) == "table" and meta.__name
  return type(name) == "string" and name:gsub("^loophost%.", ""):lower() or type(object)
end

-- Names things that have none: "lock 1 (made at x.lua:3)".
local function new_namer()
  local names, counts = {}, {}
  return function(object, place)
    if names[object] then return names[object] end
    local kind = kind_of(object)
    counts[kind] = (counts[kind] or 0) + 1
    local name = ("%s %d"):format(kind, counts[kind])
    names[object] = name
    return place and ("%s (made at %s)"):format(name, place) or name
  end
end

-- Whether the file is one of busted's or luassert's own: those look up globals and raise errors
-- in the name of a test.
local function is_frameworks(path)
  return path:find "/busted/[^/]*%.lua$" ~= nil or path:find "/luassert/[^/]*%.lua$" ~= nil
end

-- "file:line" where the task was created; nil if that was busted itself.
---@param task loophost.Task
---@return string?
function waitgraph.created(task)
  local place = core.task_created(task)
  if place and not is_frameworks((place:gsub(":%d+$", ""))) then return place end
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

-- What a wait of several parts is made of: by the future or queue that it comes down to.
local parts = setmetatable({}, { __mode = "k" })

-- Once there was a loop in virtual time, or a test, core.note_wait is this function: a wait for the
-- object is a wait for the futures of the list (or of the keys of a set), or for an object of
-- another kind.
---@param object any what a task will be found waiting for
---@param what string how the script calls the wait
---@param list? table
---@param instead? any
function waitgraph.note_wait(object, what, list, instead)
  parts[object] = { what = what, list = list, instead = instead }
end

-- The futures of the list, or set, that are not done: the tasks first, oldest first.
local function pending(list)
  local found, others, seen = {}, {}, {}
  local function add(future)
    if not core.isfuture(future) or future:done() or seen[future] then return end
    seen[future] = true
    table.insert(core.istask(future) and found or others, future)
  end
  for key, value in pairs(list) do
    add(key)
    add(value)
  end
  return tasks.sort(found), others
end

-- The nodes of the tasks among the futures, and how those are said.
local function blockers_of(list, by_task)
  local nodes, words = {}, {}
  local found, others = pending(list)
  for _, task in ipairs(found) do
    nodes[#nodes + 1] = by_task[task]
    words[#words + 1] = ("task '%s'"):format(task:get_name())
  end
  for _, future in ipairs(others) do
    local place = core.place_of(future)
    words[#words + 1] = place and "a future made at " .. place or "a future"
  end
  local more = #words - MAX_NAMES
  if more > 0 then words[MAX_NAMES + 1] = ("%d more"):format(more) end
  return nodes, table.concat(words, ", ", 1, math.min(#words, MAX_NAMES + 1))
end

-- The nodes for which the node waits; and how that is said, in the line below it or, if it is
-- awaited by itself, in its own.
local function blockers(node, by_number, by_task, name_of)
  local object = node.awaited or node.object
  if object == nil then return {}, nil end
  local part = parts[object]
  if part then
    node.what, node.awaited = part.what, nil
    if part.list then return blockers_of(part.list, by_task) end
    object = part.instead
  elseif node.awaited then
    if not core.istask(object) then return {}, nil end
    return { by_task[object] }, ("task '%s'"):format(object:get_name())
  end
  local text = name_of(object, core.place_of(node.object))
  local is_locked, holder = core.lock_holder(object)
  if is_locked == nil then
    return {}, ("%s, which is %s"):format(text, tostring(object))
  elseif not is_locked then
    return {}, text
  end
  local other = by_number[holder]
  local who = holder == 0 and "by a callback" or other and ("by task '%s'"):format(other.name)
    or ("by Task-%d, which has ended"):format(holder)
  return { other }, ("%s, held %s"):format(text, who)
end

-- Adds the circle that the path ends with.
local function add_circle(lines, path, first)
  local names = {}
  local last = math.min(#path, first + MAX_NAMES - 1)
  for i = first, last do names[#names + 1] = ("'%s'"):format(path[i].name) end
  if last < #path then names[#names + 1] = ("%d more"):format(#path - last) end
  names[#names + 1] = ("'%s'"):format(path[first].name)
  lines[#lines + 1] = "a circle: " .. table.concat(names, " waits for ")
end

-- Adds the circles in which tasks wait for each other, from the node on.
local function add_circles(lines, node, path)
  local at = #path + 1
  node.at, path[at] = at, node
  for _, other in ipairs(node.waits_for) do
    if other.at == nil then
      add_circles(lines, other, path)
    elseif path[other.at] == other then
      add_circle(lines, path, other.at)
    end
  end
  path[at] = nil
end

-- Adds what is known of the task of the node.
local function add_node(lines, node, whom)
  local state
  if node.task == core.running_task() then
    state = "runs at " .. (waitgraph.place_of(node.task) or "?")
  elseif node.what then
    local what = whom and node.awaited and whom or node.what
    state = "waits for " .. what
    if node.where then state = state .. " at " .. node.where end
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

-- Adds a line, or more, about each task of the loop that is not done, oldest first, or only about
-- so many; then the circles in which tasks wait for each other.
---@param loop loophost.EventLoop
---@param lines string[]
---@param most? integer
---@return string[] lines
function waitgraph.describe(loop, lines, most)
  local nodes, by_number, by_task = collect(loop)
  local name_of = new_namer()
  for i, node in ipairs(nodes) do
    local whom
    node.waits_for, whom = blockers(node, by_number, by_task, name_of)
    if i <= (most or i) then add_node(lines, node, whom) end
  end
  if most and #nodes > most then
    lines[#lines + 1] = ("  and %d more tasks"):format(#nodes - most)
  end
  for _, node in ipairs(nodes) do
    if not node.at then add_circles(lines, node, {}) end
  end
  return lines
end

local OURS = "@loophost/"

-- "file:line" of the script's innermost function that runs, from the caller outwards.
---@return string?
function waitgraph.here()
  for level = 2, math.huge do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    local is_script = info.currentline > 0 and info.source:sub(1, #OURS) ~= OURS
    if is_script and not is_frameworks(info.source) then
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
