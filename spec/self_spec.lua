-- A method that is called with a dot, or on something else: the error says which method it was,
-- what it wanted and what it got, as C's methods do, at the script's line.

local lh = require "loophost"
local testing = require "loophost.testing"
local expect = require "spec.expect"
local support = require "spec.support"
local raises = expect.raises

-- fn() must raise exactly the text, at the line of the function.
local function raises_here(text, fn)
  local info = debug.getinfo(fn, "S")
  assert.equal(("%s:%d: %s"):format(info.short_src, info.linedefined, text), raises(text, fn))
end

-- Each of the object's methods must say so whatever is passed for the object.
local function check(expected, object, names)
  for name in names:gmatch "%S+" do
    local method = object[name]
    assert.is_function(method, name)
    local wrong = { text = "string", [7] = "number", [print] = "function", [{}] = "table" }
    local calling = ("calling '%s' on bad self (%s expected, got %%s)"):format(name, expected)
    local argument = ("bad argument #1 to '%s' (%s expected, got %%s)"):format(name, expected)
    raises_here(argument:format("no value"), function() local _ = object[name]() end)
    for value, kind in pairs(wrong) do
      raises_here(argument:format(kind), function() local _ = object[name](value) end)
    end
    raises_here(argument:format("FILE*"), function() local _ = object[name](io.stdout) end)
    local other = setmetatable({ method = method }, { __name = "Other" })
    raises_here(calling:format("Other"), function() other:method(1) end)
  end
end

local function ignore() end

-- The same of a class's methods with an object that is one.
local CLASSES = {
  TaskGroup = function(try)
    local group <close> = lh.TaskGroup()
    try("TaskGroup", group, "create_task")
    local ran = false
    group:create_task(function() ran = true end)
    lh.sleep(0)
    assert.is_true(ran)
  end,
  Barrier = function(try)
    local barrier = lh.Barrier(1)
    try("Barrier", barrier, "wait reset abort parties n_waiting broken")
    assert.equal(0, barrier:wait())
  end,
  ContextVar = function(try)
    local var = lh.ContextVar("var", "default")
    try("ContextVar", var, "get set reset")
    assert.equal("default", var:get())
  end,
  Server = function(try)
    local server <close> = assert(lh.start_server(ignore, "127.0.0.1", 0))
    try("Server", server, "close wait_closed serve_forever is_serving getsockname addresses")
    assert.is_true(server:is_serving())
  end,
  Runner = function(try)
    local runner <close> = lh.Runner()
    try("Runner", runner, "get_loop run close")
  end,
  EventLoop = function(try)
    try("EventLoop", lh.get_running_loop(), "set_exception_handler get_exception_handler "
      .. "default_exception_handler call_exception_handler print_metrics print_trace")
  end,
  OsBinding = function(try)
    local bound <close> = lh.clock.bind_os()
    try("OsBinding", bound, "unbind")
  end,
  ["a stream in memory"] = function(try)
    local stream <close> = testing.stream_pair()
    try("stream", stream, "read readexactly readuntil readline lines write write_eof break_off "
      .. "close is_closed wait_closed getpeername getsockname fileno")
  end,
  ["a clock in memory"] = function(try)
    local clock = testing.fake_clock(5)
    try("clock", clock, "time advance")
    assert.equal(5, clock())
  end,
  ["a log"] = function(try)
    local log = testing.log()
    try("log", log, "is")
    log "entry"
    log:is { "entry" }
  end,
}

describe("wrong selves of", function()
  for name, with_object in pairs(CLASSES) do
    it(name, expect.in_task(function() with_object(check) end))
  end

  it("methods in Lua of what is C's otherwise", support.in_real_task(function()
    local child <close> = assert(lh.create_subprocess_exec("true"))
    check("Process", child, "communicate")
    child:wait()
    local server <close> = assert(lh.start_server(function(peer) peer:close() end, "127.0.0.1", 0))
    local stream <close> = assert(lh.open_connection(server:getsockname()))
    check("stream", stream, "lines start_tls")
  end))

  it("a policy, which may be any table with its methods", function()
    local Policy = lh.EventLoopPolicy
    raises_here("bad argument #1 to 'get_event_loop' (EventLoopPolicy expected, got no value)",
      function() Policy.get_event_loop() end)
    local mine = setmetatable({}, { __index = Policy })
    mine:set_event_loop(nil)
    raises("There is no current event loop", mine.get_event_loop, mine)
  end)
end)

it("what a method says of other arguments is at the script's line, too", expect.in_task(function()
  local barrier = lh.Barrier(1)
  barrier:abort()
  assert.equal("Barrier aborted", raises(lh.BrokenBarrierError, barrier.wait, barrier).message)
  local group <close> = lh.TaskGroup()
  local var = lh.ContextVar "var"
  raises_here("bad argument #1 to 'create_task' (function expected, got number)",
    function() group:create_task(5) end)
  raises_here("ContextVar 'var' has no value", function() var:get() end)
  raises_here("bad argument #1 to 'reset' (token expected, got string)",
    function() var:reset "x" end)
end))
