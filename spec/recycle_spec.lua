-- Coroutines of tasks that are done are used again; no script may notice.

local lh = require "loophost"
local in_task = require("spec.expect").in_task

local in_host = coroutine.running == lh.coroutine.running

describe("the coroutine of a task that is done", function()
  it("is another task's only if no script has asked for it", in_task(function()
    local seen = {}
    for i = 1, 100 do
      lh.await(lh.create_task(function()
        local coro = coroutine.running()
        assert.is_nil(seen[coro])
        seen[coro] = i
      end))
    end
  end))

  it("stays its own when get_coro has given it away", in_task(function()
    local first = lh.create_task(lh.sleep, 0)
    local coro = first:get_coro()
    lh.await(first)
    for _ = 1, 10 do
      local task = lh.create_task(lh.sleep, 0)
      assert.not_equal(coro, task:get_coro())
      lh.await(task)
    end
    assert.equal("dead", coroutine.status(coro))
    assert.equal(coro, first:get_coro())
  end))

  it("is dead for who asks afterwards, and always the same", in_task(function()
    local task = lh.create_task(function() return "ok" end)
    lh.await(task)
    local other = lh.create_task(lh.sleep, 0)
    local coro = task:get_coro()
    assert.equal("thread", type(coro))
    assert.equal("dead", coroutine.status(coro))
    assert.equal(coro, task:get_coro())
    assert.not_equal(coro, other:get_coro())
    assert.equal("ok", task:result())
    lh.await(other)
  end))

  it("is a new one after an error, which leaves it as it fell", in_task(function()
    for i = 1, 20 do
      local task = lh.create_task(function() error("number " .. i, 0) end)
      assert.is_false((lh.rawpcall(lh.await, task)))
      assert.equal("number " .. i, task:exception())
      assert.equal(i, lh.await(lh.create_task(function() return i end)))
    end
  end))

  it("holds nothing of the task that had it before", in_task(function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local function body(object)
        lh.sleep(0)
        return object.name
      end
      weak.object = { name = "gone" }
      assert.equal("gone", lh.await(lh.create_task(body, weak.object)))
    end
    lh.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak.object)
  end))

  it("brings no debug hook into the next task", in_task(function()
    local lines = 0
    lh.await(lh.create_task(function()
      debug.sethook(function() lines = lines + 1 end, "l")
      local _ = 1
    end))
    local before = lines
    for _ = 1, 5 do
      lh.await(lh.create_task(function()
        assert.is_nil((debug.gethook()))
        lh.sleep(0)
      end))
    end
    assert.equal(before, lines)
  end))

  it("serves bursts of many tasks, with arguments and results", in_task(function()
    for round = 1, 3 do
      local tasks = {}
      for i = 1, 600 do
        tasks[i] = lh.create_task(function(a, b, ...)
          lh.sleep(i % 3 == 0 and 0 or 0.0001)
          return a + b, select("#", ...)
        end, i, round, nil, nil)
      end
      for i = 1, 600 do
        local sum, rest = lh.await(tasks[i])
        assert.equal(i + round, sum)
        assert.equal(2, rest)
      end
    end
  end))

  local function is_used_again()
    local function body() lh.sleep(0) end
    lh.await(lh.create_task(body))
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    for _ = 1, 100 do lh.await(lh.create_task(body)) end
    local grown = collectgarbage "count" - before
    collectgarbage "restart"
    assert.is_true(grown < 100, "100 tasks took " .. grown .. " KiB")
  end

  it("is used again at all, in the host", in_task(function()
    if not in_host then return pending("stock Lua: nobody knows who has a coroutine") end
    is_used_again()
  end))

  it("is used again after hundreds of them were given away", in_task(function()
    if not in_host then return pending("stock Lua: nobody knows who has a coroutine") end
    for _ = 1, 300 do
      lh.await(lh.create_task(lh.sleep, 0))
      local task = lh.create_task(lh.sleep, 0)
      task:get_coro()
      lh.await(task)
    end
    is_used_again()
  end))

  it("is the task's while that can be seen, wherever the task ends", in_task(function()
    local function body() lh.sleep(0) end
    lh.await(lh.create_task(body)) -- there is one to be used again
    local failed = lh.create_task(function()
      lh.sleep(0)
      error("no", 0)
    end)
    local shown = lh.create_task(body)
    local coro = shown:get_coro()
    local cancelled = lh.create_task(body)
    cancelled:cancel()
    lh.wait { failed, shown, cancelled }
    assert.equal("no", failed:exception())
    assert.equal(coro, shown:get_coro())
    assert.equal("dead", coroutine.status(failed:get_coro()))
    assert.equal(failed:get_coro(), failed:get_coro())
    assert.equal("dead", coroutine.status(cancelled:get_coro())) -- it never began
    for _ = 1, 600 do lh.await(lh.create_task(body)) end
    assert.equal(coro, shown:get_coro())
  end))

  it("is not kept when it was given away and nobody has it any more", in_task(function()
    local seen = setmetatable({}, { __mode = "k" })
    local function spawn()
      local task = lh.create_task(lh.sleep, 0)
      seen[task:get_coro()] = true
      return task
    end
    lh.await(lh.create_task(lh.sleep, 0)) -- there is one to be used again
    lh.await(spawn())
    collectgarbage()
    assert.is_nil(next(seen))
  end))

  it("is left alone on a loop whose own call_soon may refuse the task", function()
    local refuses = false
    local Class = lh.EventLoop:subclass {
      call_soon = function(self, ...)
        if refuses then error("refused", 0) end
        return lh.EventLoop.call_soon(self, ...)
      end,
    }
    local loop, held = Class { clock = "virtual" }, setmetatable({}, { __mode = "k" })
    local function body() lh.sleep(0) end
    loop:run_until_complete(function()
      for _ = 1, 5 do lh.await(lh.create_task(body)) end
      refuses = true
      for _ = 1, 5 do
        local object = {}
        held[object] = true
        assert.is_false((lh.rawpcall(lh.create_task, body, object)))
      end
      refuses = false
    end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(held))
    loop:close()
  end)

  it("is not used again where a new one would inherit a debug hook", in_task(function()
    local mask
    local function body() mask = select(2, debug.gethook()) end
    for _ = 1, 5 do lh.await(lh.create_task(body)) end
    assert.is_nil(mask)
    debug.sethook(function() end, "l")
    local task = lh.create_task(body)
    debug.sethook()
    lh.await(task)
    assert.equal("l", mask)
  end))

  -- Uses coroutines again, leaves tasks that wait, and says which coroutines those have.
  local function leave(loop, count)
    local tasks = {}
    loop:run_until_complete(function()
      for _ = 1, 2 do
        for i = 1, count do tasks[i] = loop:create_task(lh.sleep, 0) end
        lh.gather(table.unpack(tasks))
      end
      for i = 1, count do
        tasks[i] = loop:create_task(function(held) lh.sleep(1000, held) end, {})
      end
      lh.sleep(0)
    end)
    return tasks
  end

  it("is still there for the tasks that a closed loop has left", function()
    local loop = lh.new_event_loop()
    local tasks = leave(loop, 20)
    loop:close()
    loop = nil -- luacheck: ignore
    collectgarbage()
    for i, task in ipairs(tasks) do
      task:cancel()
      assert.equal("suspended", coroutine.status(task:get_coro()))
      assert.equal(task:get_coro(), tasks[i]:get_coro())
    end
  end)

  it("goes with its loop, and with the task that waits in it", function()
    for _, ending in ipairs { "dropped", "closed" } do
      local seen = setmetatable({}, { __mode = "k" })
      local loop = lh.new_event_loop()
      for _, task in ipairs(leave(loop, 20)) do seen[task] = true end
      if ending == "closed" then
        loop:close()
      else
        loop = nil -- luacheck: ignore
      end
      for _ = 1, 3 do collectgarbage() end
      assert.is_nil(next(seen), ending)
      if loop ~= nil then assert.is_true(loop:is_closed()) end
    end
  end)
end)
