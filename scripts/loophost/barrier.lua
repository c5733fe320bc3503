-- barrier.lua -- a fixed number of tasks meet, and go on together.
--
-- As asyncio.Barrier: a Condition and a state. It is filling until all parties are there,
-- then draining until the last has left; newcomers stay outside meanwhile. A reset sends
-- away those who wait (resetting, until they have left), an abort everybody (broken).

local core = require "loophost.core"
local argument = require "loophost.argument"

local Condition = core.Condition
local BrokenBarrierError = core.errors.BrokenBarrierError

local barrier = {}

---@class loophost.Barrier
---@field private condition loophost.Condition told of every change of the state
---@field private size integer
---@field private state "filling"|"draining"|"resetting"|"broken"
---@field private count integer who is inside
---@field private may_enter fun(): boolean
---@field private may_leave fun(): boolean
---@field private leaving table as a variable with <close>, one leaves when its block ends
local Barrier = { __name = "loophost.Barrier" }
Barrier.__index = Barrier

local function leave(self)
  self.count = self.count - 1
  if self.count > 0 then return end
  if self.state == "resetting" or self.state == "draining" then self.state = "filling" end
  self.condition:notify_all()
end

-- Makes a barrier for so many tasks.
---@param parties integer
---@return loophost.Barrier
function barrier.Barrier(parties)
  local size = type(parties) == "number" and math.tointeger(parties)
  if not size then argument.mismatch(1, "Barrier", "integer", parties, 2) end
  if size < 1 then argument.fail(1, "Barrier", "parties must be > 0", 2) end
  local self = { condition = Condition(), size = size, state = "filling", count = 0 }
  self.leaving = setmetatable({}, { __close = function() leave(self) end })
  self.may_enter = function() return self.state ~= "draining" and self.state ~= "resetting" end
  self.may_leave = function() return self.state ~= "filling" end
  return setmetatable(self, Barrier)
end

-- Waits until all parties are there.
---@return integer index 0 for the first who came, parties - 1 for the last
function Barrier:wait()
  if core.note_wait then core.note_wait(self.condition, "Barrier.wait", nil, self) end
  local condition <close> = self.condition:acquire()
  condition:wait_for(self.may_enter)
  if self.state == "broken" then error(BrokenBarrierError("Barrier aborted"), 0) end
  local index = self.count
  self.count = index + 1
  local _ <close> = self.leaving
  if index + 1 == self.size then
    self.state = "draining"
    condition:notify_all()
  else
    condition:wait_for(self.may_leave)
    if self.state == "broken" or self.state == "resetting" then
      error(BrokenBarrierError("Abort or reset of barrier"), 0)
    end
  end
  return index
end

-- Makes it as new; who waits gets a BrokenBarrierError.
function Barrier:reset()
  local condition <close> = self.condition:acquire()
  self.state = self.count > 0 and "resetting" or "filling"
  condition:notify_all()
end

-- Breaks it; who waits, and who comes later, gets a BrokenBarrierError.
function Barrier:abort()
  local condition <close> = self.condition:acquire()
  self.state = "broken"
  condition:notify_all()
end

-- How many it is for.
---@return integer
function Barrier:parties()
  return self.size
end

-- How many wait for the others; 0 unless it is filling.
---@return integer
function Barrier:n_waiting()
  return self.state == "filling" and self.count or 0
end

-- Whether it was aborted.
---@return boolean
function Barrier:broken()
  return self.state == "broken"
end

function Barrier:__tostring()
  if self.state == "broken" then return "<Barrier [broken]>" end
  return ("<Barrier [%s, waiters:%d/%d]>"):format(self.state, self:n_waiting(), self.size)
end

argument.methods("Barrier", Barrier)

return barrier
