-- call_soon as a statement, whose handle nobody sees: no different from one whose handle is kept,
-- but cheaper.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns = support.on_loop, support.turns

-- Schedules a function without keeping the handle, and with.
local ways = {
  statement = function(loop, fn) loop:call_soon(fn) end,
  expression = function(loop, fn) return loop:call_soon(fn) end,
}

local function each_way(body)
  return on_loop(function(loop)
    for name, schedule in pairs(ways) do body(loop, schedule, name) end
  end)
end

describe("call_soon as a statement", function()
  it("keeps its place among those whose handles are kept", on_loop(function(loop)
    local log = {}
    local function say(word) return function() log[#log + 1] = word end end
    loop:call_soon(say "a")
    local kept = loop:call_soon(say "b")
    loop:call_soon(say "c")
    loop:call_soon(say, "with an argument")
    loop:call_soon(setmetatable({}, { __call = function() log[#log + 1] = "d" end }))
    loop:call_soon(say "e")
    turns(loop)
    assert.same({ "a", "b", "c", "d", "e" }, log)
    assert.is_false(kept:cancelled())
  end))

  it("returns a handle to everybody who looks", on_loop(function(loop)
    local function tail() return loop:call_soon(error) end
    local handles = {
      loop:call_soon(error), (loop:call_soon(error)), tail(),
      select(2, pcall(loop.call_soon, loop, error)),
      coroutine.wrap(loop.call_soon)(loop, error),
    }
    assert.equal(1, select("#", loop:call_soon(error)))
    assert.equal(5, #handles)
    for _, handle in ipairs(handles) do
      assert.matches("^<Handle", tostring(handle))
      handle:cancel()
    end
    assert.matches("^<Handle", tostring(loop:call_soon(function() end)))
    loop:set_exception_handler(function() end) -- for the one of select()
    turns(loop)
  end))

  it("takes what can be called, and complains of all else", on_loop(function(loop)
    local reports = support.reports(loop)
    local callable = setmetatable({}, { __call = function() error("called", 0) end })
    loop:call_soon(callable)
    turns(loop)
    assert.equal("called", reports[1].exception)
    assert.matches("^<Handle", tostring(reports[1].handle))
    expect.raises(support.here(1), function()
      loop:call_soon(1)
    end)
    expect.raises("bad argument #1 to 'call_soon'", function() loop:call_soon() end)
  end))

  it("is done once, and a callback may schedule itself", each_way(function(loop, schedule)
    local count = 0
    local function again()
      count = count + 1
      if count < 1000 then schedule(loop, again) end
    end
    schedule(loop, again)
    turns(loop)
    assert.equal(1, count)
    turns(loop, 1100)
    assert.equal(1000, count)
  end))

  it("holds its function until it has run, and no longer", each_way(function(loop, schedule)
    local held, ran = setmetatable({}, { __mode = "k" }), false
    do
      local function fn() ran = true end
      held[fn] = true
      schedule(loop, fn)
    end
    collectgarbage()
    assert.is_truthy(next(held))
    turns(loop)
    assert.is_true(ran)
    collectgarbage()
    assert.is_nil(next(held))
  end))

  it("lets go of each function of many when that has run", each_way(function(loop, schedule)
    local COUNT = 3000
    local held, wrong, ran = setmetatable({}, { __mode = "k" }), 0, 0
    local function call(i)
      local function fn()
        ran = ran + 1
        if ran ~= i then wrong = wrong + 1 end
        if i % 500 ~= 0 then return end
        collectgarbage()
        local left = 0
        for _ in pairs(held) do left = left + 1 end
        if left ~= COUNT - i + 1 then wrong = wrong + 1 end
      end
      held[fn] = true
      schedule(loop, fn)
    end
    for i = 1, COUNT do call(i) end
    turns(loop)
    assert.equal(COUNT, ran)
    assert.equal(0, wrong)
    collectgarbage()
    assert.is_nil(next(held))
  end))

  it("takes any number, and those that come up meanwhile", each_way(function(loop, schedule)
    local log, left = {}, 10
    local function again()
      log[#log + 1] = left
      if #log % 50000 ~= 0 then return end
      left = left - 1
      if left <= 0 then return end
      for _ = 1, 50000 do schedule(loop, again) end
      schedule(loop, collectgarbage)
    end
    for _ = 1, 150000 do schedule(loop, again) end
    turns(loop, 12)
    assert.equal(600000, #log)
    for i = 1, #log do assert(log[i] == 10 - (i - 1) // 50000) end
  end))

  it("holds no function whose handle was cancelled among others", on_loop(function(loop)
    local held, handles, ran = setmetatable({}, { __mode = "k" }), {}, 0
    for i = 1, 100 do
      local function fn() ran = ran + i end
      held[fn] = true
      handles[i] = loop:call_soon(fn)
      loop:call_soon(function() ran = ran + 1000 end)
    end
    for i = 2, 100 do handles[i]:cancel() end
    collectgarbage()
    assert.is_truthy(next(held))
    assert.is_nil(next(held, next(held)))
    turns(loop)
    assert.equal(100 * 1000 + 1, ran)
  end))

  it("forgets what is left when the loop is closed", function()
    local loop, held = lh.new_event_loop(), setmetatable({}, { __mode = "k" })
    local handles = {}
    for i = 1, 100 do
      local function fn() end
      held[fn] = true
      loop:call_soon(fn)
      handles[i] = loop:call_soon(fn)
    end
    loop:close()
    for _, handle in ipairs(handles) do handle:cancel() end
    collectgarbage()
    assert.is_nil(next(held))
  end)

  it("reports an error with a handle of the function", each_way(function(loop, schedule, way)
    local contexts, after = support.reports(loop), false
    local function fails() error("no " .. way, 0) end
    for _ = 1, 3 do schedule(loop, fails) end
    schedule(loop, function() after = true end)
    turns(loop)
    assert.equal(3, #contexts)
    assert.is_true(after)
    for _, context in ipairs(contexts) do
      assert.equal("Exception in callback", context.message)
      assert.equal("no " .. way, context.exception)
      assert.matches("^<Handle spec/call_spec.lua:%d+ done>$", tostring(context.handle))
      assert.is_false(context.handle:cancelled())
      context.handle:cancel()
      assert.matches("call_spec.lua", context.traceback)
    end
    loop:set_exception_handler(nil)
  end))

  it("is traced, and counted", each_way(function(loop, schedule)
    loop:set_trace(true)
    local before, events = loop:get_metrics().callbacks_executed, #loop:get_trace()
    schedule(loop, function() end)
    local event = loop:get_trace()[events + 1]
    assert.equal("call_soon", event.event)
    assert.matches("^callback=spec/call_spec.lua:%d+$", event.details)
    loop:set_trace(false)
    turns(loop)
    assert.is_true(loop:get_metrics().callbacks_executed > before)
  end))

  it("runs as well when debug mode came in between, or went", each_way(function(loop, schedule)
    local contexts, log = support.reports(loop), {}
    for _, mode in ipairs { true, false } do
      loop:set_debug(not mode)
      schedule(loop, function() log[#log + 1] = "before" end)
      schedule(loop, error)
      loop:set_debug(mode)
      schedule(loop, function()
        loop:set_debug(not mode)
        log[#log + 1] = "in it"
      end)
      schedule(loop, function() log[#log + 1] = "behind" end)
      turns(loop)
      loop:set_debug(false)
    end
    assert.same({ "before", "in it", "behind", "before", "in it", "behind" }, log)
    assert.equal(2, #contexts)
    for _, context in ipairs(contexts) do assert.matches("^<Handle", tostring(context.handle)) end
    loop:set_exception_handler(nil)
  end))

  it("goes with a loop that is closed before", function()
    for name, schedule in pairs(ways) do
      local held = setmetatable({}, { __mode = "k" })
      local loop = lh.new_event_loop()
      for _ = 1, 100 do
        local function fn() error(name) end
        held[fn] = true
        schedule(loop, fn)
      end
      loop:close()
      collectgarbage()
      assert.is_nil(next(held))
    end
  end)

  it("is run in any number, again and again", each_way(function(loop, schedule)
    local count = 0
    local function one() count = count + 1 end
    for round = 1, 3 do
      for _ = 1, 10000 do schedule(loop, one) end
      turns(loop)
      assert.equal(round * 10000, count)
    end
  end))

  -- Last, as every handle has a context from the first one that was set on.
  it("has the context of its caller", each_way(function(loop, schedule, name)
    local var, seen = lh.ContextVar("of " .. name, "default"), {}
    schedule(loop, function() seen[1] = var:get() end)
    var:set("set")
    schedule(loop, function()
      seen[2] = var:get()
      var:set("inside")
    end)
    schedule(loop, function() seen[3] = var:get() end)
    turns(loop)
    assert.same({ "default", "set", "set" }, seen)
  end))
end)
