-- scenario.lua -- a test in a loop of its own, in virtual time.
--
-- The function runs as a task. It fails with what it raises, when nothing can ever happen
-- again, when it takes too long in real time, when it leaves anything behind, and when an
-- error was raised that nobody caught.

local core = require "loophost.core"
local argument = require "loophost.argument"
local eventloop = require "loophost.eventloop"
local waitgraph = require "loophost.waitgraph"
local failure = require "loophost.testing.failure"
local limit = require "loophost.testing.limit"
local scope = require "loophost.testing.scope"
local seeds = require "loophost.testing.seeds"

local scenario = {}

---@class loophost.ScenarioOptions
---@field clock? "virtual"|"monotonic" default: virtual
---@field timeout? number seconds of real time; default 10, or what --test-timeout says
---@field seeds? integer run it with the seeds 1 to N, each another order of what is left open
---@field repeatable? boolean run each seed twice, and fail if the two runs differ
---@field debug? boolean
---@field leaks? boolean false: it may leave things behind, which are done away with

local OPTIONS = {
  clock = "string", timeout = "number", seeds = "integer", repeatable = "boolean",
  debug = "boolean", leaks = "boolean",
}

-- Runs fn as the task of the loop; true, or false and the error with the test's place.
local function run_body(loop, fn)
  local place
  local function on_error(err)
    place = waitgraph.here()
    return err
  end
  local function body()
    local ok, err = core.rawxpcall(fn, on_error)
    if not ok then error(err, 0) end
  end
  local task = loop:create_task(body)
  local interrupted = core.interrupt_task
  core.interrupt_task = task
  local ok, err = core.rawpcall(loop.run_until_complete, loop, task)
  core.interrupt_task = interrupted
  if ok then return true end
  local is_deadlock = core.iserror(err, core.errors.DeadlockError)
  if is_deadlock and not task:done() then
    place = waitgraph.place_of(task)
    err = failure.new((place and place .. ": " or "") .. tostring(err))
  end
  return false, err, place, is_deadlock
end

local function join(first, second)
  if first and second then return first .. "\n" .. second end
  return first or second
end

-- The events of the loop as one text, by which two runs are compared.
local function trace_text(loop)
  local lines = {}
  for i, event in ipairs(loop:get_trace()) do
    lines[i] = ("[%.9f] %s: %s"):format(event.time, event.event, event.details)
  end
  local draws, state = core.choices(loop)
  lines[#lines + 1] = ("%d choices, %x"):format(draws or 0, state or 0)
  return table.concat(lines, "\n")
end

-- Closes the loop whatever happens, also when the limit's verdict leaves the run.
local Closing = { __close = function(self)
  if self.named then core.name_tasks(self.named) end
  if not self.loop:is_closed() then self.loop:close() end
end }

-- One run: nil, or the error; and the trace if it was asked for.
local function run_once(self, seed, traced)
  local opts = self.opts
  if not core.leave_loop() then
    return "a scenario has a loop of its own: it cannot run where a loop runs already"
  end
  math.randomseed(seed)
  local named = core.name_tasks(0) -- so that the same run has the same names
  local around = scope.enter(self.place)
  local loop = eventloop.EventLoop {
    clock = opts.clock or "virtual", debug = opts.debug or traced, trace = traced or nil,
    seed = seed ~= 0 and seed or nil,
  }
  local _ <close> = setmetatable({ loop = loop, named = named }, Closing)
  scope.excuse(loop)
  around:collect_errors(loop)
  if traced and not opts.debug then loop.slow_callback_duration = math.huge end
  local ran, ok, err, place, is_deadlock = core.rawpcall(limit.run, self.timeout, "the test",
    self.place, run_body, loop, self.fn)
  if not ran then ok, err, place, is_deadlock = false, ok, nil, true end
  local trace = traced and trace_text(loop)
  local left = around:leave { tasks = not is_deadlock }
  if opts.leaks == false then left = nil end
  local note = join(left, around:take_uncaught { loop })
  if ok and note then ok, err, place = false, failure.new(self.place .. ": " .. note), self.place
    note = nil
  end
  if ok then return nil, trace end
  if failure.is_pending(err) then return err, trace end
  return failure.with(err, place or self.place, note), trace
end

local function differ(self, seed, first, second)
  local a, b, line = first:gmatch "[^\n]*", second:gmatch "[^\n]*", 0
  local x, y
  repeat
    x, y, line = a(), b(), line + 1
  until x ~= y or x == nil
  return failure.new(("%s: two runs with seed %d differ, at event %d:\n  %s\n  %s"):format(
    self.place, seed, line, x or "(the end)", y or "(the end)"))
end

local function seed_note(seed, count)
  if count then
    return ("seed %d of %d; --seed=%d repeats this run"):format(seed, count, seed)
  end
  return ("seed %d"):format(seed)
end

local function run(self)
  local opts = self.opts
  local first, last = seeds.range(opts.seeds)
  for seed = first, last do
    local err, trace = run_once(self, seed, opts.repeatable)
    if not err and opts.repeatable then
      local again, second = run_once(self, seed, true)
      err = again or trace ~= second and differ(self, seed, trace, second) or nil
    elseif err and not failure.is_pending(err) and seed ~= 0 then
      if not run_once(self, seed) then
        err = failure.with(err, nil, "a second run with this seed did not fail: "
          .. "something outside of the loop has a part in it")
      end
    end
    if err then
      if failure.is_pending(err) then return err end
      return failure.with(err, nil, ("(%s)"):format(seed_note(seed, opts.seeds)))
    end
  end
end

-- A function that runs the scenario and raises what is wrong, as if it stood in the script
-- where the scenario was made: there busted looks for the place of an error.
local function raiser(self)
  local file, line = self.place:match "^(.*):(%d+)$"
  local code = ("\n"):rep((tonumber(line) or 1) - 1) .. "local run, self, error = ... " ..
    "return function() local err = run(self) if err ~= nil then error(err, 0) end end"
  return load(code, "@" .. (file or "scenario"))(run, self, error)
end

-- A scenario, or an error about the arguments.
local function check(opts, fn, arg, who, level)
  opts = argument.options(opts, OPTIONS, arg, who, level + 1)
  if type(fn) ~= "function" then argument.mismatch(arg + 1, who, "function", fn, level + 1) end
  if opts.clock and opts.clock ~= "virtual" and opts.clock ~= "monotonic" then
    argument.fail(arg, who, ("no such clock: %s"):format(opts.clock), level + 1)
  end
  local timeout = opts.timeout or 1
  if timeout <= 0 or timeout ~= timeout then
    argument.fail(arg, who, "timeout must be more than 0 seconds", level + 1)
  end
  if opts.seeds == 0 then argument.fail(arg, who, "seeds must be at least 1", level + 1) end
  return {
    opts = opts, fn = fn, place = waitgraph.here() or "?",
    timeout = opts.timeout or limit.seconds(),
  }
end

-- An `it` of busted whose function runs as a task in a loop of its own.
---@param name string
---@param opts? loophost.ScenarioOptions
---@param fn? fun()
---@overload fun(name: string, fn: fun())
function scenario.scenario(name, opts, fn)
  if fn == nil and type(opts) == "function" then opts, fn = nil, opts end
  argument.text(name, 1, "scenario", 2)
  local self = check(opts, fn, 2, "scenario", 2)
  local ok, busted = core.rawpcall(require, "busted")
  local it = ok and busted.it
  if not it then error("scenario: busted is not running; see testing.run", 2) end
  return it(name, raiser(self))
end

-- The same without busted: runs the function at once, and raises what is wrong.
---@param opts? loophost.ScenarioOptions
---@param fn? fun()
---@overload fun(fn: fun())
function scenario.run(opts, fn)
  if fn == nil and type(opts) == "function" then opts, fn = nil, opts end
  local err = run(check(opts, fn, 1, "run", 2))
  if err ~= nil then error(err, 0) end
end

return scenario
