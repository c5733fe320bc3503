-- TracingEventLoop: by a subclass of one's own, and built in.
local lh = require "loophost"

-- By subclass
local TracingEventLoop = lh.EventLoop:subclass {
  init = function(self) self.log = {} end,
  trace = function(self, event, details)
    self.log[#self.log + 1] = ("[%.4fs] %s: %s"):format(self:time(), event, details)
  end,
  call_later = function(self, delay, fn, ...)
    self:trace("call_later", ("delay=%g"):format(delay))
    return lh.EventLoop.call_later(self, delay, fn, ...)
  end,
  create_task = function(self, fn, ...)
    self:trace("create_task", tostring(select("#", ...)) .. " arguments")
    return lh.EventLoop.create_task(self, fn, ...)
  end,
}
local loop = TracingEventLoop { clock = "virtual" }
loop:run_until_complete(function()
  lh.sleep(0.1) -- goes through the loop's own call_later
  lh.create_task(lh.sleep, 0.2)
  lh.sleep(0.3)
end)
print(table.concat(loop.log, "\n"))
loop:close()

-- Built in
loop = lh.new_event_loop { clock = "virtual" }
loop:set_trace(true)
loop:call_later(0.1, function() loop:call_soon(loop.stop, loop) end)
loop:create_task(function() end)
loop:run_forever()
loop:set_trace(false)
loop:call_soon(print) -- is not recorded any more
print(#loop:get_trace(), loop:get_trace()[1].event, loop:get_trace()[1].time)
loop:print_trace()
loop:close()
