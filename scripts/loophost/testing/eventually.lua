-- eventually.lua -- what is not true yet but shall be soon.

local core = require "loophost.core"
local argument = require "loophost.argument"
local failure = require "loophost.testing.failure"
local waitgraph = require "loophost.waitgraph"

local eventually = {}

local OPTIONS = { within = "number", every = "number" }

-- Calls fn() again and again until it returns true (or what counts as true), or, if it
-- returns nothing, until it does not fail; then returns what it returned.
---@param fn fun(): any
---@param opts? { within?: number, every?: number } seconds of the loop's clock; 1 and 0.01
---@return any ...
function eventually.eventually(fn, opts)
  if type(fn) == "thread" then argument.mismatch(1, "eventually", "function", fn, 2) end
  argument.body(fn, 1, "eventually", 2)
  opts = argument.options(opts, OPTIONS, 2, "eventually", 2)
  local within, every = opts.within or 1, opts.every or 0.01
  if within < 0 or within ~= within then
    argument.fail(2, "eventually", "within must not be negative", 2)
  end
  if every <= 0 or every ~= every then
    argument.fail(2, "eventually", "every must be more than 0", 2)
  end
  local place = waitgraph.here()
  local loop, tries
  local deadline = 0
  for try = 1, math.huge do
    tries = try
    local result = table.pack(core.pcall(fn))
    if result[1] and (result.n == 1 or result[2]) then
      return table.unpack(result, 2, result.n)
    end
    if try == 1 then
      core.sleep(0) -- a main task is on a loop from here on
      loop = core.get_running_loop()
      deadline = loop:time() + within
    end
    if loop:time() >= deadline then
      local why = result[1] and "it is still not true" or failure.text(result[2])
      error(failure.new(("%s: not within %g s, in %d tries: %s"):format(place or "?", within,
        tries, why)), 0)
    end
    core.sleep(math.min(every, deadline - loop:time()))
  end
end

return eventually
