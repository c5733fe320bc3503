-- context.lua -- ContextVar: a value that each task and each callback inherits from the
-- one who made it, and changes for itself only.
--
-- A context is a table var -> value that is never changed: setting a variable makes a
-- new one. So inheriting it is copying a reference, which is what C does.

local core = require "loophost.core"
local argument = require "loophost.argument"

local context = {}

-- What a variable was set to that was set to nil.
local NIL = {}
local EMPTY = {}

---@class loophost.ContextVar
---@field name string
---@field has_default boolean
---@field default any
local ContextVar = { __name = "loophost.ContextVar" }
ContextVar.__index = ContextVar

---@class loophost.ContextToken
---@field var loophost.ContextVar
---@field old any what the variable's value was; nil: it had none
---@field used boolean
local Token = { __name = "loophost.ContextToken" }

-- A context variable. As contextvars.ContextVar.
---@param name string for messages
---@param ... any the default, if it shall have one
---@return loophost.ContextVar
function context.ContextVar(name, ...)
  if type(name) ~= "string" then argument.mismatch(1, "ContextVar", "string", name, 2) end
  local var = { name = name, has_default = select("#", ...) > 0, default = (...) }
  return setmetatable(var, ContextVar)
end

local function change(var, value)
  local changed = {}
  for each, its in pairs(core.context() or EMPTY) do changed[each] = its end
  changed[var] = value
  core.set_context(changed)
end

-- Sets the value in this context.
---@param value any
---@return loophost.ContextToken token for reset
function ContextVar:set(value)
  local old = (core.context() or EMPTY)[self]
  if value == nil then value = NIL end
  change(self, value)
  return setmetatable({ var = self, old = old, used = false }, Token)
end

-- Sets the value to what it was before the set that returned the token.
---@param token loophost.ContextToken each can be used once
function ContextVar:reset(token)
  if getmetatable(token) ~= Token then argument.mismatch(1, "reset", "token", token, 2) end
  if token.var ~= self then
    error(("the token is not one of ContextVar '%s'"):format(self.name), 2)
  end
  if token.used then error("the token was used already", 2) end
  token.used = true
  change(self, token.old)
end

function ContextVar:__tostring()
  return ("<ContextVar '%s'>"):format(self.name)
end

argument.methods("ContextVar", ContextVar)

-- The value in this context; else the argument; else the variable's default. What has a value is a
-- variable: there is no need to check that each time.
---@param ... any
---@return any
function ContextVar:get(...)
  local value = (core.context() or EMPTY)[self]
  if value == NIL then return nil end
  if value ~= nil then return value end
  if getmetatable(self) ~= ContextVar then argument.object(self, "ContextVar", "get", 2) end
  if select("#", ...) > 0 then return (...) end
  if self.has_default then return self.default end
  error(("ContextVar '%s' has no value"):format(self.name), 2)
end

return context
