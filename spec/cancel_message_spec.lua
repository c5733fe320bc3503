-- What task:cancel(message) raises, and what those see who ask afterwards.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns = support.on_loop, support.turns
local raises, caught = expect.raises, expect.caught

describe("task:cancel, asked for twice before the task runs again,", function()
  -- Whose message it raises is CPython 3.11's choice.
  local function message_of(loop, wait, before)
    local first, second
    local task = loop:create_task(function()
      first = caught(wait).message
      second = caught(lh.sleep, 1)
    end)
    turns(loop)
    before()
    task:cancel "one"
    task:cancel "two"
    loop:run_until_complete(task)
    assert.is_nil(second) -- once
    assert.equal(2, task:cancelling())
    return first
  end
  local function nothing() end

  it("raises the first message in a sleep or a queue", on_loop(function(loop)
    local q = lh.Queue()
    assert.equal("one", message_of(loop, function() lh.sleep(1) end, nothing))
    assert.equal("one", message_of(loop, function() q:get() end, nothing))
  end))

  it("raises the last message when the wait was over already", on_loop(function(loop)
    local future, q = loop:create_future(), lh.Queue()
    assert.equal("two", message_of(loop, function() lh.await(future) end, function()
      future:set_result()
    end))
    assert.equal("two", message_of(loop, function() q:get() end, function() q:put_nowait(1) end))
    assert.equal(1, q:qsize())
  end))
end)

describe("a cancel message", function()
  -- What a task is cancelled with, and what those see who ask it afterwards.
  local cases = { { n = 0 }, { n = 1, "my message" }, { n = 1, 5 } }

  local function seen_by(ask, give_turn)
    for _, args in ipairs(cases) do
      support.with_loop(function(loop)
        local err = raises(lh.CancelledError, loop.run_until_complete, loop, function()
          local task = lh.create_task(lh.sleep, 10)
          if give_turn then lh.sleep(0) end
          task:cancel(table.unpack(args, 1, args.n))
          lh.wait { task }
          ask(task)
        end)
        if args.n > 0 then assert.equal(tostring(args[1]), tostring(err.message)) end
      end)
    end
  end

  it("is in the error that result() raises", function()
    seen_by(function(task) task:result() end, true)
  end)

  it("is in the error that exception() raises", function()
    seen_by(function(task) task:exception() end, true)
  end)

  it("is in the error that the one who awaits gets", function()
    seen_by(function(task) lh.await(task) end, true)
  end)

  it("is there when the task had not started yet", function()
    seen_by(function(task) task:exception() end, false)
  end)

  it("is in the error that the task itself gets", on_loop(function(loop)
    local message
    local task = loop:create_task(function() message = caught(lh.sleep, 10).message end)
    turns(loop)
    task:cancel("msg")
    loop:run_until_complete(task)
    assert.equal("msg", message)
  end))

  it("comes through the task that awaits", on_loop(function(loop)
    local message
    loop:run_until_complete(function()
      local inner = lh.create_task(lh.sleep, 10)
      lh.sleep(0)
      loop:call_soon(inner.cancel, inner, "msg")
      message = caught(lh.await, inner).message
    end)
    assert.equal("msg", message)
  end))
end)
