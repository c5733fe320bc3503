-- require.lua -- two tasks that require the same module at once: the second waits.
--
-- `require` itself is C (bindings/require.c) and asks here before it loads a module. The
-- file's top level may wait, so another task may come along meanwhile. It then gets what
-- the first one loads, or, if that fails, tries itself.

local core = require "loophost.core"

local loading = {}     -- name of a module -> the Loading of it
local waiting_for = {} -- task -> the Loading whose end it waits for

---@class loophost.Loading
---@field name string of the module
---@field task loophost.Task that loads it
---@field outer? loophost.Loading the task is inside already: the module requires itself
---@field waiters loophost.Future[]
local Loading = { __name = "loophost.Loading" }

-- Called however the loading ends.
function Loading:__close()
  loading[self.name] = self.outer
  for _, waiter in ipairs(self.waiters) do
    if not waiter:done() then waiter:set_result() end
  end
end

-- Whether the task would, in the end, wait for itself.
local function is_circle(task, other)
  while other do
    if other.task == task then return true end
    other = waiting_for[other.task]
  end
  return false
end

local function wait_for(task, other)
  local waiter = core.running_loop():create_future()
  table.insert(other.waiters, waiter)
  waiting_for[task] = other
  local ok, err = core.rawpcall(core.await, waiter)
  waiting_for[task] = nil
  if not ok then error(err, 0) end
end

local require = {}

-- A task wants to load the module, which is not there. Unless another task on its loop is
-- at it, it may go ahead.
---@param name string
---@return loophost.Loading? to be closed; nil: that other task has come to an end, look again
function require.begin_loading(name)
  local task, loop, other = core.current_task(), core.running_loop(), loading[name]
  if other and loop and other.task:get_loop() == loop and not is_circle(task, other) then
    return wait_for(task, other)
  end
  local self = setmetatable({ name = name, task = task, outer = other, waiters = {} }, Loading)
  loading[name] = self
  return self
end

return require
