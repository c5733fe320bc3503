-- Child processes of tests: what they must not leave behind.

local lh = require "loophost"
local assert = require "luassert"
local support = require "spec.support"

local children = {}

-- Ours.
children.PID = math.tointeger(support.contents("/proc/self/stat"):match("^%d+"))

-- Where each descriptor of ours leads, sorted. The shell waits for our end of its pipe to be
-- closed: we might still hold both ends when it begins.
function children.descriptors()
  local name = os.tmpname()
  local list = "cat; ls -l /proc/%d/fd | sed -n 's/.* -> //p' | sed 's/:.*//' | sort >%s"
  assert(io.popen(list:format(children.PID, name), "w")):close()
  local text = support.contents(name)
  os.remove(name)
  return text
end

-- How many children we have, zombies too; or how many zombies.
function children.count(only_zombies)
  local number = 0
  for pid in support.contents(("/proc/self/task/%d/children"):format(children.PID)):gmatch "%d+" do
    local state = support.contents(("/proc/%s/stat"):format(pid)):match(".*%) (%a)")
    if state == "Z" or not only_zombies then number = number + 1 end
  end
  return number
end

-- fn() with only so many descriptors to be had.
function children.with_limit(limit, fn)
  local before = support.contents("/proc/self/limits"):match("Max open files%s+(%d+)")
  local function set(soft)
    assert(os.execute(("prlimit --pid %d --nofile=%d:"):format(children.PID, soft)))
  end
  set(limit)
  local ok, err = lh.rawpcall(fn)
  set(before)
  if not ok then error(err, 0) end
end

-- A test body, a task; it must leave no child, no zombie and no descriptor.
function children.in_task(fn, opts)
  return function()
    collectgarbage()
    local fds = children.descriptors()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        local held <close> = lh.timeout(60)
        fn(loop)
      end)
    end, opts or { clock = "monotonic" })
    assert.equal(0, children.count())
    for _ = 1, 3 do collectgarbage() end -- what finalisers let go of is found by the next
    assert.equal(fds, children.descriptors())
  end
end

function children.started(...)
  return assert(lh.create_subprocess_exec(...))
end

-- The child has written a first line: its traps are set, its own children run.
function children.ready(child)
  assert.equal("ready", child.stdout:readline())
  return child
end

return children
