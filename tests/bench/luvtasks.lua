-- luvtasks.lua -- tasks over luv, as its users write them: coroutines that callbacks resume.
--
-- What is ready stands in a ring that an idle handle drains once in a turn of the loop.

local uv = require "luv"

local tasks = {}
local ready, first, last, draining = {}, 1, 0, false
local idle = uv.new_idle()

local function resume(co)
  local ok, err = coroutine.resume(co)
  if not ok then error(debug.traceback(co, err)) end
end

local function drain()
  local stop = last
  while first <= stop do
    local co = ready[first]
    ready[first] = nil
    first = first + 1
    resume(co)
  end
  if first > last then
    idle:stop()
    draining = false
  end
end

local function soon(co)
  last = last + 1
  ready[last] = co
  if draining then return end
  draining = true
  idle:start(drain)
end

tasks.soon = soon

function tasks.spawn(fn)
  local co = coroutine.create(fn)
  soon(co)
  return co
end

function tasks.yield()
  soon(coroutine.running())
  coroutine.yield()
end

function tasks.sleep(seconds)
  local co, timer = coroutine.running(), uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    resume(co)
  end)
  coroutine.yield()
end

function tasks.resident()
  return uv.resident_set_memory()
end

return tasks
