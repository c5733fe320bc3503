-- policy.lua -- which loop is the current one where none runs, and how a new one is made.

local core = require "loophost.core"
local argument = require "loophost.argument"
local class = require "loophost.class"
local eventloop = require "loophost.eventloop"

local policy = {}

---@class loophost.EventLoopPolicy: loophost.Class
---@field loop? loophost.EventLoop the current one
---@field told? boolean whether set_event_loop was ever called
---@overload fun(...): loophost.EventLoopPolicy
local EventLoopPolicy = {}

class.new("loophost.EventLoopPolicy", EventLoopPolicy, function(policy_class, ...)
  local self = setmetatable({}, { __index = policy_class, __name = "loophost.EventLoopPolicy" })
  if self.init then self:init(...) end
  return self
end)
policy.EventLoopPolicy = EventLoopPolicy

-- The current loop; the first time it makes one, unless it was told which one to use.
---@return loophost.EventLoop
function EventLoopPolicy:get_event_loop()
  if self.loop == nil and not self.told then self:set_event_loop(self:new_event_loop()) end
  if self.loop == nil then error("There is no current event loop", 2) end
  return self.loop
end

---@param loop? loophost.EventLoop nil: there shall be none
function EventLoopPolicy:set_event_loop(loop)
  if loop ~= nil and not eventloop.is(loop) then
    argument.mismatch(1, "set_event_loop", "EventLoop", loop, 2)
  end
  self.loop, self.told = loop, true
end

---@return loophost.EventLoop
function EventLoopPolicy:new_event_loop()
  return eventloop.EventLoop()
end

-- A script may make a policy without us.
argument.methods("EventLoopPolicy", EventLoopPolicy, function(value)
  return type(value) == "table"
end)

local current

-- The policy in use. As asyncio.get_event_loop_policy.
---@return loophost.EventLoopPolicy
function policy.get_event_loop_policy()
  if current == nil then current = EventLoopPolicy() end
  return current
end

local METHODS = { "get_event_loop", "set_event_loop", "new_event_loop" }

-- As asyncio.set_event_loop_policy.
---@param new? loophost.EventLoopPolicy nil: a default one, when it is next asked for
function policy.set_event_loop_policy(new)
  for _, name in ipairs(new ~= nil and METHODS or {}) do
    if type(new) ~= "table" or type(new[name]) ~= "function" then
      argument.mismatch(1, "set_event_loop_policy", "EventLoopPolicy", new, 2)
    end
  end
  current = new
end

-- The loop that runs, else the policy's. As asyncio.get_event_loop.
---@return loophost.EventLoop
function policy.get_event_loop()
  local loop = core.running_loop()
  if loop then return loop end
  return policy.get_event_loop_policy():get_event_loop()
end

---@param loop? loophost.EventLoop
function policy.set_event_loop(loop)
  if loop ~= nil and not eventloop.is(loop) then
    argument.mismatch(1, "set_event_loop", "EventLoop", loop, 2)
  end
  policy.get_event_loop_policy():set_event_loop(loop)
end

-- For the host, which runs it to its end: the loop of the default policy, if it has one.
---@return loophost.EventLoop?
function policy.current_loop_or_nil()
  local in_use = policy.get_event_loop_policy()
  local loop = in_use.loop
  return eventloop.is(loop) and loop or nil
end

-- For C and ourselves: the loop that runs, else one for a script's top level. Any function
-- may wait there, so it gets a new loop if lh.run or the script has left none, or a closed
-- one.
---@return loophost.EventLoop
function policy.usable_loop()
  local loop = core.running_loop()
  if loop then return loop end
  local in_use = policy.get_event_loop_policy()
  if in_use.get_event_loop == EventLoopPolicy.get_event_loop then
    loop = in_use.loop
    if loop ~= nil and not loop:is_closed() then return loop end
    in_use:set_event_loop(in_use:new_event_loop())
  end
  return in_use:get_event_loop()
end

return policy
