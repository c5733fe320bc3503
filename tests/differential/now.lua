-- The statements that never wait, on the Lua side. See now.py.

local lh = require "loophost"
local World = require "world"

local show, show_error = World.show, World.show_error
local now = {}

local function run_block(world, frame, body)
  for _, st in ipairs(body) do
    if world:exhausted() then
      return
    end
    now[st.k](world, frame, st)
  end
end

local function inner_frame(frame)
  return { label = frame.label .. "'" }
end

local function callback(world, frame, st)
  local inner = inner_frame(frame)
  return function()
    world:log(inner, st, "cb")
    run_block(world, inner, st.body)
  end
end

function now.status_of(future)
  if not future:done() then
    return "pending"
  elseif future:cancelled() then
    return "cancelled"
  end
  local err = future:exception()
  if err ~= nil then
    return "failed " .. show_error(err)
  end
  return "result " .. show((future:result()))
end

local function with_slot(fn)
  return function(world, frame, st)
    local future = world.slots[st.s]
    if not future then
      world:log(frame, st, "no " .. st.s)
    else
      fn(world, frame, st, future)
    end
  end
end

local function with_task(fn)
  return with_slot(function(world, frame, st, future)
    if world.plain[future] then
      world:log(frame, st, "no task")
    else
      fn(world, frame, st, future)
    end
  end)
end

local function with_future(fn)
  return with_slot(function(world, frame, st, future)
    if world.plain[future] then
      fn(world, frame, st, future)
    else
      world:log(frame, st, "no future")
    end
  end)
end

-- The program itself.

function now.log(world, frame, st)
  world:log(frame, st, "log")
end

now["raise"] = function(world, frame, st)
  world:log(frame, st, "raise")
  error(World.user_error(st.msg))
end

function now.raise_cancel(world, frame, st)
  world:log(frame, st, "raise cancel")
  error(lh.CancelledError(st.msg))
end

function now.count(world, frame, st)
  local value = (world.counters[st.c] or 0) + st.n
  world.counters[st.c] = value
  world:log(frame, st, st.c .. "=" .. value)
end

function now.gc(world, frame, st)
  collectgarbage()
  world:log(frame, st, "gc")
end

function now.stop(world, frame, st)
  world:log(frame, st, "stop")
  world.loop:stop()
end

-- Tasks and futures.

function now.spawn(world, frame, st)
  world.slots[st.s] = lh.create_task(world.call, world, st.f, lh.current_task())
  world:log(frame, st, "spawned")
end

function now.gspawn(world, frame, st)
  local group = world.groups[st.g]
  if not group then
    world:log(frame, st, "no " .. st.g)
    return
  end
  local ok, task = pcall(group.create_task, group, world.call, world, st.f, lh.current_task())
  if not ok then
    local text = show_error(task)
    world:log(frame, st, text == "Misuse" and "group refuses" or text)
    return
  end
  world.slots[st.s] = task
  world:log(frame, st, "spawned")
end

function now.newfut(world, frame, st)
  local future = world.loop:create_future()
  world.slots[st.s] = future
  world.plain[future] = true
  world:log(frame, st, "future")
end

now.setres = with_future(function(world, frame, st, future)
  world:attempt(frame, st, future, "set_result", st.v)
end)

now.setexc = with_future(function(world, frame, st, future)
  world:attempt(frame, st, future, "set_exception", World.user_error(st.msg))
end)

now.cancel = with_slot(function(world, frame, st, future)
  if st.msg == nil then
    world:log(frame, st, show(future:cancel()))
  else
    world:log(frame, st, show(future:cancel(st.msg)))
  end
end)

now.uncancel = with_task(function(world, frame, st, task)
  world:log(frame, st, show(task:uncancel()))
end)

now.cancelling = with_task(function(world, frame, st, task)
  world:log(frame, st, show(task:cancelling()))
end)

now.status = with_slot(function(world, frame, st, future)
  world:log(frame, st, now.status_of(future))
end)

now.addcb = with_slot(function(world, frame, st, future)
  local inner = inner_frame(frame)
  local function run(done)
    world:log(inner, st, "done " .. now.status_of(done))
    run_block(world, inner, st.body)
  end
  world.callbacks[st.cb] = run
  future:add_done_callback(run)
  world:log(frame, st, "added")
end)

now.rmcb = with_slot(function(world, frame, st, future)
  local run = world.callbacks[st.cb]
  if not run then
    world:log(frame, st, "no " .. st.cb)
  else
    world:log(frame, st, show(future:remove_done_callback(run)))
  end
end)

function now.alltasks(world, frame, st)
  world:log(frame, st, "tasks " .. #lh.all_tasks())
end

-- Callbacks.

local function keep_handle(world, st, handle, timed)
  world.handles[st.h] = handle
  world.timed[st.h] = timed
end

function now.soon(world, frame, st)
  keep_handle(world, st, world.loop:call_soon(callback(world, frame, st)), false)
  world:log(frame, st, "soon")
end

function now.later(world, frame, st)
  keep_handle(world, st, world.loop:call_later(st.d / 1000, callback(world, frame, st)), true)
  world:log(frame, st, "later")
end

function now.at(world, frame, st)
  local when = world.loop:time() + st.d / 1000
  keep_handle(world, st, world.loop:call_at(when, callback(world, frame, st)), true)
  world:log(frame, st, "at")
end

function now.chain(world, frame, st)
  local inner = inner_frame(frame)
  local function hop(left)
    if world:exhausted() then
      return
    end
    world:log(inner, st, "hop " .. left)
    if left > 1 then
      world.loop:call_soon(hop, left - 1)
    else
      run_block(world, inner, st.body)
    end
  end
  world.loop:call_soon(hop, st.n)
end

function now.hcancel(world, frame, st)
  local handle = world.handles[st.h]
  if not handle then
    world:log(frame, st, "no " .. st.h)
    return
  end
  handle:cancel()
  world:log(frame, st, show(handle:cancelled()))
end

local function since_start(world, when)
  return ("%.0f"):format((when - world.origin) * 1000)
end

function now.hinfo(world, frame, st)
  local handle = world.handles[st.h]
  if not handle then
    world:log(frame, st, "no " .. st.h)
    return
  end
  local text = show(handle:cancelled())
  if world.timed[st.h] then
    text = text .. " " .. since_start(world, handle:when())
  end
  world:log(frame, st, text)
end

-- Groups and timeouts, from outside.

function now.resched(world, frame, st)
  local scope = world.timeouts[st.x]
  if not scope then
    world:log(frame, st, "no " .. st.x)
    return
  end
  local when = st.d and world.loop:time() + st.d / 1000
  world:attempt(frame, st, scope, "reschedule", when)
end

function now.xinfo(world, frame, st)
  local scope = world.timeouts[st.x]
  if not scope then
    world:log(frame, st, "no " .. st.x)
    return
  end
  local when = scope:when()
  local text = when and since_start(world, when) or "nil"
  world:log(frame, st, text .. " " .. show(scope:expired()))
end

-- Context variables.

function now.cvget(world, frame, st)
  world:log(frame, st, st.v .. "=" .. show(world.vars[st.v]:get()))
end

function now.cvset(world, frame, st)
  world.vars[st.v]:set(st.val)
  world:log(frame, st, "set")
end

-- What locks and queues do without waiting.

function now.release(world, frame, st)
  world:attempt(frame, st, world.objects[st.o], "release")
end

function now.locked(world, frame, st)
  world:log(frame, st, show(world.objects[st.o]:locked()))
end

function now.eset(world, frame, st)
  world.objects[st.o]:set()
  world:log(frame, st, "set")
end

function now.eclear(world, frame, st)
  world.objects[st.o]:clear()
  world:log(frame, st, "clear")
end

function now.einfo(world, frame, st)
  world:log(frame, st, show(world.objects[st.o]:is_set()))
end

function now.notify(world, frame, st)
  if st.n == "all" then
    world:attempt(frame, st, world.objects[st.o], "notify_all")
  else
    world:attempt(frame, st, world.objects[st.o], "notify", st.n)
  end
end

-- In Python these two are properties; a method or a field will do here.
local function property(object, name)
  local value = object[name]
  if type(value) == "function" then
    return value(object)
  end
  return value
end

function now.binfo(world, frame, st)
  local barrier = world.objects[st.o]
  world:log(frame, st, show(property(barrier, "n_waiting")) .. " "
    .. show(property(barrier, "broken")))
end

function now.putn(world, frame, st)
  world:attempt(frame, st, world.objects[st.o], "put_nowait", st.v)
end

function now.getn(world, frame, st)
  world:attempt(frame, st, world.objects[st.o], "get_nowait")
end

function now.tdone(world, frame, st)
  world:attempt(frame, st, world.objects[st.o], "task_done")
end

function now.qinfo(world, frame, st)
  local queue = world.objects[st.o]
  world:log(frame, st, show(queue:qsize()) .. " " .. show(queue:empty()) .. " "
    .. show(queue:full()))
end

function now.qshut(world, frame, st)
  world:attempt(frame, st, world.objects[st.o], "shutdown", st.now)
end

return now
