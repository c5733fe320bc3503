-- debounce.lua -- calls a function once things have been quiet for a while.
--
-- Planted bug (BUG=debounce): the quiet is counted from the first call, not the last.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "debounce"

---@param seconds number of quiet
---@param fn function gets the arguments of the last call
---@return fun(...: any)
return function(seconds, fn)
  local timer
  return function(...)
    if timer and BUG then return end
    if timer then timer:cancel() end
    local arguments = table.pack(...)
    timer = lh.get_running_loop():call_later(seconds, function()
      timer = nil
      fn(table.unpack(arguments, 1, arguments.n))
    end)
  end
end
