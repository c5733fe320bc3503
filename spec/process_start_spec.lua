-- What starting a child leaves as it was: here, where it cannot be started; and there, where
-- signals are handled here.

local lh = require "loophost"
local support = require "spec.support"

local in_task = support.in_real_task

local function fails(opts)
  assert.equal("ENOENT", select(3, lh.create_subprocess_exec("/no/such/program", opts)))
end

local function is_blocking(stream)
  local flags
  for line in io.lines("/proc/self/fdinfo/" .. stream:fileno()) do
    flags = flags or line:match "^flags:%s*(%d+)"
  end
  return tonumber(flags, 8) & tonumber("4000", 8) == 0 -- O_NONBLOCK
end

describe("a child that cannot be started #child", function()
  it("leaves no descriptor, at once", in_task(function()
    local before = support.descriptors()
    fails { stdin = "pipe", stdout = "pipe", stderr = "pipe" }
    fails { stdin = "devnull", stdout = "pipe", stderr = "stdout" }
    assert.equal(before, support.descriptors())
  end))

  it("leaves the socket that it was to have ours", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      stream:write(stream:readline())
      stream:close()
    end, "127.0.0.1", 0))
    local stream <close> = assert(lh.open_connection(server:getsockname()))
    fails { stdin = stream, stdout = stream }
    assert.is_false(is_blocking(stream))
    stream:write "still\n"
    assert.equal("still", stream:read())
  end))
end)

it("a child has the socket that it is given block #child", in_task(function()
  local server <close> = assert(lh.start_server(function(stream)
    stream:write "line\n"
    stream:close()
  end, "127.0.0.1", 0))
  local stream <close> = assert(lh.open_connection(server:getsockname()))
  local child = assert(lh.create_subprocess_exec("cat", { stdin = stream, stdout = "pipe" }))
  assert.is_true(is_blocking(stream))
  assert.equal("line\n", (child:communicate()))
end))

it("a child has none of the signals blocked that are handled here #child", in_task(function(loop)
  local handled = lh.Event()
  loop:add_signal_handler("SIGUSR1", handled.set, handled)
  loop:add_signal_handler("SIGTERM", function() end)
  local child = assert(lh.create_subprocess_exec("grep", "SigBlk", "/proc/self/status",
    { stdout = "pipe" }))
  assert.equal("SigBlk:\t0000000000000000\n", (child:communicate()))
  local killer = assert(lh.create_subprocess_shell("kill -USR1 $PPID"))
  assert.equal(0, killer:wait())
  handled:wait()
  loop:remove_signal_handler "SIGUSR1"
  loop:remove_signal_handler "SIGTERM"
end))
