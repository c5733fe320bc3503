-- clock.lua -- taking the virtual clock of the running loop by the hand: `lh.clock`.
--
-- By itself it stands still while anything is ready and jumps to the next timer when nothing
-- is. A test that wants to look at what stands between two moments stops it, and moves it
-- itself.

local core = require "loophost.core"
local argument = require "loophost.argument"

local clock = {}

local FOREVER = math.maxinteger

-- The running loop, if its clock is virtual; else an error.
local function virtual_loop(who, level)
  local loop = core.running_loop()
  if not loop and core.running_task() then -- the host's main task, which runs on no loop yet
    loop = core.get_event_loop()
  end
  if not loop then error(("%s: no running event loop"):format(who), level + 1) end
  if core.clock_kind(loop) ~= "virtual" then
    error(("%s: the loop's clock is not virtual (new_event_loop{clock=\"virtual\"}, "
      .. "loophost --clock=virtual)"):format(who), level + 1)
  end
  return loop
end

local Frozen = { __name = "loophost.Frozen" }

function Frozen:__close()
  if not self.loop:is_closed() then core.clock_freeze(self.loop, false) end
end

-- Stops the clock: it no longer jumps by itself, only advance moves it. Who sleeps then
-- sleeps until somebody does.
---@return table block for a variable with <close>, at whose end the clock goes again
function clock.freeze()
  local loop = virtual_loop("freeze", 2)
  core.clock_freeze(loop, true)
  return setmetatable({ loop = loop }, Frozen)
end

-- Lets it go again.
function clock.thaw()
  core.clock_freeze(virtual_loop("thaw", 2), false)
end

-- Waits until everything else waits: nothing is ready, and no real work (a descriptor that a
-- task waits for, a child, a thread) is under way. Time does not move meanwhile.
function clock.run_until_idle()
  virtual_loop("run_until_idle", 2)
  core.wait_idle(FOREVER)
end

-- Moves the time forward by so many seconds, past all timers in between, each at its own
-- time; returns when all that was due has run. Real work under way holds a timer back for
-- as long in real time, not longer.
---@param seconds number
function clock.advance(seconds)
  argument.seconds(seconds, 1, "advance", 2)
  if seconds == nil then argument.mismatch(1, "advance", "number of seconds", seconds, 2) end
  if seconds < 0 then argument.fail(1, "advance", "time does not go backwards", 2) end
  local loop = virtual_loop("advance", 2)
  local target = core.clock_now(loop) + core.nanoseconds(seconds)
  repeat
    local now, next = core.clock_now(loop), core.clock_next(loop)
    local stop = next and next < target and math.max(next, now) or target
    core.wait_idle(math.max(stop - now, 0))
    next = core.clock_next(loop) -- what has run meanwhile may have set an earlier one
    if next and next < target then stop = math.max(next, now) else stop = target end
    if stop > core.clock_now(loop) then core.clock_set(loop, stop) end
    if next and next <= stop then core.sleep(0) end
  until core.clock_now(loop) >= target
  core.wait_idle(0)
end

-- ---- os.time and its like ----

local bound -- the binding in force

---@class loophost.OsBinding
---@field loop loophost.EventLoop
---@field package real table<string, function> Lua's, by their names
---@field package ours table<string, function>
local Binding = { __name = "loophost.OsBinding" }
Binding.__index = Binding

-- Has os.time(), os.clock() and os.date() follow the virtual clock of the running loop: from
-- now, or from a moment given as os.time gives it. With arguments of their own os.time and
-- os.date do what they always do.
---@param from? integer
---@return loophost.OsBinding block for a variable with <close>, or for unbind()
function clock.bind_os(from)
  if from ~= nil and math.type(from) ~= "integer" then
    argument.mismatch(1, "bind_os", "integer", from, 2)
  end
  local loop = virtual_loop("bind_os", 2)
  if bound then error("bind_os: os is bound to a clock already", 2) end
  local real = { time = os.time, date = os.date, clock = os.clock }
  local base, start = from or os.time(), loop:time()
  local function elapsed() return loop:time() - start end
  bound = setmetatable({ loop = loop, real = real, ours = {} }, Binding)

  function bound.ours.time(...)
    if select("#", ...) > 0 and (...) ~= nil then return real.time(...) end
    return base + math.floor(elapsed())
  end
  function bound.ours.date(format, time)
    return real.date(format or "%c", time or bound and bound.ours.time() or real.time())
  end
  bound.ours.clock = elapsed
  for name, fn in pairs(bound.ours) do rawset(os, name, fn) end
  return bound
end

-- os.time and its like are Lua's again. Harmless if they are already.
function Binding:unbind()
  if bound ~= self then return end
  for name, fn in pairs(self.real) do
    if os[name] == self.ours[name] then rawset(os, name, fn) end
  end
  bound = nil
end

Binding.__close = Binding.unbind
argument.methods("OsBinding", Binding)

-- The same for the binding in force, if there is one.
function clock.unbind_os()
  if bound then bound:unbind() end
end

return { clock = clock }
