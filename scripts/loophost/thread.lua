-- thread.lua -- to_thread: what may be run in a thread, and what may be given to it.

local core = require "loophost.core"
local argument = require "loophost.argument"

local thread = {}

local function is_name(text)
  return text:find "^[%a_][%w_.]*$" and not text:find "%.%.?%d" and not text:find "%.$"
    and not text:find("..", 1, true)
end

-- The name by which a worker finds the C function, "os.execute". A __pairs is not asked: one that
-- requires what it lists, as ours, would add to package.loaded while we traverse it.
local function name_of(fn)
  for module, value in next, package.loaded do
    for name, member in next, type(value) == "table" and value or {} do
      if rawequal(member, fn) and type(name) == "string" then
        return module == "_G" and name or module .. "." .. name
      end
    end
  end
end

-- What the function is to a worker, which has none of its surroundings but the globals.
local function code_of_function(fn, level)
  if debug.getinfo(fn, "S").what == "C" then
    local name = name_of(fn)
    if name then return "name", name end
    argument.fail(1, "to_thread", "a C function that is in no loaded module", level + 1)
  end
  for i = 1, math.huge do
    local name, value = debug.getupvalue(fn, i)
    if name == nil then break end
    if name ~= "_ENV" and not rawequal(value, _G) then
      argument.fail(1, "to_thread", ("the function uses the outer local '%s', which does not exist"
        .. " in a thread: pass it as an argument"):format(name), level + 1)
    end
  end
  return "dump", string.dump(fn)
end

local function code_of(what, level)
  if type(what) == "function" then
    local kind, text = code_of_function(what, level + 1) -- no tail call: levels are counted
    return kind, text
  end
  argument.text(what, 1, "to_thread", level + 1)
  local chunk, message = load(what, what, "t")
  if chunk then return "text", what end
  if is_name(what) then return "name", what end
  argument.fail(1, "to_thread", message --[[@as string]], level + 1)
end

-- Runs Lua that blocks, or computes for long, in a thread, and returns what it returns: a
-- function by its name ("os.execute", "socket.sleep", "module.fn", which the thread requires),
-- a chunk of source text, whose `...` are the arguments, or a function without outer locals.
-- As asyncio.to_thread; but the thread has a Lua state of its own, with the same package.path
-- and none of our globals. States are kept for later calls: rely on nothing that one left.
--
-- Arguments and results are copied: nil, booleans, numbers, strings, and tables of them without
-- metatables, which may contain each other. Errors are raised here; what cannot be copied comes
-- as a string. A call that is cancelled goes on in its thread, and nobody hears of it; when the
-- program ends, it is interrupted.
---@param what string|function
---@param ... any
---@return any ...
function thread.to_thread(what, ...)
  local kind, text = code_of(what, 2)
  local refused, reason = core.copy_refuses(...)
  if refused then argument.fail(refused + 1, "to_thread", "cannot copy " .. reason, 2) end
  return core.to_worker(kind, text, ...)
end

return thread
