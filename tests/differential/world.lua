-- One running program on the Lua side: its log, its objects, its slots.
-- The other half is world.py; the lines that the two log must be equal.

local lh = require "loophost"

local STEP_LIMIT = 1500

-- Errors that a program cannot have meant.
local BUGS = { "attempt to ", "bad argument", "stack overflow", "not enough memory" }

local World = {}
World.__index = World

local MAKERS = {
  Lock = function() return lh.Lock() end,
  Event = function() return lh.Event() end,
  Condition = function(spec, objects) return lh.Condition(objects[spec.lock]) end,
  Semaphore = function(spec) return lh.Semaphore(spec.n) end,
  BoundedSemaphore = function(spec) return lh.BoundedSemaphore(spec.n) end,
  Barrier = function(spec) return lh.Barrier(spec.n) end,
  Queue = function(spec) return lh.Queue(spec.n) end,
  PriorityQueue = function(spec) return lh.PriorityQueue(spec.n) end,
  LifoQueue = function(spec) return lh.LifoQueue(spec.n) end,
}

local PLAIN_ERRORS = {
  TimeoutError = true, InvalidStateError = true, DeadlockError = true, QueueEmpty = true,
  QueueFull = true, QueueShutDown = true, BrokenBarrierError = true,
}

local function list_of(items, show)
  local texts = {}
  for place = 1, items.n or #items do
    texts[place] = show(items[place])
  end
  return "[" .. table.concat(texts, ", ") .. "]"
end

local function field(value, name)
  local found, result = pcall(function() return value[name] end)
  return found and result or nil
end

-- Misuse has no fixed name or text; an error of the interpreter itself has.
function World.show_error(err)
  local name = type(err) ~= "string" and field(err, "name")
  if name == "UserError" then
    return "UserError(" .. err.message .. ")"
  elseif name == "CancelledError" then
    return "CancelledError(" .. (err.message or "") .. ")"
  elseif name == "ExceptionGroup" then
    return "ExceptionGroup" .. list_of(err.exceptions, World.show_error)
  elseif name and PLAIN_ERRORS[name] then
    return name
  end
  local text = tostring(err)
  for _, sign in ipairs(BUGS) do
    if text:find(sign, 1, true) then
      return "BUG " .. text
    end
  end
  return "Misuse"
end

function World.show(value)
  if type(value) == "table" and not value.name then
    return list_of(value, World.show)
  elseif type(value) == "table" or type(value) == "userdata" or type(value) == "string" then
    return World.show_error(value) -- programs compute with numbers only
  end
  return tostring(value)
end

function World.user_error(message)
  return { name = "UserError", message = message }
end

function World.new(program, loop)
  local world = setmetatable({
    program = program, loop = loop, origin = loop:time(), lines = {},
    closed = false, steps = 0, frames = 0,
    slots = {}, plain = {}, groups = {}, timeouts = {}, handles = {}, timed = {},
    callbacks = {}, counters = {}, kids = {}, targets = {}, vars = {}, objects = {},
  }, World)
  for _, var in ipairs(program.vars) do
    world.vars[var[1]] = lh.ContextVar(var[1], var[2])
  end
  for _, spec in ipairs(program.objects) do
    world.objects[spec.o] = MAKERS[spec.kind](spec, world.objects)
  end
  return world
end

function World:say(text)
  if not self.closed then
    io.write(("%.0f %s\n"):format((self.loop:time() - self.origin) * 1000, text))
  end
end

function World:log(frame, st, text)
  self:say(("%s.%d %s"):format(frame.label, st.i, text))
end

function World:exhausted()
  self.steps = self.steps + 1
  if self.steps == STEP_LIMIT then
    self:say("step limit")
  end
  return self.steps >= STEP_LIMIT
end

function World:attempt(frame, st, object, method, ...)
  local ok, result = pcall(object[method], object, ...)
  if not ok then
    self:log(frame, st, "!" .. World.show_error(result))
  else
    self:log(frame, st, type(result) == "number" and tostring(result) or "ok")
  end
end

function World:adopt(parent, task)
  if parent and parent ~= task then
    local kids = self.kids[parent] or {}
    self.kids[parent] = kids
    kids[#kids + 1] = task
  end
end

function World:leads_to(start, goal, seen)
  if start == goal then
    return true
  elseif seen[start] or start:done() then
    return false
  end
  seen[start] = true
  for _, following in ipairs { self.kids[start] or {}, self.targets[start] or {} } do
    for _, each in ipairs(following) do
      if self:leads_to(each, goal, seen) then
        return true
      end
    end
  end
  return false
end

function World:target(frame, st, slot)
  local future = self.slots[slot]
  if not future then
    self:log(frame, st, "no " .. slot)
  elseif self:leads_to(future, frame.task, {}) then
    self:log(frame, st, "cycle " .. slot)
  else
    return future
  end
end

function World:waiting(frame, futures)
  self.targets[frame.task] = futures
end

function World:exception_handler()
  return function(_, context)
    if context.handle then
      self:say("handler " .. World.show_error(context.exception))
    elseif tostring(context.message):find("^unhandled exception during") then
      self:say("shutdown " .. World.show_error(context.exception))
    end
  end
end

return World
