local cqueues = require "cqueues"
local WATCHED = 10 -- one of so many

local ops = tonumber(arg[1])
local cq, late, early, watched, began = cqueues.new(), 0, 0, 0, os.clock()

local function sleeper(delay, watch)
  local due = cqueues.monotime() + delay
  cqueues.sleep(delay)
  if not watch then return end
  local lateness = cqueues.monotime() - due
  late = late + lateness
  watched = watched + 1
  if lateness < 0 then early = early + 1 end
end

for i = 0, ops - 1 do
  local delay = i * 7919 % ops / ops
  cq:wrap(sleeper, delay, i % WATCHED == 0)
end
assert(cq:loop())
print(("ops=%d cpu_ns=%.0f late_ns=%.0f early=%d"):format(
  ops, (os.clock() - began) * 1e9, late / watched * 1e9, early))
