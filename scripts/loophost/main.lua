-- main.lua -- what the host does, in order: LUA_INIT, the options, the script, the prompt.
--
-- It runs nothing of that itself: it says what is next, and the main task calls it from C
-- (bindings/main_task.c). So a script finds on its stack, and in a traceback, what it
-- finds in lua5.4: itself, and one C function below.

local core = require "loophost.core"
require "loophost" -- gives the core its hooks

-- Asked before a task loads a module, as this one is the first time.
function core.begin_loading(name)
  function core.begin_loading() return false end
  core.begin_loading = require("loophost.require").begin_loading
  return core.begin_loading(name)
end

local warn = warn

-- Has the main task call fn(...), and returns whether that succeeded, and what it returned
-- or raised. A failure that is not dealt with is the script's.
local run = core.coroutine.yield

-- What is wrong before anything of the script runs is told without a traceback.
local Complaint = { __name = "loophost.Complaint" }
function Complaint:__tostring() return self.message end

local function check(value, message)
  if value then return value end
  error(setmetatable({ message = message }, Complaint), 0)
end

-- ---- errors ----

local function is_ours(err)
  for _, class in pairs(core.errors) do
    if core.iserror(err, class) then return true end
  end
  return false
end

-- The error as lua5.4 prints it; and whether a traceback belongs to it: an object that
-- turns itself into a string shows no other way where it came from, but that is its choice.
local function describe(err)
  if type(err) == "string" or type(err) == "number" then return tostring(err), true end
  local meta = debug.getmetatable(err)
  if type(meta) == "table" and rawget(meta, "__tostring") ~= nil then
    local ok, text = core.rawpcall(meta.__tostring, err)
    if ok and type(text) == "string" then return text, is_ours(err) end
  end
  return ("(error object is a %s value)"):format(type(err)), true
end

-- The story without our own functions in it, which say nothing to those who did not write
-- them; in debug mode they stay.
local function trim(story)
  if core.defaults.debug then return story end
  return (story:gsub("\n\tloophost/[^\n]*", ""))
end

local program -- the name before a message; nil at the prompt

---@param err any
---@param story? loophost.Story
function core.print_main_error(err, story)
  local text, wants_traceback = describe(err)
  if program then text = program .. ": " .. text end
  if story and (wants_traceback or story.cause) then
    text = text .. "\n" .. trim(tostring(story))
  end
  io.stderr:write(text, "\n")
end

-- ---- what --clock, --debug, --trace and --metrics say ----

-- Has every loop that is made from now on traced or counted until the end.
local function watch_loops(trace, metrics)
  local loops, new_loop, loop_closing = {}, core.new_loop, core.loop_closing

  function core.new_loop(...)
    loops[#loops + 1] = new_loop(...)
    return loops[#loops]
  end

  local function write_trace(loop)
    if trace then loop:print_trace(trace) end
  end

  function core.loop_closing(loop) -- which forgets its trace
    write_trace(loop)
    loop_closing(loop)
  end

  function core.at_exit()
    core.at_exit = nil -- a finaliser may exit, too
    for _, loop in ipairs(loops) do
      if not loop:is_closed() then write_trace(loop) end
      if metrics then loop:print_metrics(io.stderr) end
    end
    if trace then trace:close() end
  end
end

local function apply(options)
  core.defaults.clock = options.clock
  core.defaults.debug = options.debug
  core.defaults.trace = options.trace ~= nil
  if options.trace or options.metrics then
    watch_loops(options.trace and check(io.open(options.trace, "w")), options.metrics)
  end
end

-- ---- what is run ----

local function run_init()
  local name = "LUA_INIT_5_4"
  local init = os.getenv(name)
  if init == nil then
    name = "LUA_INIT"
    init = os.getenv(name)
  end
  if init == nil then return true end
  if init:sub(1, 1) == "@" then return run(check(loadfile(init:sub(2)))) end
  return run(check(load(init, "=" .. name)))
end

local actions = {}

function actions.e(statement)
  return run(check(load(statement, "=(command line)")))
end

function actions.l(argument)
  local name, module = argument:match "^(.-)=(.*)$"
  if name == nil then name, module = argument, argument end
  local ok, value = run(_G.require, module)
  if ok then _G[name] = value end
  return ok
end

function actions.W()
  warn("@on")
  return true
end

local function script_arguments()
  check(type(arg) == "table", "'arg' is not a table")
  local ok, list = core.rawpcall(function() return table.pack(table.unpack(arg)) end)
  return check(ok and list, "stack overflow (too many arguments to script)")
end

local function run_script(options)
  local chunk
  if options.is_test then
    local function complain(message) check(nil, message) end
    chunk = require("loophost.testing.command").prepare(arg, complain)
      or load("require 'busted.runner' { standalone = false }", "@loophost test")
  else
    chunk = check(loadfile(not options.script_is_stdin and options.script or nil))
  end
  local arguments = script_arguments()
  return run(chunk, table.unpack(arguments, 1, arguments.n))
end

local function run_prompt(options)
  program = nil
  require("loophost.repl")(run, options)
  program = options.program
  return false -- what failed there was told there
end

-- As pmain() in lua.c: what returns nothing ends it, with the failure of what ran last.
local function run_all(options)
  apply(options)
  if not options.ignores_environment and not run_init() then return end
  for _, action in ipairs(options.actions) do
    if not actions[action[1]](action[2]) then return end
  end
  if options.script and not run_script(options) then return end
  if options.interactive then return run_prompt(options) end
  if not options.script and not options.has_statement then
    if options.stdin_is_terminal then
      print(options.copyright)
      return run_prompt(options)
    end
    run(check(loadfile()))
  end
end

-- The main task calls what is returned, with what came of its last answer, until it
-- answers nothing, or false: then no failure counts.
---@param options table see push_options in host/main.c
---@return fun(ok?: boolean, ...: any): function?, ...
return function(options)
  program = options.program
  return core.coroutine.wrap(function() return run_all(options) end)
end
