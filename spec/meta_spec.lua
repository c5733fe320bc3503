-- scripts/meta/loophost.lua, which nothing runs, must know every name that there is, and no other.

local lh = require "loophost"
local support = require "spec.support"

local file = assert(io.open "scripts/meta/loophost.lua")
local TEXT = file:read "a"
file:close()

-- The names that the text gives to `table`: "function table:name(", "table.name =", "table.name, ".
local function declared(table)
  local names = {}
  for _, pattern in ipairs { "%s[.:]([%%w_]+)%%(", "%s%%.([%%w_]+) =", "%s%%.([%%w_]+), ",
    ", %s%%.([%%w_]+)" } do
    for name in TEXT:gmatch("%f[%w]" .. pattern:format(table)) do names[name] = true end
  end
  return names
end

local function keys(table)
  local names = {}
  for name in pairs(table) do names[name] = true end
  return names
end

-- What C gives to objects of the kind; what is Lua's is annotated there.
local function methods(object)
  return keys(debug.getmetatable(object).__index)
end

describe("the annotations of what C makes", function()
  it("have the names of the library", function()
    assert.same(keys(lh), declared "lh")
  end)

  it("have the methods of what stands in no need of a descriptor", support.on_loop(function(loop)
    local task
    loop:run_until_complete(function()
      task = lh.current_task()
      assert.same(methods(lh.timeout(1)), declared "Timeout")
    end)
    local future = methods(loop:create_future())
    assert.same(future, declared "Future")
    local more = methods(task)
    for name in pairs(future) do more[name] = nil end
    assert.same(more, declared "Task")
    assert.same(methods(loop:call_soon(print)), declared "Handle")
    local timer = loop:call_later(100, print)
    assert.same({ when = true }, declared "TimerHandle")
    assert.is_number(timer:when())
    assert.same(methods(lh.Lock()), declared "Lock")
    assert.same(methods(lh.Event()), declared "Event")
    assert.same(methods(lh.Condition()), declared "Condition")
    assert.same(methods(lh.Semaphore()), declared "Semaphore")
    assert.same(methods(lh.BoundedSemaphore()), declared "Semaphore")
    assert.same(methods(lh.Queue()), declared "Queue")
    assert.same(methods(lh.LifoQueue()), declared "Queue")
  end))

  it("have the methods of loops that are not annotated where they stand", function()
    local source = assert(io.open "scripts/loophost/eventloop.lua")
    local code = source:read "a"
    source:close()
    local all = keys(lh.EventLoop)
    for name in code:gmatch "EventLoop[.:]([%w_]+)" do all[name] = nil end
    all.subclass = nil -- class.lua
    assert.same(all, declared "EventLoop")
  end)

  it("have the methods of streams and files", support.in_real_task(function()
    local file_object <close> = assert(lh.open_file "/dev/null")
    assert.same(methods(lh.stdin), declared "Stream")
    assert.same(methods(file_object), declared "File")
  end))
end)
