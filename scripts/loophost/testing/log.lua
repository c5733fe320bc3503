-- log.lua -- what happened, in which order, and when by the loop's clock.

local core = require "loophost.core"
local argument = require "loophost.argument"
local tasks = require "loophost.tasks"
local failure = require "loophost.testing.failure"
local waitgraph = require "loophost.waitgraph"

local log = {}

---@class loophost.testing.Log
---@field n integer
---@field [integer] any what was logged
---@field package began number
---@field times number[] seconds since the log was made, by the clock of the running loop
---@overload fun(entry: any)
local Log = { __name = "loophost.testing.Log" }
Log.__index = Log

local function now()
  if not core.running_loop() and not core.running_task() then return 0 end
  return tasks.loop():time()
end

-- A list that is called to add to it: `log "connected"`.
---@return loophost.testing.Log
function log.log()
  return setmetatable({ n = 0, times = {}, began = now() }, Log)
end

function Log:__call(entry)
  local n = self.n + 1
  self.n, self[n], self.times[n] = n, entry, now() - self.began
end

local function show(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

function Log:__tostring()
  local lines = {}
  for i = 1, self.n do lines[i] = ("%10.3f  %s"):format(self.times[i], show(self[i])) end
  return table.concat(lines, "\n")
end

local function fail(message, entries)
  local lines = {}
  for i = 1, entries.n or #entries do
    local time = entries.times and entries.times[i]
    lines[i] = time and ("  %d  at %.3f  %s"):format(i, time, show(entries[i]))
      or ("  %d  %s"):format(i, show(entries[i]))
  end
  local place = waitgraph.here()
  error(failure.new(("%s%s; the log:\n%s"):format(place and place .. ": " or "", message,
    lines[1] and table.concat(lines, "\n") or "  (nothing)")), 0)
end

-- Fails unless the log is exactly this list.
---@param expected any[]
function Log:is(expected)
  if type(expected) ~= "table" then argument.mismatch(1, "is", "list", expected, 2) end
  for i = 1, math.max(self.n, #expected) do
    if self[i] ~= expected[i] then
      local wanted = i <= #expected and show(expected[i]) or "none"
      fail(("entry %d should be %s"):format(i, wanted), self)
    end
  end
end

argument.methods("log", Log)

-- Fails unless the entries come in this order in the list; others may stand between them.
---@param list any[]|loophost.testing.Log
---@param ... any
function log.assert_order(list, ...)
  if type(list) ~= "table" then argument.mismatch(1, "assert_order", "list", list, 2) end
  local at, n = 0, list.n or #list
  for i = 1, select("#", ...) do
    local wanted, found = select(i, ...), at + 1
    while found <= n and list[found] ~= wanted do found = found + 1 end
    if found > n then
      fail(("%s does not come%s"):format(show(wanted),
        at > 0 and (" after entry %d (%s)"):format(at, show(list[at])) or ""), list)
    end
    at = found
  end
end

return log
