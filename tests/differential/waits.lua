-- The statements that may wait, on the Lua side, and how a program runs.
-- A statement's function returns nothing to go on, or true and the value that
-- the function of the program returns. See waits.py.

local lh = require "loophost"
local World = require "world"
local now = require "now"

local show, show_error = World.show, World.show_error
-- With stock lua5.4 the globals are left alone; in the host these are the same.
local pcall, xpcall, rawpcall = lh.pcall or pcall, lh.xpcall or xpcall, lh.rawpcall
local coroutine = lh.coroutine or coroutine
local waits = {}

local function seconds(ms)
  return ms and ms / 1000
end

-- Run fn at the end of the block: a `finally` clause, which may wait.
local function finally(fn)
  return setmetatable({}, { __close = function(_, err) fn(err) end })
end

local function block(world, frame, body)
  for _, st in ipairs(body) do
    if world:exhausted() then
      return true, -1
    end
    world:waiting(frame, nil)
    if now[st.k] then
      now[st.k](world, frame, st)
    else
      local returned, value = waits[st.k](world, frame, st)
      if returned then
        return true, value
      end
    end
  end
end

-- A function of the program, as the body of a task or in place.
function World:call(name, parent)
  self.frames = self.frames + 1
  local frame = {
    label = tostring(self.frames), number = self.frames, task = lh.current_task(),
  }
  self:adopt(parent, frame.task)
  local func = self.program.funcs[name]
  self:say(frame.label .. " begin " .. name)
  local returned, value
  if func.watch then
    local _ <close> = finally(function(err)
      if err ~= nil then
        self:say(frame.label .. " fails " .. show_error(err))
      end
    end)
    returned, value = block(self, frame, func.body)
  else
    returned, value = block(self, frame, func.body)
  end
  self:say(frame.label .. " ends " .. frame.task:cancelling())
  if returned then
    return value
  end
  return frame.number
end

local function closure(world, frame, name)
  return function()
    return world:call(name, frame.task)
  end
end

-- Control.

function waits.ret(_, _, st)
  return true, st.v
end

function waits.loop(world, frame, st)
  for _ = 1, st.n do
    local returned, value = block(world, frame, st.body)
    if returned then
      return true, value
    end
  end
end

-- The waits pass through the script's own coroutine; its yields are its own.
function waits.gen(world, frame, st)
  local items = coroutine.wrap(function()
    for number, each in ipairs(st.body) do
      block(world, frame, { each })
      coroutine.yield(number)
    end
  end)
  for number in items do
    world:log(frame, st, "item " .. number)
  end
end

local CATCHES = {
  error = function() return true end,
  cancel = function(err) return lh.iserror(err, lh.CancelledError) end,
  all = function() return true end,
}

local function protected(st, ...)
  if st.on ~= "error" then
    return rawpcall(...)
  elseif st.form == 1 then
    local fn = ...
    return xpcall(fn, function(err) return err end, select(2, ...))
  end
  return pcall(...)
end

local function try_except(world, frame, st)
  if not st.on then
    return block(world, frame, st.body)
  end
  local ok, returned, value = protected(st, block, world, frame, st.body)
  if ok then
    return returned, value
  end
  local err = returned
  if not CATCHES[st.on](err) then
    error(err, 0)
  end
  world:log(frame, st, "caught " .. show_error(err) .. " " .. frame.task:cancelling())
  if st["then"] == "uncancel" then
    world:log(frame, st, "uncancel " .. frame.task:uncancel())
  end
  returned, value = block(world, frame, st.handler)
  if st["then"] == "reraise" then
    error(err, 0)
  end
  return returned, value
end

waits["try"] = function(world, frame, st)
  if not st.finally then
    return try_except(world, frame, st)
  end
  local _ <close> = finally(function()
    world:log(frame, st, "finally")
    block(world, frame, st.finally)
  end)
  return try_except(world, frame, st)
end

-- Sleeps and calls: each may be said in several ways.

local SLEEPS = {
  [0] = function(st) return lh.sleep(st.d / 1000, st.i) end,
  [1] = function(st) return lh.await(lh.Sleep(st.d / 1000)) end,
  [2] = function(st) return coroutine.yield(lh.Sleep(st.d / 1000)) end,
  [3] = function(st)
    local sleeper = setmetatable({}, { __index = function(_, d) return lh.sleep(d, st.i) end })
    return sleeper[st.d / 1000]
  end,
}

function waits.sleep(world, frame, st)
  local result = SLEEPS[st.form](st)
  world:log(frame, st, "slept " .. show(result))
end

function waits.yield(world, frame, st)
  if st.bare then
    coroutine.yield()
  else
    lh.sleep(0)
  end
  world:log(frame, st, "yielded")
end

function waits.call(world, frame, st)
  local result
  if st.form == 0 then
    result = world:call(st.f, frame.task)
  else
    result = lh.await(closure(world, frame, st.f))
  end
  world:log(frame, st, show(result))
end

-- Waits for tasks and futures.

local function futures_of(world, frame, st)
  local found, list = {}, {}
  for _, item in ipairs(st.items) do
    if item.s then
      local future = world:target(frame, st, item.s)
      found[item.s] = future
      list[#list + 1] = future
    end
  end
  return found, list
end

waits["await"] = function(world, frame, st)
  local future = world:target(frame, st, st.s)
  if not future then
    return
  end
  world:waiting(frame, { future })
  local result = lh.await(future)
  world:log(frame, st, show(result))
end

function waits.wait_for(world, frame, st)
  local result
  if st.item.f then
    result = lh.wait_for(closure(world, frame, st.item.f), seconds(st.d))
  else
    local future = world:target(frame, st, st.item.s)
    if not future then
      return
    end
    world:waiting(frame, { future })
    result = lh.wait_for(future, seconds(st.d))
  end
  world:log(frame, st, show(result))
end

function waits.shield(world, frame, st)
  local future
  if st.item.f then
    future = lh.create_task(closure(world, frame, st.item.f))
    world.slots[st.s] = future
  else
    future = world:target(frame, st, st.item.s)
    if not future then
      return
    end
  end
  world:waiting(frame, { future })
  local result = lh.shield(future)
  world:log(frame, st, show(result))
end

function waits.gather(world, frame, st)
  local known, list = futures_of(world, frame, st)
  local items = {}
  for _, item in ipairs(st.items) do
    if item.f then
      items[#items + 1] = closure(world, frame, item.f)
    elseif known[item.s] then
      items[#items + 1] = known[item.s]
    end
  end
  world:waiting(frame, list)
  local results = lh.gather(items, { return_exceptions = st.re })
  world:log(frame, st, show(results))
end

local function tasks_of(world, frame, st)
  local known = futures_of(world, frame, st)
  local items = {}
  for _, item in ipairs(st.items) do
    if item.f then
      items[#items + 1] = lh.create_task(closure(world, frame, item.f))
    elseif known[item.s] then
      items[#items + 1] = known[item.s]
    end
  end
  return items
end

local function places(items, some)
  local found = {}
  for _, each in ipairs(some) do
    for place, item in ipairs(items) do
      if item == each then
        found[#found + 1] = place
        break
      end
    end
  end
  table.sort(found)
  return show(found)
end

function waits.wait(world, frame, st)
  local items = tasks_of(world, frame, st)
  if #items == 0 then
    world:log(frame, st, "nothing to wait for")
    return
  end
  world:waiting(frame, items)
  local done, pending = lh.wait(items, { timeout = seconds(st.d), return_when = st.mode })
  world:log(frame, st,
    "done " .. places(items, done) .. " pending " .. places(items, pending))
end

function waits.ascomp(world, frame, st)
  local items = tasks_of(world, frame, st)
  local left = st.n
  world:waiting(frame, items)
  local step, state, control = lh.as_completed(items, seconds(st.d))
  local ended = false
  local function next_text()
    local task = step(state, control)
    control = task
    if task == nil then
      ended = true
    else
      return show((lh.await(task)))
    end
  end
  repeat
    local ok, text = true
    if st.each then
      ok, text = pcall(next_text)
    else
      text = next_text()
    end
    if not ok and lh.iserror(text, "TimeoutError") then
      world:log(frame, st, "timed out")
      break
    elseif not ended then
      world:log(frame, st, ok and text or show_error(text))
      left = left - 1
    end
  until ended or left == 0
  world:log(frame, st, "end")
end

-- Scopes.

function waits.group(world, frame, st)
  local returned, value
  do
    local tg <close> = lh.TaskGroup()
    world.groups[st.g] = tg
    returned, value = block(world, frame, st.body)
    world:log(frame, st, "closing")
  end
  world:log(frame, st, "closed")
  return returned, value
end

function waits.timeout(world, frame, st)
  local returned, value
  local made
  if st.at then
    made = lh.timeout_at(world.loop:time() + st.d / 1000)
  else
    made = lh.timeout(seconds(st.d))
  end
  do
    local scope <close> = made
    world.timeouts[st.x] = scope
    returned, value = block(world, frame, st.body)
  end
  world:log(frame, st, "in time " .. show(made:expired()))
  return returned, value
end

function waits.cvwith(world, frame, st)
  local var = world.vars[st.v]
  local token = var:set(st.val)
  local _ <close> = finally(function()
    var:reset(token)
    world:log(frame, st, st.v .. "=" .. show(var:get()))
  end)
  return block(world, frame, st.body)
end

-- Locks, events, conditions, semaphores, barriers.

waits["with"] = function(world, frame, st)
  local returned, value
  do
    local _ <close> = world.objects[st.o]:acquire()
    world:log(frame, st, "held")
    returned, value = block(world, frame, st.body)
  end
  world:log(frame, st, "released")
  return returned, value
end

function waits.acquire(world, frame, st)
  world.objects[st.o]:acquire()
  world:log(frame, st, "acquired")
end

function waits.ewait(world, frame, st)
  world:log(frame, st, show(world.objects[st.o]:wait()))
end

function waits.cwait(world, frame, st)
  world:log(frame, st, show(world.objects[st.o]:wait()))
end

function waits.cwaitfor(world, frame, st)
  local function enough()
    return (world.counters[st.c] or 0) >= st.n
  end
  world:log(frame, st, show(world.objects[st.o]:wait_for(enough)))
end

function waits.bwait(world, frame, st)
  world:log(frame, st, show(world.objects[st.o]:wait()))
end

function waits.breset(world, frame, st)
  world.objects[st.o]:reset()
  world:log(frame, st, "reset")
end

function waits.babort(world, frame, st)
  world.objects[st.o]:abort()
  world:log(frame, st, "aborted")
end

-- Queues.

function waits.put(world, frame, st)
  world.objects[st.o]:put(st.v)
  world:log(frame, st, "put")
end

function waits.get(world, frame, st)
  world:log(frame, st, show((world.objects[st.o]:get())))
end

function waits.join(world, frame, st)
  world.objects[st.o]:join()
  world:log(frame, st, "joined")
end

return waits
