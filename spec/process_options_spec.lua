-- How a child process is started: the arguments, and what the options give it.

local lh = require "loophost"
local children = require "spec.children"
local support = require "spec.support"
local expect = require "spec.expect"

local raises = expect.raises
local exec, shell = lh.create_subprocess_exec, lh.create_subprocess_shell
local in_task, started, contents = children.in_task, children.started, support.contents
local HOST = os.getenv("LOOPHOST") -- the specs of stock Lua have it, too
local PIPES = { stdin = "pipe", stdout = "pipe", stderr = "pipe" }

describe("starting a process", function()
  it("is refused when the arguments are wrong, in the caller's line", in_task(function()
    local function wrong(message, fn, ...)
      local arguments = table.pack(...)
      local here
      local err = raises(message, function()
        here = support.here(1)
        local result = fn(table.unpack(arguments, 1, arguments.n))
        return result
      end)
      assert.equal(here, err:match("^(.-): "))
    end
    local who = "bad argument #%d to 'create_subprocess_exec' (%s"
    wrong(who:format(1, "string expected, got no value"), exec)
    wrong(who:format(1, "string expected, got table"), exec, {})
    wrong(who:format(2, "string expected, got table"), exec, "true", {}, {})
    wrong(who:format(2, "it contains a zero byte"), exec, "true", "a\0b")
    wrong(who:format(1, "it contains a zero byte"), exec, "true\0")
    wrong(who:format(3, "string expected, got no value"), exec, "true", "x", nil)
    wrong("bad argument #1 to 'create_subprocess_shell' (string expected", shell)
    wrong("bad argument #1 to 'create_subprocess_shell' (it contains a zero", shell, "a\0b")
    wrong("bad argument #2 to 'create_subprocess_shell' (table expected", shell, "true", 1)
    local options = {
      { "no such option: std", { std = 1 } },
      { "invalid value of option 'stdout'", { stdout = "stdout" } },
      { "invalid value of option 'stdin'", { stdin = "Pipe" } },
      { "option 'stdin': file descriptor expected, got table", { stdin = {} } },
      { "option 'stdin': file descriptor expected, got boolean", { stdin = true } },
      { "option 'stderr': invalid file descriptor", { stderr = -1 } },
      { "option 'stdin': number has no integer representation", { stdin = 0 / 0 } },
      { "option 'pdeathsig': no such signal: SIGNAL", { pdeathsig = "SIGNAL" } },
      { "option 'pass_fds': file descriptor expected", { pass_fds = { "x" } } },
      { "option 'env': invalid variable 'A=B'", { env = { ["A=B"] = "" } } },
      { "option 'env': invalid variable 'A'", { env = { A = true } } },
      { "option 'env': invalid variable '1'", { env = { "A" } } },
      { "option 'env': invalid variable ''", { env = { [""] = "x" } } },
      { "option 'env': invalid variable 'A'", { env = { A = "x\0" } } },
      { "invalid value of option 'cwd'", { cwd = "/\0" } },
      { "invalid value of option 'umask'", { umask = 512 } },
      { "invalid value of option 'process_group'", { process_group = -1 } },
      { "invalid value of option 'limit'", { limit = 1 << 40 } },
    }
    for _, option in ipairs(options) do
      wrong(who:format(2, option[1]), exec, "true", option[2])
    end
    local file = assert(io.open("/dev/null"))
    file:close()
    wrong(who:format(2, "option 'stdin': attempt to use a closed file"), exec, "true",
      { stdin = file })
  end))
end)

describe("the options #child", function()
  local function output(command, opts)
    opts.stdout = "pipe"
    local child = assert(shell(command, opts))
    local out = child:communicate()
    assert.equal(0, child.returncode)
    return out
  end

  it("give directory, environment, umask, session and group", in_task(function()
    assert.equal("/usr\n", output("pwd", { cwd = "/usr" }))
    local env = output("/usr/bin/env", { env = { A = "one", B = 2 } })
    assert.is_truthy(env:find("A=one\n", 1, true))
    assert.is_truthy(env:find("B=2\n", 1, true))
    assert.is_nil(env:find("HOME=", 1, true))
    assert.is_truthy(output("/usr/bin/env", {}):find("PATH=", 1, true))
    assert.equal("0077\n", output("umask", { umask = 63 }))
    local child = assert(shell("read x", { start_new_session = true, stdin = "pipe" }))
    local pipe = assert(io.popen(("ps -o pgid=,sid= %d"):format(child.pid)))
    local group, session = pipe:read("n", "n")
    pipe:close()
    assert.equal(child.pid, group)
    assert.equal(child.pid, session)
    child.stdin:close()
    child:wait()
  end))

  it("look the program up in the PATH that the child gets", in_task(function()
    assert.equal("ENOENT", select(3, exec("true", { env = { PATH = "/no/such" } })))
    assert.equal(0, started("true", { env = {} }):wait())
  end))

  it("join stderr to stdout, wherever that goes", in_task(function()
    assert.equal("out\nerr\n", output("echo out; echo err >&2", { stderr = "stdout" }))
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    local child = assert(shell("echo out; echo err >&2", { stdout = file, stderr = "stdout" }))
    assert.is_nil(child.stderr)
    assert.equal(0, child:wait())
    file:close()
    file = assert(io.open(name))
    assert.equal("out\nerr\n", file:read("a"))
    file:close()
    os.remove(name)
  end))

  it("take a file, a descriptor, a stream, or nothing", in_task(function()
    local name = os.tmpname()
    local file = assert(io.open(name, "w+"))
    file:write("in the file\n")
    file:flush()
    file:seek("set")
    assert.equal("in the file\n", output("cat", { stdin = file }))
    assert.equal("", output("cat", { stdin = "devnull" }))
    file:close()
    os.remove(name)
    -- one child's stdout as the next one's stdin, by a stream and by its number
    for _, of in ipairs { function(s) return s end, function(s) return s:fileno() end } do
      local first = assert(shell("sleep 0.05; echo through both", { stdout = "pipe" }))
      local stream <close> = first.stdout
      if of(stream) == stream then
        assert.equal("THROUGH BOTH\n", output("tr a-z A-Z", { stdin = stream }))
      else -- as it is, a descriptor that does not block: tr cannot read from it
        local second = assert(shell("read x", { stdin = of(stream), stderr = "devnull" }))
        second:wait()
      end
      first:wait()
    end
  end))

  it("give a socket to a child, which then may block", in_task(function()
    local done = lh.Event()
    local server <close> = assert(lh.start_server(function(stream)
      local child = assert(exec("cat", { stdin = stream, stdout = stream }))
      stream:close()
      child:wait()
      done:set()
    end, "127.0.0.1", 0))
    local client <close> = assert(lh.open_connection("127.0.0.1",
      select(2, server:getsockname())))
    client:write("a")
    lh.sleep(0.05)
    client:write("b")
    client:write_eof()
    assert.equal("ab", client:read("a"))
    done:wait()
  end))

  it("give no socket away when there is no child", in_task(function()
    local held <close> = assert(lh.start_server(function(stream)
      local fd = stream:fileno()
      for _ = 1, 2 do
        assert.equal("ENOENT", select(3, exec("no-such-program", { stdin = stream })))
        local flags = tonumber(contents("/proc/self/fdinfo/" .. fd):match("flags:%s*(%d+)"), 8)
        assert.equal(tonumber("4000", 8), flags & tonumber("4000", 8)) -- O_NONBLOCK
      end
      stream:write("still ours")
      stream:close()
    end, "127.0.0.1", 0))
    local client <close> = assert(lh.open_connection("127.0.0.1", select(2, held:getsockname())))
    assert.equal("still ours", client:read("a"))
  end))

  it("pass the descriptors that they name, and no other", in_task(function()
    local held <close> = assert(io.open("/dev/null"))
    local kept = {}
    for i = 1, 5 do kept[i] = started("cat", PIPES) end
    local list = output("echo /proc/self/fd/*", {})
    assert.equal("/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n", list)
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    local number = kept[1].stdin:fileno()
    list = output("echo /proc/self/fd/*", { pass_fds = { file, number } })
    file:close()
    assert.equal(6, select(2, list:gsub("/fd/", "")))
    assert.is_truthy((list .. " "):find(("/fd/%d%%s"):format(number)))
    os.remove(name)
    for i = 1, 5 do kept[i]:communicate() end
  end))

  it("leave no signal blocked or handled in the child", in_task(function(loop)
    local other = lh.new_event_loop()
    other:add_signal_handler("SIGUSR1", function() end)
    for _, signal in ipairs { "SIGTERM", "SIGHUP", "SIGCHLD", "SIGPIPE" } do
      loop:add_signal_handler(signal, function() end)
    end
    local status = output("cat /proc/self/status", {})
    assert.equal(0, tonumber(status:match("SigBlk:%s*(%x+)"), 16))
    assert.equal(0, tonumber(status:match("SigCgt:%s*(%x+)"), 16))
    -- what was ignored when we began stays so, as nohup wants it: make's children ignore some
    local ignored = contents("/proc/self/status"):match("SigIgn:%s*(%x+)")
    assert.equal(ignored, status:match("SigIgn:%s*(%x+)"))
    local child = started("sleep", 1000)
    child:terminate()
    assert.equal(-15, child:wait())
    other:close()
  end))

  it("end the child with its parent", in_task(function()
    local parent = assert(exec(HOST, "-e", [[
      local lh = require "loophost"
      local child = lh.create_subprocess_exec("sleep", "1000", { pdeathsig = "SIGKILL",
        stdout = "inherit" })
      print(child.pid)
      io.stdout:flush()
      lh.sleep(1000)]], { stdout = "pipe" }))
    local pid = parent.stdout:readline()
    parent:kill()
    assert.is_nil(parent.stdout:read()) -- the grandchild had it, too
    assert.equal(-9, parent:wait())
    assert.is_nil(io.open("/proc/" .. pid .. "/fd/0"))
  end))
end)
