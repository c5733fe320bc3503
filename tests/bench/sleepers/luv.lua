local uv, tasks = require "luv", require "luvtasks"
local WATCHED = 10 -- one of so many

local ops = tonumber(arg[1])
local late, early, watched, began = 0, 0, 0, os.clock()

local function sleeper(delay, watch)
  local due = uv.hrtime() + delay * 1e9
  tasks.sleep(delay)
  if not watch then return end
  local lateness = uv.hrtime() - due
  late = late + lateness
  watched = watched + 1
  if lateness < 0 then early = early + 1 end
end

for i = 0, ops - 1 do
  local delay = i * 7919 % ops / ops
  tasks.spawn(function() sleeper(delay, i % WATCHED == 0) end)
end
uv.run()
print(("ops=%d cpu_ns=%.0f late_ns=%.0f early=%d"):format(
  ops, (os.clock() - began) * 1e9, late / watched, early))
