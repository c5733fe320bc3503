-- virtual_hour.lua -- what an hour costs in virtual time: 1,000 tasks that sleep through it.
local lh = require "loophost"

local TASKS, HOUR = 1000, 3600

local function hour(every)
  local wakes, began = 0, os.clock()
  local loop = lh.new_event_loop { clock = "virtual" }
  loop:run_until_complete(function()
    local group <close> = lh.TaskGroup()
    for _ = 1, TASKS do
      group:create_task(function()
        for _ = every, HOUR, every do
          lh.sleep(every)
          wakes = wakes + 1
        end
      end)
    end
  end)
  print(("a sleep of %2d s: %7d wakes, %d virtual seconds, [%5d ms] of the processor"):format(every,
    wakes, loop:time(), (os.clock() - began) * 1000 // 1))
  loop:close()
end

hour(60)
hour(1)
