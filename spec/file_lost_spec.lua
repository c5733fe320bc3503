-- A write that fails when nobody waits for it any more is told by the next operation, once.

local lh = require "loophost"
local expect = require "spec.expect"
local support = require "spec.support"

-- Writes to a device that is full, and gives up when the thread is through and the loop has not
-- heard of it; where the thread has not begun so soon, nothing was written.
local function give_up_writing(file)
  local task = lh.create_task(file.write, file, "lost")
  lh.sleep(0)
  local loop = lh.get_running_loop()
  local deadline = loop:time() + 0.005
  while loop:time() < deadline do collectgarbage "count" end
  task:cancel()
  expect.cancelled(task)
end

for name, tell in pairs {
  flush = function(file) return file:flush() end,
  write = function(file) return file:write() end,
  close = function(file) return file:close() end,
} do
  it("a write that failed for nobody is told by " .. name, support.in_real_task(function()
    local code
    repeat
      local file <close> = assert(lh.open_file("/dev/full", "w"))
      give_up_writing(file)
      code = select(3, tell(file))
    until code
    assert.equal("ENOSPC", code)
  end, { within = 20 }))
end

it("and not a second time", support.in_real_task(function()
  local code, file
  repeat
    file = assert(lh.open_file("/dev/full", "w"))
    give_up_writing(file)
    code = select(3, file:flush())
    if not code then file:close() end
  until code
  assert.is_true(file:flush())
  assert.is_true(file:close())
end, { within = 20 }))
