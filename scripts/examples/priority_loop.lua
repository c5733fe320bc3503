-- PriorityEventLoop: urgent callbacks first, equal ones in order, and nobody starves.
local lh = require "loophost"
local loop = lh.new_event_loop { clock = "virtual" }

loop:call_soon(print, "normal")
loop:call_soon_with_priority(10, print, "low")
loop:call_soon_with_priority(1, print, "high, first")
loop:call_soon_with_priority(1, print, "high, second")
loop:call_soon_with_priority(5, print, "cancelled"):cancel()
loop:call_soon_with_priority(0.5, function()
  print("an urgent one schedules a more urgent one: it overtakes what waits")
  loop:call_soon_with_priority(-1, print, "most urgent")
end)
loop:call_later(0, loop.stop, loop)
loop:run_forever()

-- A chain of urgent callbacks without end holds up neither timers nor ready ones.
local urgent = 0
local function again()
  urgent = urgent + 1
  loop:call_soon_with_priority(0, again)
end
again()
loop:call_soon(function() print("a ready callback had its turn") end)
loop:call_later(0, function()
  print("a timer had its turn")
  loop:stop()
end)
loop:run_forever()
print("urgent callbacks meanwhile:", urgent < 10)

-- Tasks have priorities, too: their steps run as urgent callbacks.
local function steps(name)
  for i = 1, 2 do
    lh.sleep(0)
    print(name, i)
  end
end
local ordinary, urgent_task = loop:create_task(steps, "ordinary"), loop:create_task(steps, "urgent")
urgent_task:set_priority(-1)
loop:run_until_complete(function() lh.gather(ordinary, urgent_task) end)
loop:close()
