-- What testing.scenario says about tests that fail, each kind of them; and its tools.

local lh = require "loophost"
local testing = require "loophost.testing"
local scope = require "loophost.testing.scope"
local expect = require "spec.expect"
local support = require "spec.support"

local here, contains = support.here, expect.contains

-- The message that a scenario fails with.
local function message_of(opts, fn)
  return expect.failure_of(testing.run, opts, fn)
end

-- fn(...) fails, and says so.
local function error_with(text, fn, ...)
  contains(expect.failure_of(fn, ...), text)
end

-- Fails unless the scenario, which says nothing else, names what the function leaves behind.
local function leaks(what, fn)
  local message = message_of({}, fn)
  contains(message, "something was left behind:\n  " .. what)
  assert.equal(1, select(2, message:gsub("\n  ", "")))
end

describe("a scenario", function()
  testing.scenario("waits in virtual time", function()
    local loop = lh.get_running_loop()
    local began = loop:time()
    lh.sleep(3600)
    assert.equal(3600.0, loop:time() - began)
  end)

  it("keeps the message of a failing assertion, with its place", function()
    local place
    local message = message_of({}, function()
      place = here(1)
      assert.equal(1, 2)
    end)
    assert.equal(place .. ": Expected objects to be equal", message:match "^(.-)%.\n")
  end)

  it("names where it was called, also by pcall", function()
    local _, err = pcall(testing.run, nil, function() lh.create_task(lh.sleep, 9) end)
    contains(type(err) == "table" and err.message or err,
      here(-2) .. ": something was left behind:\n")
  end)

  it("names the place of an error that has none", function()
    local place
    contains(message_of({}, function()
      place = here(1)
      error(setmetatable({}, { __tostring = function() return "no place" end }))
    end), place .. ": no place")
  end)

  it("says its seed when it fails", function()
    contains(message_of({}, function() error "x" end), "(seed 0)")
    contains(message_of({ seeds = 3 }, function() error "x" end),
      "(seed 1 of 3; --seed=1 repeats this run)")
  end)

  it("tells the failure first, and then what was left behind", function()
    local message = message_of({}, function()
      lh.create_task(lh.sleep, 100)
      error "first"
    end)
    assert.is_true(message:find("first", 1, true) < message:find("left behind", 1, true))
  end)

  it("fails with an error of a task that nobody looks at", function()
    contains(message_of({}, function()
      lh.create_task(function() error "in the background" end)
      lh.sleep(1)
    end), "an error that nobody caught", "in the background")
  end)

  it("fails with an error in a callback", function()
    contains(message_of({}, function()
      lh.get_running_loop():call_soon(error, "in a callback")
      lh.sleep(1)
    end), "an error that nobody caught", "in a callback")
  end)

  it("gives os back that it has bound to its clock", function()
    local real = os.time
    testing.run(nil, function() lh.clock.bind_os(0) end)
    assert.equal(real, os.time)
  end)

  it("ends what was started last first", function()
    local log = {}
    testing.run(nil, function()
      for i = 1, 3 do
        scope.at_end { finish = function()
          lh.sleep(1)
          log[#log + 1] = i
        end }
      end
    end)
    assert.same({ 3, 2, 1 }, log)
  end)

  it("runs cleanup that waits when it is over", function()
    local cleaned = false
    testing.run({ leaks = false }, function()
      lh.create_task(function()
        local _ <close> = setmetatable({}, { __close = function()
          lh.sleep(5)
          cleaned = true
        end })
        lh.sleep(1e6)
      end)
      lh.sleep(0)
    end)
    assert.is_true(cleaned)
  end)

  it("names its tasks as if there were no others, and is not counted by those after it", function()
    local function name() return lh.current_task():get_name() end
    local first = support.run(name)
    for _ = 1, 2 do
      testing.run(nil, function() assert.equal("Task-1", name()) end)
    end
    assert.equal(first:match "%d+" + 1, tonumber((support.run(name):match "%d+")))
  end)

  it("says when a seed alone does not make it fail", function()
    local runs = 0
    local message = message_of({ seeds = 3 }, function()
      runs = runs + 1
      assert.is_true(runs ~= 2)
    end)
    contains(message, "a second run with this seed did not fail: something outside of the loop",
      "(seed 2 of 3;")
    message = message_of({ seeds = 3 }, function() error "always" end)
    assert.is_nil(message:find("a second run", 1, true))
  end)

  it("runs with each of its seeds", function()
    local runs = 0
    testing.run({ seeds = 7 }, function() runs = runs + 1 end)
    assert.equal(7, runs)
  end)

  it("needs options that it knows", function()
    error_with("no such option: sedes", testing.run, { sedes = 1 }, print)
    error_with("seeds must be at least 1", testing.run, { seeds = 0 }, print)
    error_with("no such clock: wall", testing.run, { clock = "wall" }, print)
    error_with("timeout must be more than 0", testing.run, { timeout = 0 }, print)
    error_with("function expected, got no value", testing.run, {})
    error_with("#1 to 'run' (invalid value of option 'seeds')", testing.run, { seeds = -1 }, print)
    error_with("#1 to 'run' (invalid value of option 'seeds')", testing.run, { seeds = 1.5 }, print)
    error_with("#2 to 'scenario' (no such clock", testing.scenario, "x", { clock = "x" }, print)
    error_with("#1 to 'scenario' (string expected", testing.scenario, {}, print)
  end)

  it("cannot run inside of another, and leaves nothing there", function()
    contains(message_of({}, function()
      testing.run({}, function() lh.sleep(1) end)
    end), "it cannot run where a loop runs already")
    assert.is_nil(message_of({}, function()
      testing.run({}, print)
    end):find("left behind", 1, true))
  end)
end)

describe("what a scenario leaves behind is named with its line:", function()
  it("a task", function()
    local place = here(1)
    leaks("task 'Task-2', created at " .. place, function() lh.create_task(lh.sleep, 9) end)
  end)

  it("a task that has finished in the next turns is none", function()
    testing.run(nil, function() lh.create_task(lh.sleep, 0) end)
  end)

  it("a task that was cancelled is none", function()
    testing.run(nil, function() lh.create_task(lh.sleep, 9):cancel() end)
  end)

  it("a timer", function()
    local place = here(2)
    leaks("timer, made at " .. place, function()
      lh.get_running_loop():call_later(5, print)
    end)
  end)

  it("a callback that calls itself again and again", function()
    local place = here(3)
    leaks("callback, made at " .. place, function()
      local function again()
        lh.get_running_loop():call_soon(again)
      end
      again()
    end)
  end)

  it("a signal handler", function()
    local place = here(2)
    leaks("signal handler SIGUSR1, made at " .. place, function()
      lh.get_running_loop():add_signal_handler("SIGUSR1", print)
    end)
  end)

  it("a server, and the other end can listen there again", function()
    local port
    local place = here(2)
    leaks("server at 127.0.0.1, port", function()
      local server = lh.start_server(print, "127.0.0.1", 0)
      port = select(2, server:getsockname())
    end)
    testing.run(nil, function()
      local server = assert(lh.start_server(print, "127.0.0.1", port))
      server:close()
    end)
    assert.is_string(place)
  end)

  it("streams", function()
    local path = os.tmpname()
    os.remove(path)
    local place
    local message = message_of({}, function()
      local server <close> = lh.start_unix_server(function(stream) stream:close() end, path)
      assert.is_truthy(server)
      place = here(1)
      assert(lh.open_unix_connection(path))
    end)
    contains(message, "something was left behind:\n  stream, opened at " .. place)
    os.remove(path)
  end)

  it("a reader", function()
    local place
    contains(message_of({}, function()
      local pipe <close> = io.popen "sleep 0.1"
      place = here(1)
      lh.get_running_loop():add_reader(pipe, print)
    end), "something was left behind:\n  reader of descriptor ", ", made at " .. place)
  end)

  it("a child process, which is ended #child", function()
    local child
    local place = here(2)
    leaks("child process <Process", function()
      child = lh.create_subprocess_exec("sleep", "1000")
    end)
    assert.equal(-9, child.returncode)
    assert.is_string(place)
  end)
end)

describe("a scenario that does not end", function()
  it("fails at once when nothing can ever happen again, and says who waits for what", function()
    local place
    local message = message_of({}, function()
      local one, two = lh.Lock(), lh.Lock()
      local function take(first, second)
        local _ <close> = first:acquire()
        lh.sleep(1)
        local _ <close> = second:acquire()
      end
      local a, b = lh.create_task(take, one, two), lh.create_task(take, two, one)
      a:set_name "a"
      b:set_name "b"
      place = here(1)
      lh.await(a)
    end)
    contains(message, place .. ": DeadlockError: nothing can ever happen again, and 3 tasks wait",
      "task 'Task-1' waits for task 'a' at " .. place,
      "task 'a' waits for Lock.acquire at ", "held by task 'b'",
      "task 'b' waits for Lock.acquire at ", "held by task 'a'",
      "a circle: 'a' waits for 'b' waits for 'a'")
    assert.is_nil(message:find("left behind", 1, true))
  end)

  it("names a lock that was taken by a task which has ended", function()
    contains(message_of({}, function()
      local lock = lh.Lock()
      lh.await(lh.create_task(lock.acquire, lock))
      lock:acquire()
    end), "held by Task-2, which has ended")
  end)

  it("names a lock that its own holder waits for", function()
    contains(message_of({}, function()
      local lock = lh.Lock()
      lock:acquire()
      lock:acquire()
    end), "held by task 'Task-1'", "a circle: 'Task-1' waits for 'Task-1'")
  end)

  it("names no more than twenty tasks in a circle", function()
    local message = message_of({}, function()
      local tasks = {}
      for i = 1, 200 do
        tasks[i] = lh.create_task(function() lh.await(tasks[i % 200 + 1]) end)
      end
      lh.await(tasks[1])
    end)
    contains(message, "and 201 tasks wait",
      "'Task-20' waits for 'Task-21' waits for 180 more waits for 'Task-2'")
  end)

  it("names the queue, and the future, and where they were made", function()
    local place
    local message = message_of({}, function()
      place = here(1)
      local queue, future = lh.Queue(), lh.get_running_loop():create_future()
      lh.create_task(queue.get, queue)
      lh.await(future)
    end)
    contains(message, ("for queue 1 (made at %s)"):format(place),
      "the future was made at " .. place)
  end)

  it("is stopped in a loop of Lua code", function()
    local place = here(2)
    contains(message_of({ timeout = 0.2 }, function()
      while true do end
    end), place .. ": the test has not ended after 0.2 s", "task 'Task-1' runs at " .. place)
  end)

  it("names no more than fifty tasks when its time is over", function()
    local message = message_of({ timeout = 0.2 }, function()
      for _ = 1, 60 do lh.create_task(lh.Event().wait, lh.Event()) end
      while true do end
    end)
    contains(message, "\n  and 11 more tasks")
    assert.equal(50, select(2, message:gsub("\n  task ", "")))
  end)

  it("is stopped in a loop of another task", function()
    local place = here(3)
    contains(message_of({ timeout = 0.2 }, function()
      lh.await(lh.create_task(function()
        while true do end
      end))
    end), "the test has not ended after 0.2 s", "task 'Task-2' runs at " .. place)
  end)

  it("is stopped in a callback", function()
    local place = here(3)
    contains(message_of({ timeout = 0.2 }, function()
      lh.get_running_loop():call_soon(function()
        while true do end
      end)
      lh.sleep(1)
    end), "the test has not ended after 0.2 s", place)
  end)

  it("is stopped where it waits in real time", function()
    local place
    local message = message_of({ timeout = 0.2, clock = "monotonic" }, function()
      place = here(1)
      lh.sleep(1000)
    end)
    contains(message, place .. ": the test has not ended after 0.2 s",
      "task 'Task-1' waits for sleep at " .. place)
  end)

  it("is stopped in a loop of pcall", function()
    contains(message_of({ timeout = 0.2 }, function()
      while true do lh.pcall(error, "x") end
    end), "the test has not ended after 0.2 s")
  end)

  it("does not stop a later one", function()
    for _ = 1, 3 do
      contains(message_of({ timeout = 0.05 }, function()
        while true do end
      end), "the test has not ended")
      testing.run({ clock = "monotonic" }, function() lh.sleep(0.001) end)
    end
  end)
end)

describe("eventually", function()
  testing.scenario("returns what the function does as soon as that is true", function()
    local ready = false
    lh.get_running_loop():call_later(0.5, function() ready = "yes" end)
    assert.equal("yes", testing.eventually(function() return ready end))
  end)

  testing.scenario("takes a function that only fails for so long", function()
    local n = 0
    testing.eventually(function()
      n = n + 1
      assert.equal(10, n)
    end, { within = 60, every = 5 })
  end)

  it("needs a function, and times that are some", function()
    error_with("function expected, got thread", testing.eventually, coroutine.create(print))
    error_with("within must not be negative", testing.eventually, print, { within = 0 / 0 })
    error_with("every must be more than 0", testing.eventually, print, { every = 0 })
  end)

  it("fails when the time is over, with the last reason", function()
    local place
    local message = message_of({}, function()
      place = here(1)
      testing.eventually(function() error "still down" end, { within = 2, every = 1 })
    end)
    contains(message, place .. ": not within 2 s, in 3 tries: ", "still down")
  end)

  testing.scenario("does not sleep past its end", function()
    local loop = lh.get_running_loop()
    local began = loop:time()
    error_with("not within 1 s, in 3 tries", testing.eventually, function() return false end,
      { within = 1, every = 0.75 })
    assert.equal(1.0, loop:time() - began)
  end)

  it("is cancelled as any wait", function()
    testing.run(nil, function()
      local task = lh.create_task(testing.eventually, function() return false end, { within = 100 })
      lh.sleep(1)
      task:cancel()
      lh.wait { task }
      assert.is_cancelled(task)
    end)
  end)
end)

describe("a log", function()
  testing.scenario("is compared entry by entry", function()
    lh.sleep(5)
    local log = testing.log()
    log "a"
    lh.sleep(2)
    log "b"
    log:is { "a", "b" }
    assert.same({ 0.0, 2.0 }, log.times)
    error_with('entry 2 should be "c"', function() log:is { "a", "c" } end)
    error_with('entry 3 should be "c"', function() log:is { "a", "b", "c" } end)
    error_with("entry 2 should be none", function() log:is { "a" } end)
    error_with("list expected, got no value", function() log:is() end)
  end)

  it("keeps an order, with others between", function()
    testing.assert_order({ "a", "x", "b", "c" }, "a", "b", "c")
    error_with('"a" does not come after entry 3 ("b")', function()
      testing.assert_order({ "a", "x", "b" }, "b", "a")
    end)
    error_with('"z" does not come; the log:', function()
      testing.assert_order({ "a" }, "z")
    end)
    error_with('"z" does not come', function()
      testing.assert_order({ n = 2, nil, "a" }, nil, "z")
    end)
  end)
end)

describe("assertions about time", function()
  testing.scenario("completes_within", function()
    assert.completes_within(2, function() lh.sleep(1) end)
    assert.has_error(function()
      assert.completes_within(1, function() lh.sleep(2) end)
    end)
    error_with("its own", function()
      assert.completes_within(1, function() error "its own" end)
    end)
    error_with("its own timeout", function()
      assert.completes_within(1, function() error(lh.TimeoutError "its own timeout", 0) end)
    end)
  end)

  testing.scenario("times_out", function()
    assert.times_out(1, function() lh.sleep(2) end)
    assert.has_error(function()
      assert.times_out(2, function() lh.sleep(1) end)
    end)
    error_with(here(1) .. ": times_out(seconds, function) expected", function()
      assert.times_out("soon", print)
    end)
    error_with("times_out(seconds, function) expected", assert.times_out, 0 / 0, print)
  end)

  testing.scenario("is_cancelled", function()
    local task = lh.create_task(lh.sleep, 1)
    assert.is_not_cancelled(task)
    task:cancel()
    lh.wait { task }
    assert.is_cancelled(task)
    error_with(here(1) .. ": cancelled: a Task or Future expected", function()
      assert.is_cancelled(1)
    end)
  end)
end)
