-- A file of which a thread still reads for a loop that was closed: the next loop waits for that,
-- and does not stand still.

local lh = require "loophost"
local support = require "spec.support"

it("a read that a closed loop has begun is another loop's to wait for", function()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkfifo " .. path))
  local file
  support.with_loop(function(loop)
    loop:run_until_complete(function()
      file = assert(lh.open_file(path))
      lh.create_task(file.read, file)
      lh.sleep(0.01)
    end)
  end, { clock = "monotonic" })
  support.in_real_task(function()
    local reader = lh.create_task(file.read, file)
    lh.sleep(0.01) -- the reader waits, and we go on
    assert.is_false(reader:done())
    local writer <close> = assert(lh.open_file(path, "w"))
    assert.is_true(writer:write "line\n")
    assert.equal("line", lh.await(reader))
    file:close()
  end, { within = 20 })()
  os.remove(path)
end)
