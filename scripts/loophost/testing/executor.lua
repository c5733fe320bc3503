-- executor.lua -- how `loophost test` runs what is in a spec: each test in a scope, each
-- function with a time limit, on the loop of its file.
--
-- A test runs in the host's main task and waits there. It begins outside of any loop, so
-- that it may also run one of its own. The loop that it waits on is the file's: what setup
-- opens is on the same loop as the tests; one for each kind of clock.

local core = require "loophost.core"
local eventloop = require "loophost.eventloop"
local policy = require "loophost.policy"
local reports = require "loophost.reports"
local limit = require "loophost.testing.limit"
local scope = require "loophost.testing.scope"

local executor = {}

local busted -- busted's core
local loops = {} -- clock -> the file's loop
local file_scope -- around the file under way
local test -- the element of the test under way, or nil
local holding -- what the test has published of failures, until it is complete; or nil

-- ---- clocks ----

-- Whether the word is among the tags of the name: #real is no tag of "#realistic".
local function has_tag(name, word)
  return name:find("#" .. word .. "%f[^%w_]") ~= nil
end

-- What the element, or the nearest around it, says: by a tag in its name, or use_clock.
local function clock_of(element)
  while element do
    local name = type(element.name) == "string" and element.descriptor ~= "file" and element.name
    if element.loophost_clock then return element.loophost_clock end
    if name and has_tag(name, "virtual") then return "virtual" end
    if name and has_tag(name, "real") then return "monotonic" end
    element = busted.context.parent(element)
  end
  return core.defaults.clock or "monotonic"
end

local settings_of = setmetatable({}, { __mode = "k" }) -- a loop's, while no test runs

local function note_settings(loop)
  local kind, is_frozen = core.clock_kind(loop)
  settings_of[loop] = {
    kind = kind, is_frozen = is_frozen, handler = loop:get_exception_handler(),
    debug = loop:get_debug(),
  }
end

local function loop_for(clock)
  local loop = loops[clock]
  if loop == nil or loop:is_closed() then
    loop = eventloop.EventLoop { clock = clock }
    loops[clock] = loop
    scope.excuse(loop)
    note_settings(loop)
    if file_scope then file_scope:collect_errors(loop) end
  end
  return loop
end

-- Outside of any loop, and with the element's as the current one.
local function choose_loop(element)
  core.leave_loop()
  policy.set_event_loop(loop_for(clock_of(element)))
end

-- Chooses the clock for what is in this block, or for the rest of this test.
---@param clock "virtual"|"monotonic"
function executor.use_clock(clock)
  local element = test or busted.context.get()
  element.loophost_clock = clock
  if test then choose_loop(element) end
end

local function close_loops()
  core.leave_loop()
  for clock, loop in pairs(loops) do
    if not loop:is_closed() then loop:close() end
    loops[clock] = nil
  end
  policy.set_event_loop(nil)
end

local function file_loops()
  local list = {}
  for _, loop in pairs(loops) do
    if not loop:is_closed() then list[#list + 1] = loop end
  end
  return list
end

-- Clocks that a test has frozen go again, before what it has left is ended.
local function restore_clocks()
  for _, loop in ipairs(file_loops()) do
    local settings = settings_of[loop]
    if settings.kind == "virtual" then core.clock_freeze(loop, settings.is_frozen) end
  end
end

-- What else a test may have changed of the loops is as before when all of it has ended.
local function restore_settings()
  for _, loop in ipairs(file_loops()) do
    loop:set_exception_handler(settings_of[loop].handler)
    loop:set_debug(settings_of[loop].debug)
  end
end

-- ---- functions of a spec ----

local NAMES = {
  it = "the test", file = "the file", strict_setup = "setup", strict_teardown = "teardown",
}

local function place_of_function(fn)
  if type(fn) ~= "function" then return "?" end -- what can be called like one
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

-- busted runs everything through its `safe`, also its own functions; the spec's are known by
-- being the element's.
local function limited(safe)
  return function(descriptor, run, element, ...)
    if run ~= element.run and descriptor ~= "finally" then
      return safe(descriptor, run, element, ...)
    end
    local seconds = limit.seconds()
    local what = NAMES[descriptor] or descriptor
    choose_loop(test or element)
    return safe(descriptor, function()
      return limit.run(seconds, what, place_of_function(run), run)
    end, element, ...)
  end
end

-- SIGINT ends the tests, also if the test under way did not let itself be ended by it, or if
-- it came during the cleanup.
local function end_if_interrupted()
  if core.interrupted() then error(core.errors.CancelledError "interrupted", 0) end
end

-- ---- tests ----

-- While a test runs, its failures are kept: they are told once it is known what it has left
-- behind.
local function holder(publish)
  return function(channel, element, ...)
    local kind = type(channel) == "table" and channel[1]
    if holding and (kind == "failure" or kind == "error") then
      local list = holding.after and element.descriptor ~= "it" and holding.late or holding.early
      list[#list + 1] = table.pack(channel, element, ...)
      return
    end
    return publish(channel, element, ...)
  end
end

local MESSAGE = 4 -- of a failure: channel, element, parent, message, trace

local function flush(publish, list)
  for _, call in ipairs(list) do publish(table.unpack(call, 1, call.n)) end
end

local function place_of(element)
  local trace = element.trace
  return trace and trace.short_src and ("%s:%d"):format(trace.short_src, trace.currentline) or "?"
end

-- The body of a test, and what stands around it, as busted's own executor runs them; between
-- the end of the last and the report, the end of the scope.
local function new_it(block, publish)
  local function body(element, parent)
    local finally
    element.env = element.env or {}
    block.rejectAll(element)
    element.env.finally = function(fn) finally = fn end
    element.env.pending = busted.pending
    local ready, ancestor = block.execAll("before_each", parent, true)
    local status
    if ready then
      status = busted.status "success"
      if busted.safe_publish("test", { "test", "start" }, element, parent) then
        status:update(busted.safe("it", element.run, element))
        if finally then
          block.reject("pending", element)
          status:update(busted.safe("finally", finally, element))
        end
      else
        status = busted.status "error"
      end
    end
    holding.after = true
    block.dexecAll("after_each", ancestor, true)
    return status
  end

  -- Says what the scope has found: with the first failure, or as a failure of its own.
  local function report(held, status, element, parent, note)
    local first = held.early[1] or held.late[1]
    if first then
      first[MESSAGE] = ("%s\n%s"):format(tostring(first[MESSAGE]), note)
      return
    end
    if not status then return end
    status:update "failure"
    held.early[1] = table.pack({ "failure", "it" }, element, parent,
      place_of(element) .. ": " .. note, element.trace)
  end

  return function(element)
    local parent = busted.context.parent(element)
    if not block.lazySetup(parent) then return end
    core.leave_loop()
    local around = scope.enter(place_of(element))
    for _, loop in ipairs(file_loops()) do
      reports.report_unretrieved_of(loop) -- these are setup's
      around:collect_errors(loop)
      note_settings(loop)
    end
    local outer = file_scope
    file_scope = around -- for loops that are made meanwhile
    local held = { early = {}, late = {} }
    test, holding = element, held
    local verdicts = limit.verdicts
    local ok, status = core.rawpcall(body, element, parent) -- an error is busted's own
    core.leave_loop()
    restore_clocks()
    -- who was stuck has been named already
    local left = around:leave { tasks = limit.verdicts == verdicts }
    local uncaught = around:take_uncaught(file_loops())
    restore_settings()
    file_scope = outer
    if outer then
      for _, loop in ipairs(file_loops()) do outer:collect_errors(loop) end
    end
    test, holding = nil, nil
    local verdict = ok and status
    if left then report(held, verdict, element, parent, left) end
    if uncaught then report(held, verdict, element, parent, uncaught) end
    flush(publish, held.early)
    if verdict then
      busted.safe_publish("test", { "test", "end" }, element, parent, tostring(status))
    end
    flush(publish, held.late)
    if not ok then error(status, 0) end
    end_if_interrupted()
  end
end

-- ---- files ----

local function file_started(element)
  file_scope = scope.enter(element.name)
  return nil, true
end

local function file_ended(element, parent)
  if not file_scope then return nil, true end
  core.leave_loop()
  local around = file_scope
  file_scope = nil
  local left = around:leave()
  local uncaught = around:take_uncaught(file_loops())
  close_loops()
  for _, note in ipairs { left or uncaught, left and uncaught } do
    local message = ("%s: %s"):format(element.name, note)
    -- output handlers want the place of every error
    local trace = { short_src = element.name, currentline = 1, traceback = "", message = message }
    busted.publish({ "error", "file" }, element, parent, message, trace)
  end
  end_if_interrupted()
  return nil, true
end

-- Makes busted's core ours.
---@param new_core table
---@return table
function executor.customize(new_core)
  busted = new_core
  local publish, register = busted.publish, busted.register
  busted.publish = holder(publish)
  busted.safe = limited(busted.safe)
  function busted.register(descriptor, run, attributes)
    if descriptor == "it" and type(run) == "function" then
      run = new_it(require "busted.block"(busted), publish)
    end
    return register(descriptor, run, attributes)
  end
  busted.subscribe({ "file", "start" }, file_started, { priority = 1 })
  busted.subscribe({ "file", "end" }, file_ended, { priority = 1 })
  core.use_clock = executor.use_clock
  return busted
end

return executor
