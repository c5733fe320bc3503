-- Tasks that sleep once, over one second; of some it is seen when they wake. Arguments: tasks.
local lh = require "loophost"

local WATCHED = 10 -- one of so many

local ops = tonumber(arg[1])
local loop, running, watched, late, early = lh.get_event_loop(), ops, 0, 0, 0
local began, began_wall = os.clock(), loop:time()

local function report()
  print(("ops=%d cpu_ns=%.0f wall_ns=%.0f late_ns=%.0f early=%d"):format(ops,
    (os.clock() - began) * 1e9, (loop:time() - began_wall) * 1e9, late / watched * 1e9, early))
end

local function sleeper(delay)
  lh.sleep(delay)
  running = running - 1
  if running == 0 then report() end
end

local function watched_sleeper(delay)
  local due = loop:time() + delay
  lh.sleep(delay)
  local lateness = loop:time() - due
  late = late + lateness
  if lateness < 0 then early = early + 1 end
  running = running - 1
  if running == 0 then report() end
end

for i = 0, ops - 1 do
  if i % WATCHED == 0 then watched = watched + 1 end
  lh.create_task(i % WATCHED == 0 and watched_sleeper or sleeper, i * 7919 % ops / ops)
end
