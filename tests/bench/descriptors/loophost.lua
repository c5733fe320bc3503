-- Turns of a loop with many descriptors, of which one is ready. Arguments: turns, descriptors;
-- they are open from number 10 on, and the first is readable.
local lh = require "loophost"
local FIRST = 10

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local loop, turns, done = lh.get_event_loop(), 0, lh.Event()

local function ready()
  turns = turns + 1
  if turns == ops then done:set() end
end

local function never() error "not readable" end

for fd = FIRST + 1, FIRST + size - 1 do loop:add_reader(fd, never) end
loop:add_reader(FIRST, ready)
local began = os.clock()
done:wait()
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
for fd = FIRST, FIRST + size - 1 do loop:remove_reader(fd) end
