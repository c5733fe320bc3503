-- to_thread: blocking Lua in threads. A thread that is to be at work for as long as a test
-- wants reads from a named pipe.

local lh = require "loophost"
local support = require "spec.support"
local ending = require "spec.ending"
local expect = require "spec.expect"
local raises = expect.raises

local in_task = support.in_real_task

local function results(...) return table.pack(...) end

-- A number of the kernel's about this process.
local function of_process(name)
  for line in io.lines "/proc/self/status" do
    local n = line:match("^" .. name .. ":%s+(%d+)")
    if n then return tonumber(n) end
  end
end

local function threads() return of_process "Threads" end

-- fn(path, release): a named pipe, and what lets n readers of it go on.
local function with_pipe(fn)
  return in_task(function(loop)
    local path = os.tmpname()
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
    local pipe <close> = assert(io.open(path, "r+"))
    pipe:setvbuf "no"
    fn(path, function(n) pipe:write(("x"):rep(n or 1)) end, loop)
  end)
end

local BLOCK = [[
  local file <close> = assert(io.open(..., "r"))
  file:setvbuf "no"
  return file:read(1)]]

describe("to_thread", function()
  it("runs a chunk, with the arguments as ...", in_task(function()
    assert.same({ n = 3, 1, nil, "x" }, results(lh.to_thread("return ...", 1, nil, "x")))
    assert.same({ n = 0 }, results(lh.to_thread("")))
    assert.same({ n = 1 }, results(lh.to_thread("return nil")))
  end))

  it("runs a function by its name", in_task(function()
    assert.equal(5, lh.to_thread("math.max", 1, 5, 2))
    assert.equal("12", lh.to_thread("tostring", 12))
    assert.same({ n = 3, nil, "exit", 3 }, results(lh.to_thread("os.execute", "exit 3")))
    assert.equal('{"a":[1,2]}', lh.to_thread("cjson.encode", { a = { 1, 2 } }))
    assert.same({ a = { 1, 2 } }, lh.to_thread("cjson.decode", '{"a":[1,2]}'))
    raises("module 'no.such' not found", lh.to_thread, "no.such.fn")
    raises("there is no function 'nothing'", lh.to_thread, "nothing")
    raises("there is no function 'cjson.nothing'", lh.to_thread, "cjson.nothing")
  end))

  it("runs a C function that some module has", in_task(function()
    assert.equal(7, lh.to_thread(math.max, 7, 2))
    raises("a C function that is in no loaded module", lh.to_thread, coroutine.wrap(print))
    local message = raises("bad argument #1 to 'to_thread'", function()
      lh.to_thread(coroutine.wrap(print))
    end)
    assert.matches("thread_spec.lua:%d+: bad argument", message)
  end))

  it("runs a function without outer locals, and names the one that it has", in_task(function()
    assert.equal("3 /", lh.to_thread(function(a, b)
      local c = a + b
      return tostring(c) .. " " .. package.config:sub(1, 1)
    end, 1, 2))
    local outer = 1
    raises("bad argument #1 to 'to_thread' (the function uses the outer local 'outer'",
      lh.to_thread, function() return outer end)
  end))

  it("has a state of its own, with our paths", in_task(function()
    local path = package.path
    local _ <close> = setmetatable({}, { __close = function() package.path = path end })
    package.path = "./spec/?.lua;" .. path
    rawset(_G, "only_here", true)
    assert.is_nil(lh.to_thread("return only_here"))
    rawset(_G, "only_here", nil)
    assert.equal(package.path, lh.to_thread("return package.path"))
    assert.equal(package.cpath, lh.to_thread("return package.cpath"))
  end))

  it("may use the library in the thread", in_task(function()
    assert.equal("done", lh.to_thread([[
      local lh = require "loophost"
      return lh.run(function() lh.sleep(0.001) return "done" end)]]))
  end))

  it("refuses what cannot be run", in_task(function()
    raises("bad argument #1 to 'to_thread' ([string \"x y\"]:1: syntax error near 'y')",
      lh.to_thread, "x y")
    raises("bad argument #1 to 'to_thread' (string expected, got no value)", lh.to_thread)
    raises("string expected, got table", lh.to_thread, {})
    raises("bad argument #1", lh.to_thread, "a..b")
    raises("bad argument #1", lh.to_thread, string.dump(function() end))
  end))

  it("needs a task", function()
    if lh.current_task() then return end
    raises("only a task can wait", lh.to_thread, "return 1")
  end)
end)

describe("values", function()
  local values = { true, false, 1, 1.5, -0.0, math.mininteger, 1 / 0, "", "a\0b", ("x"):rep(1e6),
    { 1, 2, { a = { b = "c" } }, [2.5] = true, [false] = "no" } }

  it("are copied both ways as they are", in_task(function()
    for _, value in ipairs(values) do
      local copy, kind = lh.to_thread("return ..., math.type(...)", value)
      assert.same(value, copy)
      assert.equal(math.type(value), kind)
      assert.is_false(type(value) == "table" and rawequal(copy, value))
    end
    local nan = lh.to_thread("return 0/0")
    assert.is_true(nan ~= nan)
    assert.equal(require "cjson".null, lh.to_thread("cjson.decode", "[null]")[1])
  end))

  it("may contain themselves and each other", in_task(function()
    local shared = { "shared" }
    local cyclic = { shared, shared }
    cyclic.self = cyclic
    local copy, again = lh.to_thread("local t = ... assert(t.self == t) return t, t[1]", cyclic)
    assert.is_true(rawequal(copy.self, copy))
    assert.is_true(rawequal(copy[1], copy[2]))
    assert.equal("shared", copy[1][1])
    assert.same({ "shared" }, again)
  end))

  it("that cannot be copied are refused, by their place", in_task(function()
    raises("bad argument #3 to 'to_thread' (cannot copy a function)",
      lh.to_thread, "return 1", 1, print)
    raises("#2 to 'to_thread' (cannot copy a userdata in field 'b' in field 'a')",
      lh.to_thread, "return 1", { a = { b = io.stdout } })
    raises("cannot copy a thread as a key", lh.to_thread, "return 1",
      { [coroutine.create(print)] = 1 })
    raises("cannot copy a table with a metatable in field '1'", lh.to_thread, "return 1",
      { setmetatable({}, {}) })
    local deep = {}
    for _ = 1, 1000 do deep = { deep } end
    raises("nested too deeply", lh.to_thread, "return 1", deep)
    raises("result #2 cannot be copied: a function in field 'f'", lh.to_thread,
      "return 1, { f = print }")
  end))

  it("many of them", in_task(function()
    local many = {}
    for i = 1, 5000 do many[i] = i end
    local back = results(lh.to_thread("return ...", table.unpack(many)))
    many.n = 5000
    assert.same(many, back)
  end))
end)

describe("errors", function()
  it("are raised where the call is waited for, as values", in_task(function()
    raises("oops", lh.to_thread, "error 'oops'")
    local ok, err = pcall(lh.to_thread, "error { code = 7, list = { 1 } }")
    assert.is_false(ok)
    assert.same({ code = 7, list = { 1 } }, err)
    raises("told", lh.to_thread,
      "error(setmetatable({}, { __tostring = function() return 'told' end }))")
    raises("function", lh.to_thread, "error(print)")
    assert.same({ n = 2, false }, results(pcall(lh.to_thread, "error()")))
    raises("os.exit: a thread cannot end the program", lh.to_thread, "os.exit(3)")
    raises("stack overflow", lh.to_thread, "local function f() return 1 + f() end return f()")
  end))

  it("bring the thread's traceback", in_task(function()
    local task = lh.create_task(function()
      lh.to_thread(function()
        local function inner() error "oops" end
        inner()
      end)
    end)
    raises("oops", lh.await, task)
    assert.is_truthy(task:traceback():find("in the thread that raised it:\n.*'inner'"))
  end))

  it("leave the state usable", in_task(function()
    for i = 1, 20 do
      raises("oops", lh.to_thread, "error 'oops'")
      assert.equal(i, lh.to_thread("return ...", i))
    end
  end))
end)

describe("meanwhile", function()
  it("the loop goes on, whether the thread computes or blocks", in_task(function()
    for _, code in ipairs { "local n = 0 for i = 1, 3e7 do n = n + i end return n",
      "require 'socket'.sleep(0.3) return 0", "return os.execute 'sleep 0.3'" } do
      local ticks = 0
      local ticker = lh.create_task(function()
        while true do
          lh.sleep(0.001)
          ticks = ticks + 1
        end
      end)
      lh.to_thread(code)
      ticker:cancel()
      assert.is_true(ticks > 2, code)
    end
  end))

  it("several threads run at once, and are used again", with_pipe(function(path, release)
    local before = threads()
    for _ = 1, 5 do
      local calls = {}
      for i = 1, 8 do calls[i] = lh.create_task(lh.to_thread, BLOCK, path) end
      lh.sleep(0.01)
      release(8)
      assert.equal(8, lh.gather(calls).n)
    end
    -- one that has answered may still be on its way back when the next call comes; were none
    -- used again, there would be 32 more, which is as many as there may be
    assert.is_true(threads() < before + 32)
  end))

  it("virtual time waits for the thread", function()
    support.run(function()
      local loop = lh.get_running_loop()
      local ticker = lh.create_task(function() for _ = 1, 1000 do lh.sleep(1) end end)
      for _ = 1, 5 do
        local began = loop:time()
        lh.to_thread("require 'socket'.sleep(0.01)")
        assert.is_true(loop:time() - began < 1, "time passed while the thread was at work")
      end
      ticker:cancel()
    end)
  end)

  it("children of the thread have no signal blocked", in_task(function()
    local blocked = "grep SigBlk /proc/self/status"
    assert.equal("SigBlk:\t0000000000000000\n", lh.to_thread([[
      local file = io.popen(...)
      local text = file:read "a"
      assert(file:close())
      return text]], blocked))
    assert.is_true(lh.to_thread("os.execute", blocked .. " | grep -q 0000000000000000"))
    assert.same({ n = 3, nil, "signal", 15 }, results(lh.to_thread("os.execute", "kill -TERM $$")))
    assert.same({ n = 3, nil, "exit", 4 }, results(lh.to_thread([[
      local file = io.popen("cat >/dev/null; exit 4", "w")
      file:write "x"
      return file:close()]])))
    assert.is_true(lh.to_thread("os.execute"))
    raises("invalid mode", lh.to_thread, "io.popen", "true", "x")
  end))
end)

describe("a cancelled call", function()
  it("ends at once, and the thread's result is dropped", with_pipe(function(path, release)
    local task = lh.create_task(lh.to_thread, BLOCK, path)
    lh.sleep(0.02)
    task:cancel()
    expect.cancelled(task)
    raises(lh.TimeoutError, lh.wait_for, function() lh.to_thread(BLOCK, path) end, 0.02)
    assert.equal("other", lh.to_thread("return 'other'"))
    release(2)
    assert.equal("other", lh.to_thread("return 'other'"))
  end))

  it("gets no result and loses none of another's, whenever it comes", in_task(function()
    for turn = 0, 8 do
      local task = lh.create_task(lh.to_thread, "return 'mine'")
      local other = lh.create_task(lh.to_thread, "return 'other'")
      expect.turns(turn)
      task:cancel()
      local ok, result = lh.rawpcall(lh.await, task)
      assert.is_true(not ok or result == "mine")
      assert.equal("other", lh.await(other))
      assert.equal("next", lh.to_thread("return 'next'"))
    end
  end))

  it("keeps no result that nobody wants, whenever it comes #slow", in_task(function()
    if os.getenv "ASAN_OPTIONS" then return end -- the sanitizer keeps what was freed
    local MIB = 40 -- of which malloc keeps nothing
    local mark = os.tmpname()
    local before = of_process "VmRSS"
    for turn = 1, 5 do
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = lh.create_task(lh.to_thread, [[
          local result = ("x"):rep(1 << 20):rep((...))
          io.open(select(2, ...), "w"):close()
          return result]], MIB, mark .. i)
      end
      lh.sleep(0)
      for i = 1, 3 do -- until all are through; the loop hears of it in the next turns
        repeat local file = io.open(mark .. i) until file and file:close()
        os.remove(mark .. i)
      end
      for _ = 2, turn do ending.PACES["when others are through"]() end
      for _, task in ipairs(tasks) do task:cancel() end
      lh.wait(tasks)
      for i in pairs(tasks) do tasks[i] = nil end
      collectgarbage()
      local deadline = lh.get_running_loop():time() + 20
      while of_process "VmRSS" - before > MIB * 1024 do -- before the threads have another call
        assert.is_true(lh.get_running_loop():time() < deadline, "results are kept, turn " .. turn)
        lh.sleep(0.01)
      end
    end
    os.remove(mark)
  end))

  it("that has not begun never does", with_pipe(function(path, release)
    local busy = {}
    for i = 1, 32 do busy[i] = lh.create_task(lh.to_thread, BLOCK, path) end
    local mark = os.tmpname()
    os.remove(mark)
    local late = lh.create_task(lh.to_thread, "io.open(..., 'w'):close()", mark)
    lh.sleep(0.02)
    late:cancel()
    expect.cancelled(late)
    release(32)
    lh.gather(busy)
    assert.equal("after", lh.to_thread("return 'after'"))
    assert.is_nil(io.open(mark))
  end))
end)

describe("a loop that is closed", function()
  it("leaves the thread alone, and the next one can use it again", function()
    local path = os.tmpname()
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    for turn = 0, 4 do
      support.with_loop(function(loop)
        loop:run_until_complete(function()
          lh.create_task(lh.to_thread, BLOCK, path)
          lh.create_task(lh.to_thread, "return 1")
          expect.turns(turn)
        end)
      end, { clock = "monotonic" })
    end
    local pipe <close> = assert(io.open(path, "r+"))
    pipe:write("xxxxx")
    pipe:flush()
    support.with_loop(function(loop)
      assert.equal(2, loop:run_until_complete(function()
        return lh.to_thread("return 2")
      end))
    end, { clock = "monotonic" })
    os.remove(path)
  end)
end)

describe("the end of the program", function()
  local function run_host(code, seconds)
    local host = os.getenv "LOOPHOST"
    if lh.pcall ~= pcall or not host then return 0 end
    local status = results(os.execute(("timeout %d %s -e %q 2>&1"):format(seconds,
      host, "local lh = require 'loophost' " .. code)))
    return status[3]
  end

  it("interrupts a thread that never ends", function()
    local code = "while true do pcall(function() while true do end end) end"
    assert.equal(0, run_host("pcall(lh.wait_for, function()"
      .. (" lh.to_thread %q end, 0.02)"):format(code), 30))
  end)

  it("does not wait for one that blocks", function()
    assert.equal(0, run_host("pcall(lh.wait_for, function()"
      .. " lh.to_thread [[require'socket'.sleep(100)]] end, 0.02)", 30))
  end)

  it("comes also by os.exit and by an error", function()
    local call = "lh.create_task(function() lh.to_thread 'while true do end' end) lh.sleep(0.02) "
    if lh.pcall ~= pcall then return end
    assert.equal(3, run_host(call .. "os.exit(3)", 30))
    assert.equal(4, run_host(call .. "os.exit(4, true)", 30))
    assert.equal(1, run_host(call .. "io.stderr:close() error 'x'", 30))
  end)
end)
