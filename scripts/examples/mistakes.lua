-- The two common mistakes, made harmless.
local lh = require "loophost"

-- 1. A subclass that forgets a method: it has its parent's.
local Forgetful = lh.EventLoop:subclass {
  call_soon = function(self, fn, ...)
    self.calls = (self.calls or 0) + 1
    return lh.EventLoop.call_soon(self, fn, ...)
  end,
}
local Grandchild = Forgetful:subclass {}
local loop = Grandchild { clock = "virtual" }
loop:call_later(1, print, "call_later is the parent's")
print(loop:run_until_complete(function() lh.sleep(2) return "and so is the rest" end))
print("call_soon is its own:", loop.calls > 0)

-- 2. An error in a callback: it reaches the exception handler, and the loop goes on.
loop:set_exception_handler(function(l, context)
  print("handler:", l == loop, context.message:match("^[%w ]+"), context.exception)
end)
loop:call_soon(error, "a mistake", 0)
loop:call_soon(print, "the next callback runs")
loop:call_later(1, loop.stop, loop)
loop:run_forever()

-- Even an error in the handler does not stop the loop: the default handler reports both.
loop:set_exception_handler(function() error("the handler fails") end)
loop.default_exception_handler = function(_, context) print("default:", context.message) end
loop:call_soon(error, "another mistake", 0)
loop:call_later(1, loop.stop, loop)
loop:run_forever()
print("still running? ", loop:is_running(), "closed?", loop:is_closed())
loop:close()
