-- argument.lua -- what is said about a wrong argument: Lua's own words, and the line of
-- the one who passed it.

local argument = {}

-- The type of a value, for messages.
---@return string
local function type_name(value)
  if value == nil then return "no value" end
  if value ~= value then return "NaN" end
  local meta = getmetatable(value)
  local name = type(meta) == "table" and meta.__name
  return type(name) == "string" and name or type(value)
end

-- Raises "bad argument #1 to 'who' (message)".
---@param arg integer|string its number, or "1 (element 3)"
---@param who string the function that was called
---@param message string
---@param level integer where the mistake is, as for `error`
function argument.fail(arg, who, message, level)
  error(("bad argument #%s to '%s' (%s)"):format(arg, who, message), level + 1)
end

-- As fail, in the words "expected, got".
---@param value any what was passed
function argument.mismatch(arg, who, expected, value, level)
  argument.fail(arg, who, ("%s expected, got %s"):format(expected, type_name(value)), level + 1)
end

-- A value of the type, or nil.
function argument.optional(value, expected, arg, who, level)
  if value == nil or type(value) == expected then return end
  argument.mismatch(arg, who, expected, value, level + 1)
end

-- A number of seconds, or nil; not NaN.
function argument.seconds(value, arg, who, level)
  if value == nil or type(value) == "number" and value == value then return end
  argument.mismatch(arg, who, "number of seconds", value, level + 1)
end

-- Whether a task can be made of the value: a function, a coroutine, or what is called
-- like a function.
---@return boolean
function argument.is_body(value)
  local kind = type(value)
  if kind == "function" or kind == "thread" then return true end
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__call ~= nil
end

function argument.body(value, arg, who, level)
  if argument.is_body(value) then return end
  argument.mismatch(arg, who, "function", value, level + 1)
end

return argument
