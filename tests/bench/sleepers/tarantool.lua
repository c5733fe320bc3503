local clock, fiber = require "clock", require "fiber"
local WATCHED = 10 -- one of so many

local ops = tonumber(arg[1])
local late, early, watched, running, done, began = 0, 0, 0, ops, fiber.cond(), os.clock()

local function sleeper(delay, watch)
  local due = clock.monotonic() + delay
  fiber.sleep(delay)
  running = running - 1
  if running == 0 then done:signal() end
  if not watch then return end
  local lateness = clock.monotonic() - due
  late = late + lateness
  watched = watched + 1
  if lateness < 0 then early = early + 1 end
end

for i = 0, ops - 1 do fiber.new(sleeper, i * 7919 % ops / ops, i % WATCHED == 0) end
done:wait()
print(("ops=%d cpu_ns=%.0f late_ns=%.0f early=%d"):format(
  ops, (os.clock() - began) * 1e9, late / watched * 1e9, early))
os.exit(0)
