-- A timer set and cancelled at once, while others stand. Arguments: timers, how many others.
local lh = require "loophost"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local loop, others = lh.get_event_loop(), {}

local function nothing() end

for i = 1, size do others[i] = loop:call_later(10 + i * 7919 % 40009 / 1000, nothing) end
local began = os.clock()
for i = 1, ops do loop:call_later(10 + i * 7907 % 40009 / 1000, nothing):cancel() end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
for i = 1, size do others[i]:cancel() end
