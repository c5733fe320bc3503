-- argument.lua -- what is said about a wrong argument: Lua's own words, and the line of
-- the one who passed it.

local getmetatable = getmetatable -- in each call of the classes' methods

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

-- A table of options, or nil for none; an "integer" is one that is not negative, and "any"
-- is for the caller to check.
---@param known table<string, type|"integer"|"any"> what each option must be
---@return table
function argument.options(opts, known, arg, who, level)
  if opts == nil then return {} end
  argument.optional(opts, "table", arg, who, level + 1)
  for name, value in pairs(opts) do
    local kind = known[name]
    if not kind then
      argument.fail(arg, who, ("no such option: %s"):format(tostring(name)), level + 1)
    end
    local right = kind == "any" or type(value) == kind
    if kind == "integer" then
      local number = type(value) == "number" and math.tointeger(value)
      right = number and number >= 0 or false
    end
    if not right then
      argument.fail(arg, who, ("invalid value of option '%s'"):format(name), level + 1)
    end
  end
  return opts
end

function argument.text(value, arg, who, level)
  if type(value) ~= "string" then argument.mismatch(arg, who, "string", value, level + 1) end
end

-- The path of a Unix socket; an abstract one begins with a zero byte.
function argument.socket_path(value, arg, who, level)
  argument.text(value, arg, who, level + 1)
  if #value < 1 or #value > 107 then
    argument.fail(arg, who, "path of a Unix socket must have 1 to 107 bytes", level + 1)
  elseif value:byte() ~= 0 and value:find("\0", 1, true) then
    argument.fail(arg, who, "path contains zeros", level + 1)
  end
end

-- Raises what C says of a method's object that is none of its own; the method, called so, is one
-- level below.
local function bad_self(value, expected, who, level)
  if debug.getinfo(level, "n").namewhat ~= "method" then
    argument.mismatch(1, who, expected, value, level + 1)
  end
  error(("calling '%s' on bad self (%s expected, got %s)"):format(who, expected, type_name(value)),
    level + 1)
end

-- The object of a method, which may have been called with a dot: one of C's, by its name.
function argument.object(value, name, who, level)
  local meta = getmetatable(value)
  if type(meta) == "table" and rawget(meta, "__name") == "loophost." .. name then return end
  bad_self(value, name, who, level + 1)
end

-- Has all methods that stand in the class refuse what is no object of it, as C's methods do. An
-- object has the class as its metatable, unless `is` says what one is.
---@param name string of the class, for messages
---@param class table
---@param is? fun(value: any): boolean
function argument.methods(name, class, is)
  for who, method in pairs(class) do
    local is_ours = type(method) == "function" and debug.getinfo(method, "S").what ~= "C"
    if is_ours and who ~= "subclass" and not who:find "^__" then
      class[who] = function(self, ...)
        if getmetatable(self) ~= class and not (is and is(self)) then
          bad_self(self, name, who, 2)
        end
        return method(self, ...) -- a tail call: errors are the caller's
      end
    end
  end
end

function argument.port(value, arg, who, level)
  local port = type(value) == "number" and math.tointeger(value)
  if not port then argument.mismatch(arg, who, "integer", value, level + 1) end
  if port < 0 or port > 65535 then argument.fail(arg, who, "port out of range", level + 1) end
end

-- "file:line" of the caller at the level, which opens something: for the warning when it leaks.
---@return string?
function argument.place(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and info.currentline > 0 and ("%s:%d"):format(info.short_src, info.currentline) or nil
end

return argument
