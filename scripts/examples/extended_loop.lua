-- ExtendedEventLoop: a loop that counts, by overriding create_task and call_soon. What it
-- overrides is what the runtime itself calls: task steps are counted, too.
local lh = require "loophost"

local ExtendedEventLoop = lh.EventLoop:subclass {
  init = function(self)
    self.tasks, self.scheduled = 0, 0
  end,
  create_task = function(self, fn, ...)
    self.tasks = self.tasks + 1
    return lh.EventLoop.create_task(self, fn, ...)
  end,
  call_soon = function(self, fn, ...)
    self.scheduled = self.scheduled + 1
    return lh.EventLoop.call_soon(self, fn, ...)
  end,
}

local loop = ExtendedEventLoop { clock = "virtual" }
loop:run_until_complete(function()
  loop:create_task(lh.sleep, 1)
  local results = lh.gather(
    function() lh.sleep(0.5) return "a" end,
    function() lh.sleep(0.25) return "b" end)
  print(table.concat(results, " "))
  lh.sleep(1)
end)

print("tasks:", loop.tasks)
print("call_soon, by this script and by the runtime:", loop.scheduled)
local metrics = loop:get_metrics()
print(metrics.tasks_created, metrics.callbacks_executed > loop.scheduled, metrics.io_wait_time >= 0)

local plain = lh.new_event_loop { clock = "virtual" }
plain:run_until_complete(function() lh.sleep(1) end)
plain:print_metrics()
plain:close()
loop:close()
