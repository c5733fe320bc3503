-- Runs programs with loophost: loophost interp.lua PROGRAMS.json [FIRST]
-- FIRST skips what a process before this one has run already. See interp.py.

local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path

local cjson = require "cjson"
local lh = require "loophost"
local World = require "world"
local now = require "now"
require "waits"

local FOREVER_SECONDS = 3

-- JSON knows neither integers nor absence.
local function plain(value)
  if type(value) == "number" then
    return math.tointeger(value) or value
  elseif type(value) == "table" then
    for key, each in pairs(value) do
      if each == cjson.null then
        value[key] = nil
      else
        value[key] = plain(each)
      end
    end
  end
  return value
end

local function read_programs(path)
  local file <close> = assert(io.open(path))
  return plain(cjson.decode(file:read("a")))
end

-- A subclass that changes nothing: all that the runtime does goes through it.
local Subclass
local function subclass()
  if not Subclass then
    local methods = {}
    for _, name in ipairs { "time", "call_soon", "call_later", "call_at", "create_task",
                            "create_future", "run_once", "call_exception_handler" } do
      methods[name] = function(self, ...)
        return lh.EventLoop[name](self, ...)
      end
    end
    Subclass = lh.EventLoop:subclass(methods)
  end
  return Subclass
end

local function new_loop(options)
  local settings = { clock = "virtual", debug = options.debug, trace = options.trace }
  if options.subclass then
    return subclass()(settings)
  end
  return lh.new_event_loop(settings)
end

local function main_of(world, name)
  return function()
    world.slots.M = lh.current_task()
    return world:call(name, nil)
  end
end

local function report_call(world, fn, ...)
  local ok, result = lh.rawpcall(fn, ...)
  if ok then
    world:say("returns " .. World.show(result))
  elseif lh.iserror(result, "DeadlockError") then
    world:say("deadlock")
  else
    world:say("fails " .. World.show_error(result))
  end
end

local entries = {}

function entries.runner(world, program)
  local runner = lh.Runner { loop_factory = function() return world.loop end }
  for _, name in ipairs(program.mains) do
    report_call(world, runner.run, runner, main_of(world, name))
  end
  report_call(world, runner.close, runner)
end

-- lh.run asks the policy for its loop.
function entries.run(world, program)
  local Policy = lh.EventLoopPolicy:subclass {
    new_event_loop = function() return world.loop end,
  }
  local before = lh.get_event_loop_policy()
  lh.set_event_loop_policy(Policy())
  report_call(world, lh.run, main_of(world, program.mains[1]))
  lh.set_event_loop_policy(before)
end

function entries.loop(world, program)
  for _, name in ipairs(program.mains) do
    report_call(world, world.loop.run_until_complete, world.loop, main_of(world, name))
  end
  world.loop:close()
end

function entries.forever(world, program)
  local loop = world.loop
  for _, name in ipairs(program.mains) do
    local task = loop:create_task(main_of(world, name))
    loop:call_later(FOREVER_SECONDS, loop.stop, loop)
    report_call(world, loop.run_forever, loop)
    world:say(now.status_of(task))
  end
  loop:close()
end

local function run_program(program)
  local loop = new_loop(program.options)
  local world = World.new(program, loop)
  loop:set_exception_handler(world:exception_handler())
  entries[program.entry](world, program)
  world:say("closed")
  world.closed = true
end

io.stdout:setvbuf("line")
local programs = read_programs(arg[1])
for number = tonumber(arg[2] or 0), #programs - 1 do
  print("=== begin " .. number)
  run_program(programs[number + 1])
  print("=== end " .. number)
end
