-- Child processes: real ones, by the real clock.
--
-- Those with a child are tagged #child: memcheck, which knows little of clone and pidfds, leaves
-- them out.

local lh = require "loophost"
local children = require "spec.children"
local support = require "spec.support"
local expect = require "spec.expect"

local raises = expect.raises
local exec, shell = lh.create_subprocess_exec, lh.create_subprocess_shell
local in_task, started, ready = children.in_task, children.started, children.ready
local HOST = os.getenv("LOOPHOST") -- the specs of stock Lua have it, too
local PIPES = { stdin = "pipe", stdout = "pipe", stderr = "pipe" }

describe("create_subprocess_exec", function()
  it("needs a loop", function()
    local loop = lh.new_event_loop()
    if lh.current_task() == nil then raises("no running event loop", exec, "true") end
    loop:close()
  end)
end)

describe("a child process #child", function()
  it("has a pid, streams where they are pipes, and a returncode once it has ended",
    in_task(function()
      local child = started("sh", "-c", "exit 3", { stdout = "pipe" })
      assert.is_true(math.type(child.pid) == "integer" and child.pid > 1)
      assert.is_nil(child.returncode)
      assert.is_nil(child.stdin)
      assert.is_nil(child.stderr)
      assert.is_nil(child.nonsense)
      assert.is_truthy(tostring(child):find("running", 1, true))
      assert.equal("", child.stdout:read("a"))
      assert.equal(3, child:wait())
      assert.equal(3, child.returncode)
      assert.equal(3, child:wait())
      assert.is_truthy(tostring(child):find("returncode=3", 1, true))
    end))

  it("that a signal ended has a negative returncode", in_task(function()
    local child = started("sleep", 1000)
    assert.is_true(child:terminate())
    assert.equal(-15, child:wait())
    child = started("sleep", 1000)
    assert.is_true(child:kill())
    assert.equal(-9, child:wait())
    child = started("sleep", 1000)
    assert.is_true(child:send_signal("SIGHUP"))
    assert.equal(-1, child:wait())
    for _, method in ipairs { "terminate", "kill" } do
      assert.same({ n = 3, nil, "ESRCH: no such process", "ESRCH" },
        table.pack(child[method](child)))
    end
    raises("bad argument #1 to 'send_signal' (no such signal: TERM)", function()
      child:send_signal("TERM")
    end)
  end))

  it("may be waited for by many", in_task(function()
    local child = started("sh", "-c", "read x", { stdin = "pipe" })
    local tasks = {}
    for i = 1, 5 do tasks[i] = lh.create_task(child.wait, child) end
    tasks[6] = lh.create_task(lh.wait_for, function() return child:wait() end, 0.01)
    lh.sleep(0.05)
    tasks[2]:cancel()
    expect.cancelled(tasks[2])
    raises(lh.TimeoutError, lh.await, tasks[6])
    child.stdin:close()
    for _, i in ipairs { 1, 3, 4, 5 } do assert.equal(1, lh.await(tasks[i])) end
  end))

  it("speaks through its pipes", in_task(function()
    local child = started("cat", { stdin = "pipe", stdout = "pipe", limit = 10 })
    child.stdin:write("one\n")
    assert.equal("one", child.stdout:readline())
    child.stdin:write("two\n", ("x"):rep(20))
    assert.equal("two", child.stdout:readline())
    assert.equal("EMSGSIZE", select(3, child.stdout:readline()))
    child.stdin:write_eof()
    assert.is_true(child.stdin:is_closed())
    assert.equal(("x"):rep(20), child.stdout:read("a"))
    assert.equal(0, child:wait())
  end))

  it("that cannot be started tells why", in_task(function()
    local function fails(code, message, ...)
      local child, text, name = exec(...)
      assert.is_nil(child)
      assert.equal(code, name)
      assert.equal(code .. ": " .. message, text)
    end
    for _ = 1, 3 do
      fails("ENOENT", "no such file or directory: cannot execute 'no-such-program'",
        "no-such-program", PIPES)
      fails("EACCES", "permission denied: cannot execute '/etc/passwd'", "/etc/passwd", PIPES)
      fails("ENOTDIR", "not a directory: cannot execute '/etc/passwd/x'", "/etc/passwd/x")
      fails("ENOENT", "no such file or directory: cannot enter directory '/no/such'", "true",
        { cwd = "/no/such" })
      fails("EPERM", "operation not permitted: cannot join the process group", "true",
        { process_group = 1 })
      fails("EBADF", "bad file descriptor: cannot pass the descriptors", "true",
        { stdout = 1000 })
      fails("E2BIG", "argument list too long: cannot execute 'true'", "true",
        ("x"):rep(200000))
    end
  end))
end)

describe("communicate #child", function()
  it("writes and reads at the same time", in_task(function()
    local text = ("0123456789abcdef"):rep(4 * 1024 * 1024) -- 64 MiB
    local child = started("cat", PIPES)
    local out, err = child:communicate(text)
    assert.is_true(out == text)
    assert.equal("", err)
    assert.equal(0, child.returncode)
    assert.is_true(child.stdin:is_closed() and child.stdout:is_closed())
  end))

  it("gives nil for what is no pipe", in_task(function()
    assert.same({ n = 2 }, table.pack(started("true"):communicate()))
    assert.same({ n = 2, nil, "x" },
      table.pack(assert(shell("printf x >&2", { stderr = "pipe" })):communicate()))
  end))

  it("sorts lines", in_task(function()
    local lines = {}
    for i = 1, 20000 do lines[i] = ("%08d\n"):format((i * 7919) % 20011) end
    local input = table.concat(lines)
    table.sort(lines)
    local child = started("sort", { stdin = "pipe", stdout = "pipe", env = { LC_ALL = "C" } })
    assert.is_true(child:communicate(input) == table.concat(lines))
  end))

  it("goes on when the child does not read", in_task(function()
    local big = ("x"):rep(1024 * 1024)
    for _, command in ipairs { "exit 5", "exec 0<&-; sleep 0.05; exit 5", "head -c 10; exit 5" } do
      local child = assert(shell(command, { stdin = "pipe", stdout = "pipe" }))
      local out = child:communicate(big)
      assert.is_true(out == "" or out == ("x"):rep(10))
      assert.equal(5, child.returncode)
      assert.equal("", (child:communicate()))
    end
  end))

  it("ends the child's stdin also without input", in_task(function()
    assert.equal("", (started("cat", PIPES):communicate()))
    assert.equal("", (started("cat", PIPES):communicate("")))
    assert.equal("7", (started("cat", PIPES):communicate(7)))
  end))

  it("refuses what it cannot write", in_task(function()
    local child = started("true")
    raises("bad argument #1 to 'communicate' (stdin is not a pipe)", child.communicate, child, "x")
    raises("bad argument #1 to 'communicate' (string expected, got table)", child.communicate,
      child, {})
    child:wait()
  end))

  it("loses no output when it is cancelled", in_task(function()
    local child = assert(shell("echo first; echo error >&2; read x; echo last", PIPES))
    local task = lh.create_task(child.communicate, child)
    task:cancel()
    expect.cancelled(task)
    raises(lh.TimeoutError, lh.wait_for, function()
      -- without input the child's stdin would be closed
      local all = child.stdout:read("a")
      return all
    end, 0.1)
    local out, err = child:communicate("go on\n")
    assert.equal("first\nlast\n", out)
    assert.equal("error\n", err)
  end))

  it("waits for whoever has the pipe", in_task(function()
    local child = assert(shell("(sleep 0.3; echo late) & echo early", { stdout = "pipe" }))
    assert.equal(0, child:wait())
    raises(lh.TimeoutError, lh.wait_for, function() return child:communicate() end, 0.02)
    assert.equal("early\nlate\n", (child:communicate()))
  end))

  -- Cancelled after every number of turns, and by a timeout: nothing may stay behind.
  it("can be cancelled at every point", in_task(function()
    local input = ("x"):rep(200000)
    local finished = 0
    for turns = 0, 40 do
      local child = started("cat", PIPES)
      local task = lh.create_task(child.communicate, child, input)
      expect.turns(turns)
      if task:done() then finished = finished + 1 end
      task:cancel()
      lh.rawpcall(lh.await, task)
      child:close()
      child:wait()
    end
    for i = 0, 20 do
      local child <close> = started("cat", PIPES)
      lh.rawpcall(lh.wait_for, function() return child:communicate(input) end, i * 0.0005)
    end
    while children.count() > 0 do lh.sleep(0.01) end
  end))
end)

describe("many children #child", function()
  it("run at once", in_task(function()
    local tasks = {}
    for i = 1, 200 do
      tasks[i] = function()
        local child = started("sh", "-c", "read x; echo $x; exit " .. i % 256, PIPES)
        local out = child:communicate(i .. "\n")
        assert.equal(i .. "\n", out)
        return child.returncode
      end
    end
    for i, code in ipairs(lh.gather(tasks)) do assert.equal(i % 256, code) end
  end))

  it("whose waits are cancelled and timed out at every point leave nothing", in_task(function()
    for turns = 0, 10 do
      local child = started("sleep", 1000)
      local task = lh.create_task(child.wait, child)
      expect.turns(turns)
      task:cancel()
      expect.cancelled(task)
      local task2 = lh.create_task(child.wait, child)
      child:kill()
      expect.turns(turns)
      task2:cancel()
      lh.rawpcall(lh.await, task2)
      assert.equal(-9, child:wait())
    end
  end))

  it("fail one after another where descriptors run out, and leave none", in_task(function()
    local files, codes = {}, {}
    local function fill()
      for i = #files + 1, 5000 do
        files[i] = io.open("/dev/null")
        if not files[i] then return end
      end
    end
    children.with_limit(64, function()
      fill()
      for spare = 0, 12 do
        if spare > 0 then table.remove(files):close() end
        local child, _, code = exec("cat", PIPES)
        codes[#codes + 1] = child and "ok" or code
        if child then child:communicate() end
      end
      for _, file in ipairs(files) do file:close() end
    end)
    assert.equal("EMFILE", codes[1])
    assert.equal("ok", codes[#codes])
  end))
end)

describe("the end of a child #child", function()
  it("frees its pipes when they are garbage and descriptors run out", in_task(function()
    children.with_limit(64, function()
      for _ = 1, 60 do
        started("true", PIPES):wait()
      end
    end)
  end))

  it("lets go of the process", in_task(function()
    local kept = setmetatable({ started("true"), started("true") }, { __mode = "v" })
    while children.count() > 0 do lh.sleep(0.01) end
    lh.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(kept))
  end))

  it("is seen, but not its status, where SIGCHLD is ignored", in_task(function()
    local child <close> = started("env", "--ignore-signal=CHLD", HOST, "-",
      { stdin = "pipe", stdout = "pipe" })
    local out = child:communicate([[
      local lh = require "loophost"
      print(lh.create_subprocess_exec("false"):wait())
      print(select(3, lh.create_subprocess_exec("no-such-program")))]])
    assert.equal("255\nENOENT\n", out)
  end))

  it("is seen although the script has dropped the process", in_task(function()
    for _ = 1, 10 do started("true") end
    collectgarbage()
    collectgarbage()
    while children.count() > 0 do lh.sleep(0.01) end
  end))

  it("is seen by a SIGCHLD handler of the script's own, too", in_task(function(loop)
    local seen = lh.Event()
    loop:add_signal_handler("SIGCHLD", seen.set, seen)
    local child = started("true")
    assert.equal(0, child:wait())
    seen:wait()
    assert.is_true(os.execute("exit 0"))
    local pipe = assert(io.popen("exit 4"))
    assert.equal(4, select(3, pipe:close()))
    loop:remove_signal_handler("SIGCHLD")
    assert.equal(0, started("true"):wait())
  end))

  it("does not wait for those who hold its pipes, and kill is not ignored", in_task(function()
    local child = ready(assert(shell("trap '' TERM; echo ready; while :; do sleep 0.05; done",
      { stdout = "pipe", process_group = 0 })))
    child:terminate()
    raises(lh.TimeoutError, lh.wait_for, function() return child:wait() end, 0.1)
    child:kill()
    assert.equal(-9, child:wait())
    child.stdout:close()
  end))

  -- Stock Lua's own functions know nothing of handlers.
  if pcall ~= lh.rawpcall then
    it("started by os.execute or io.popen comes by signals handled here", in_task(function(loop)
      local came = lh.Event()
      loop:add_signal_handler("SIGTERM", came.set, came)
      for _ = 1, 2 do
        assert.same({ n = 3, nil, "signal", 15 }, table.pack(os.execute("kill -TERM $$")))
        local pipe = assert(io.popen("grep SigBlk /proc/self/status"))
        assert.equal(0, tonumber(pipe:read("a"):match("(%x+)%s*$"), 16))
        pipe:close()
        assert.is_false(came:is_set())
        assert.is_true(os.execute("kill -TERM " .. children.PID))
        came:wait()
        came:clear()
      end
      raises("bad argument #1 to 'popen'", function() return io.popen() end)
      raises("bad argument #2 to 'popen' (invalid mode)", function() return io.popen("x", "rw") end)
      raises("bad argument #1 to 'execute'", function() return os.execute({}) end)
    end))
  end

  it("leaves os.execute and io.popen alone", in_task(function()
    local child = started("sleep", 0.05)
    assert.same({ n = 3, nil, "exit", 3 }, table.pack(os.execute("exit 3")))
    local pipe = assert(io.popen("cat; exit 9", "r"))
    assert.equal("exit", select(2, pipe:close()))
    assert.equal(0, child:wait())
  end))

  it("counts for virtual time while somebody waits for it", in_task(function(loop)
    local began = loop:time()
    local child = started("sh", "-c", "read x", { stdin = "pipe" })
    lh.sleep(30) -- nobody waits for the child: this takes no time
    assert.equal(30, loop:time() - began)
    local task = lh.create_task(child.wait, child)
    lh.sleep(0)
    child.stdin:close()
    assert.equal(1, lh.wait_for(task, 20))
    assert.equal(30, loop:time() - began)
  end, { clock = "virtual" }))

  it("comes at the end of <close>", in_task(function()
    local kept
    do
      local child <close> = started("sleep", 1000, PIPES)
      kept = child
    end
    assert.is_true(kept.stdin:is_closed() and kept.stderr:is_closed())
    assert.equal(-9, kept:wait())
    kept:close()
  end))

  it("is brought about when the loop is closed, and said", function()
    local kept
    support.with_loop(function(loop)
      loop:run_until_complete(function() kept = started("sleep", 1000, PIPES) end)
    end, { clock = "monotonic" })
    assert.equal(-9, kept.returncode)
    assert.equal(0, children.count())
    assert.equal("ESRCH", select(3, kept:kill()))
    assert.is_true(kept.stdin:write_eof()) -- which its loop does not watch any more
    kept:close()
    support.run(function()
      local child <close> = started(HOST, "-W", "-", { stdin = "pipe", stderr = "pipe" })
      local _, warning = child:communicate([[
        local lh = require "loophost"
        lh.create_subprocess_exec("sleep", 1000)]])
      assert.equal(0, child.returncode)
      assert.equal("Lua warning: loophost: a process was killed, as its loop was closed; "
        .. "started at stdin:2\n", warning)
    end)
  end)

  it("is brought about when the loop is collected", function()
    collectgarbage()
    local fds = children.descriptors()
    do
      local loop = lh.new_event_loop()
      loop:run_until_complete(function() started("sleep", 1000, PIPES) end)
    end
    collectgarbage()
    collectgarbage()
    assert.equal(0, children.count())
    assert.equal(fds, children.descriptors())
  end)

  it("cannot be waited for on another loop", function()
    local first, second = lh.new_event_loop(), lh.new_event_loop()
    local child
    first:run_until_complete(function() child = started("sleep", 1000) end)
    raises("wait: the process belongs to a different loop", second.run_until_complete, second,
      function() child:wait() end)
    first:close()
    assert.equal(-9, second:run_until_complete(function() return child:wait() end))
    second:close()
  end)
end)
