-- Bare functions in a ring that an idle handle drains: nothing that could be cancelled.
local uv = require "luv"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local rounds, done, idle, began = ops // size, 0, uv.new_idle(), os.clock()
local ready, first, last = {}, 1, 0

local function step() done = done + 1 end

local function soon(fn)
  last = last + 1
  ready[last] = fn
end

local function drain()
  local stop = last
  while first <= stop do
    local fn = ready[first]
    ready[first] = nil
    first = first + 1
    fn()
  end
  rounds = rounds - 1
  if rounds < 0 then
    idle:close()
    print(("ops=%d cpu_ns=%.0f"):format(done, (os.clock() - began) * 1e9))
    return
  end
  for _ = 1, size do soon(step) end
end

idle:start(drain)
uv.run()
