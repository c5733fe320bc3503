-- eventloop.lua -- the class of event loops: how one is made, what it does with errors,
-- and what it prints about itself.
--
-- The methods that schedule and run are C's and stand in the same table already; a loop
-- is a userdata that looks up its own fields first, then its class.

local core = require "loophost.core"
local class = require "loophost.class"
local argument = require "loophost.argument"

---@class loophost.EventLoop: loophost.Class
---@field slow_callback_duration number seconds; a callback that takes longer is named in debug mode
---@overload fun(opts?: loophost.LoopOptions): loophost.EventLoop
local EventLoop = core.methods
EventLoop.slow_callback_duration = 0.1

---@class loophost.LoopOptions
---@field clock? "monotonic"|"virtual"
---@field debug? boolean
---@field trace? boolean record what happens from the beginning
---@field seed? integer explores: an order of what asyncio leaves open (descriptors of one poll,
--- equal deadlines, callbacks of different sources) that only the seed decides; it seeds
--- `math.random` as well, so that a run can be repeated

local CLOCKS = { monotonic = true, virtual = true }
local OPTIONS = { clock = true, debug = true, trace = true, seed = true }

-- Fills in what a new loop needs; an error leaves it to the caller to close it.
local function prepare(loop, opts, ...)
  local defaults = core.defaults
  if opts.debug or (opts.debug == nil and defaults.debug) then loop:set_debug(true) end
  if opts.trace or (opts.trace == nil and defaults.trace) then loop:set_trace(true) end
  if opts.seed ~= nil then
    math.randomseed(opts.seed)
    core.explore(loop, opts.seed)
  end
  local init = loop.init
  if init then init(loop, ...) end
end

local function construct(loop_class, ...)
  local opts = ...
  if type(opts) ~= "table" then opts = {} end
  local clock = opts.clock or core.defaults.clock or "monotonic"
  if not CLOCKS[clock] then
    argument.fail(1, "EventLoop", ("no such clock: %s"):format(clock), 2)
  end
  if clock == "virtual" then core.note_wait = require("loophost.waitgraph").note_wait end
  local loop = core.new_loop(loop_class, clock)
  local ok, err = core.rawpcall(prepare, loop, opts, ...)
  if not ok then
    loop:close()
    error(err, 0)
  end
  return loop
end

class.new("loophost.EventLoop", EventLoop, construct)

local eventloop = { EventLoop = EventLoop }

---@return boolean
function eventloop.is(value)
  local meta = type(value) == "userdata" and getmetatable(value)
  return type(meta) == "table" and meta.__name == "loophost.EventLoop"
end

-- A loop as the options say; without any, as the policy says. As asyncio.new_event_loop.
---@param opts? loophost.LoopOptions
---@return loophost.EventLoop
function eventloop.new_event_loop(opts)
  if opts == nil then return require("loophost.policy").get_event_loop_policy():new_event_loop() end
  argument.optional(opts, "table", 1, "new_event_loop", 2)
  for name in pairs(opts) do
    if not OPTIONS[name] then
      argument.fail(1, "new_event_loop", ("no such option: %s"):format(name), 2)
    end
  end
  if opts.clock ~= nil and not CLOCKS[opts.clock] then
    argument.fail(1, "new_event_loop", ("no such clock: %s"):format(opts.clock), 2)
  end
  if opts.seed ~= nil and math.type(opts.seed) ~= "integer" then
    argument.fail(1, "new_event_loop", "seed must be an integer", 2)
  end
  return EventLoop(opts)
end

-- ---- errors that nobody is there to catch ----

---@class loophost.ErrorContext
---@field message string
---@field exception? any
---@field traceback? string
---@field handle? userdata
---@field task? loophost.Task
---@field future? loophost.Future

-- Who is told of errors that nobody catches; nil: default_exception_handler.
---@param handler? fun(loop: loophost.EventLoop, context: loophost.ErrorContext)
function EventLoop:set_exception_handler(handler)
  local meta = getmetatable(handler)
  if handler ~= nil and type(handler) ~= "function" and not (meta and meta.__call) then
    argument.mismatch(1, "set_exception_handler", "function", handler, 2)
  end
  self.exception_handler = handler
end

---@return function? handler nil if none was set
function EventLoop:get_exception_handler()
  return self.exception_handler
end

local SHOWN_APART = { message = true, exception = true, traceback = true, context = true }

-- What the context says, as lines: the message, what it is about, the error, its traceback;
-- then the same of the context that another handler failed on.
local function describe(context, lines)
  lines[#lines + 1] = tostring(context.message or "Unhandled exception in event loop")
  local names = {}
  for name, value in pairs(context) do
    local shown = SHOWN_APART[name] or name == "future" and value == context.task
    if not shown then names[#names + 1] = tostring(name) end
  end
  table.sort(names)
  for _, name in ipairs(names) do lines[#lines + 1] = name .. ": " .. tostring(context[name]) end
  if context.exception ~= nil then lines[#lines + 1] = tostring(context.exception) end
  if context.traceback ~= nil then lines[#lines + 1] = tostring(context.traceback) end
  if type(context.context) == "table" then describe(context.context, lines) end
  return lines
end

-- Writes to stderr what the context says.
---@param context loophost.ErrorContext
function EventLoop:default_exception_handler(context)
  io.stderr:write(table.concat(describe(context, {}), "\n"), "\n")
end

-- The handler that is left when another one has failed; it must not fail itself.
local function default_handler(loop, context)
  local ok, err = core.rawpcall(loop.default_exception_handler, loop, context)
  if not ok then
    local _, text = core.rawpcall(tostring, err)
    io.stderr:write("Exception in default exception handler: ", tostring(text), "\n")
  end
end

-- Hands an error to the loop's exception handler, or to the default one. Never raises.
---@param context loophost.ErrorContext
function EventLoop:call_exception_handler(context)
  local handler = self.exception_handler
  if handler == nil then return default_handler(self, context) end
  local ok, err = core.rawpcall(handler, self, context)
  if ok then return end
  default_handler(self, {
    message = "Unhandled error in exception handler", exception = err, context = context,
  })
end

-- ---- what a loop tells about itself ----

-- Prints the counters, one a line, in alphabetic order: "tasks_created: 3".
---@param file? file* default: stdout
function EventLoop:print_metrics(file)
  file = file or io.stdout
  local metrics, names = self:get_metrics(), {}
  for name in pairs(metrics) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = metrics[name]
    local form = math.type(value) == "float" and "%s: %.6f\n" or "%s: %d\n"
    file:write(form:format(name, value))
  end
end

-- Prints what was traced, one event a line: "[0.1000s] call_later: delay=0.1, callback=x.lua:3".
---@param file? file* default: stdout
function EventLoop:print_trace(file)
  file = file or io.stdout
  for _, event in ipairs(self:get_trace()) do
    file:write(("[%.4fs] %s: %s\n"):format(event.time, event.event, event.details))
  end
end

argument.methods("EventLoop", EventLoop, eventloop.is)

return eventloop
