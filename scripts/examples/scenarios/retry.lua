-- retry.lua -- calls something that may fail again, after waits that double each time.
--
-- Planted bug (BUG=retry): a cancellation counts as a failure and is tried again.

local lh = require "loophost"

local try = os.getenv "BUG" == "retry" and lh.rawpcall or pcall

-- fn(...) until it succeeds, at most `opts.attempts` times; raises the last failure.
---@param opts { attempts: integer, delay: number, max_delay: number } seconds
---@param fn function
---@param ... any its arguments
---@return any ... what fn returns
return function(opts, fn, ...)
  local delay = opts.delay
  for attempt = 1, opts.attempts do
    local results = table.pack(try(fn, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    if attempt == opts.attempts then error(results[2], 0) end
    lh.sleep(delay)
    delay = math.min(delay * 2, opts.max_delay)
  end
end
