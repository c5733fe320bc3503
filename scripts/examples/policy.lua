-- EventLoopPolicy: who decides which loop a script gets.
local lh = require "loophost"

-- The default policy makes a loop when one is first asked for, and keeps it.
local loop = lh.get_event_loop()
print(loop == lh.get_event_loop(), loop:is_closed())

-- set_event_loop chooses another, new_event_loop makes one.
local mine = lh.new_event_loop { clock = "virtual" }
lh.set_event_loop(mine)
print(lh.get_event_loop() == mine)
loop:close()

-- A policy of one's own: every loop is virtual, and counted.
local Policy = lh.EventLoopPolicy:subclass {
  init = function(self) self.made = 0 end,
  new_event_loop = function(self)
    self.made = self.made + 1
    return lh.EventLoop { clock = "virtual" }
  end,
}
local policy = Policy()
lh.set_event_loop_policy(policy)
print(lh.get_event_loop_policy() == policy)
local first = lh.get_event_loop()
print(first ~= mine, first:time(), policy.made)

-- lh.run asks the policy for its loop, too.
lh.run(function()
  lh.sleep(3600)
  print("an hour later:", lh.get_running_loop():time())
end)
print("made:", policy.made)

-- Outside a running loop there is none to be had.
print((pcall(lh.get_running_loop)))
first:close()
mine:close()
