-- wait_closed() on a stream that is open: it waits until somebody closes that, or until the
-- connection breaks. What it waits for after a close of TLS is in tls_farewell_spec.

local lh = require "loophost"
local testing = require "loophost.testing"
local support = require "spec.support"
local raises = require("spec.expect").raises
local certificates = require "spec.certificates"
local children = require "spec.children"

setup(certificates.make)
teardown(certificates.remove)

-- ---- streams of every kind ----

-- Each calls fn(stream, peer), with an open stream; the peer may be nil.
local KINDS = {}

local function accepted(start, connect)
  return function(fn)
    local arrived = lh.Queue()
    local server <close> = assert(start(function(stream) arrived:put(stream) end))
    local stream <close> = assert(connect(server))
    local peer <close> = arrived:get()
    fn(stream, peer)
  end
end

local function tcp(options)
  return accepted(function(handler)
    return lh.start_server(handler, "127.0.0.1", 0, options and options.server())
  end, function(server)
    return lh.open_connection("127.0.0.1", select(2, server:getsockname()),
      options and options.client())
  end)
end

KINDS["a connection"] = tcp()
KINDS["a connection with TLS"] = tcp {
  server = function() return { ssl = certificates.server_options() } end,
  client = function() return { ssl = certificates.client_options() } end,
}
KINDS["a Unix connection"] = accepted(function(handler)
  return lh.start_unix_server(handler, certificates.file "socket")
end, function(server) return lh.open_unix_connection((server:getsockname())) end)

KINDS["the end of a connection that was accepted"] = function(fn)
  KINDS["a connection"](function(stream, peer) fn(peer, stream) end)
end

local function pipe_of(name)
  return function(fn)
    local child <close> = children.started("cat", { stdin = "pipe", stdout = "pipe" })
    fn(child[name])
    child.stdin:close()
    child:wait()
  end
end
KINDS["the pipe to a child #child"] = pipe_of "stdin"
KINDS["the pipe from a child #child"] = pipe_of "stdout"

KINDS["a stream in memory"] = function(fn) fn(testing.stream_pair()) end

local function waiting(stream, n)
  local tasks = {}
  for i = 1, n do tasks[i] = lh.create_task(stream.wait_closed, stream) end
  for _ = 1, 3 do lh.sleep(0) end
  return tasks
end

local function done(tasks)
  local n = 0
  for _, task in ipairs(tasks) do
    if task:done() then n = n + 1 end
  end
  return n
end

for kind, with_stream in pairs(KINDS) do
  describe(kind, function()
    local function it_does(title, fn)
      it(title, children.in_task(function(loop)
        with_stream(function(stream, peer) fn(stream, peer, loop) end)
      end))
    end

    it_does("is waited for by several, until it is closed", function(stream, peer)
      local tasks = waiting(stream, 3)
      if peer then
        assert(peer:write "x")
        assert.equal("x", stream:readexactly(1))
      end
      lh.sleep(0.002)
      assert.equal(0, done(tasks))
      stream:close()
      if peer then peer:close() end
      for _, task in ipairs(tasks) do assert.is_true(lh.await(task)) end
      assert.is_true(stream:wait_closed())
    end)

    it_does("may be closed at the end of a block", function(stream, peer)
      local tasks = waiting(stream, 1)
      do local _ <close> = stream end
      if peer then peer:close() end
      assert.is_true(lh.await(tasks[1]))
    end)

    it_does("one who waits is cancelled or times out, alone", function(stream, peer)
      local tasks = waiting(stream, 3)
      tasks[2]:cancel()
      raises(lh.CancelledError, lh.await, tasks[2])
      raises(lh.TimeoutError, lh.wait_for, function() return stream:wait_closed() end, 0.001)
      assert.equal(1, done(tasks))
      stream:close()
      if peer then peer:close() end
      assert.is_true(lh.await(tasks[1]))
      assert.is_true(lh.await(tasks[3]))
    end)

    it_does("is cancelled in the turn of the close", function(stream, peer)
      local tasks = waiting(stream, 2)
      stream:close()
      tasks[1]:cancel()
      if peer then peer:close() end
      lh.wait(tasks)
      assert.is_true(lh.await(tasks[2]))
      assert.is_true(stream:wait_closed())
    end)
  end)
end

-- ---- the connection breaks ----

-- The kernel tells a writer only once the peer has refused something.
local function write_until_broken(stream)
  while select(3, stream:write "x") ~= "EPIPE" do lh.sleep(0.001) end
end

-- Closes the peer with something unread, which resets the connection.
local function reset(stream, peer)
  stream:write "unread"
  peer:close()
end

local RESET = { nil, "ECONNRESET: connection reset by peer", "ECONNRESET" }

for _, kind in ipairs { "a connection", "a Unix connection" } do
  describe(kind .. " that the peer resets", function()
    local function it_does(title, fn)
      it(title, support.in_real_task(function() KINDS[kind](fn) end, { within = 20 }))
    end

    it_does("says so to all who wait, then and later", function(stream, peer)
      local tasks = waiting(stream, 2)
      reset(stream, peer)
      assert.same(RESET, { lh.await(tasks[1]) })
      assert.same(RESET, { lh.await(tasks[2]) })
      assert.is_false(stream:is_closed())
      assert.same(RESET, { stream:wait_closed() })
      assert.same(RESET, { stream:read() })
      stream:close()
      assert.same(RESET, { stream:wait_closed() })
    end)

    it_does("still gives what had come before", function(stream, peer)
      peer:write "last words"
      local tasks = waiting(stream, 1)
      reset(stream, peer)
      assert.same(RESET, { lh.await(tasks[1]) })
      assert.equal("last words", stream:read())
      for _ = 1, 2 do assert.same(RESET, { stream:read() }) end
    end)

    it_does("says so to one who reads meanwhile, too", function(stream, peer)
      local reader = lh.create_task(stream.read, stream)
      local tasks = waiting(stream, 1)
      reset(stream, peer)
      assert.same(RESET, { lh.await(reader) })
      assert.same(RESET, { lh.await(tasks[1]) })
    end)

    it_does("says so to who comes after a read was told", function(stream, peer)
      local reader = lh.create_task(stream.read, stream)
      lh.sleep(0)
      reset(stream, peer)
      assert.same(RESET, { lh.await(reader) })
      assert.same(RESET, { stream:wait_closed() })
    end)

    it_does("says so after the peer's end, which is still an end", function(stream, peer)
      peer:write "last words"
      local tasks = waiting(stream, 1)
      peer:close()
      write_until_broken(stream)
      assert.equal("EPIPE", select(3, lh.await(tasks[1])))
      assert.equal("last words", stream:read())
      for _ = 1, 2 do assert.equal(1, select("#", stream:read())) end
      stream:close()
      assert.equal("EPIPE", select(3, stream:wait_closed()))
    end)

    it_does("says so to who waits when a write was told", function(stream, peer)
      local tasks = waiting(stream, 1)
      peer:close()
      assert.is_nil(stream:read())
      lh.sleep(0.002)
      assert.equal(0, done(tasks))
      write_until_broken(stream)
      assert.equal("EPIPE", select(3, lh.await(tasks[1])))
      assert.is_nil(stream:read())
    end)

    it_does("is not broken by an end, nor by an end in both ways", function(stream, peer)
      local tasks = waiting(stream, 1)
      peer:write_eof()
      assert.is_nil(stream:read())
      lh.sleep(0.002)
      assert.equal(0, done(tasks))
      stream:write_eof()
      assert.is_nil(peer:read())
      lh.sleep(0.002)
      assert.equal(0, done(tasks))
      stream:close()
      assert.is_true(lh.await(tasks[1]))
    end)
  end)
end

describe("what breaks otherwise", function()
  it("TLS is reset, and the read says the same", support.in_real_task(function()
    local inner_server <close> = assert(lh.start_server(function(stream)
      stream:read()
      stream:close()
    end, "127.0.0.1", 0, { ssl = certificates.server_options() }))
    local relay <close>, reset_of =
      certificates.relay(select(2, inner_server:getsockname()))
    local stream <close> = assert(certificates.connect(select(2, relay:getsockname())))
    local tasks = waiting(stream, 1)
    reset_of(stream)
    assert.same(RESET, { lh.await(tasks[1]) })
    assert.same(RESET, { stream:read() })
    assert.is_true(relay:is_serving())
  end, { within = 20 }))

  it("a child ends #child: as in asyncio nothing is wrong", children.in_task(function()
    local child <close> = children.started("cat", { stdin = "pipe", stdout = "devnull" })
    local tasks = waiting(child.stdin, 2)
    child:kill()
    assert.is_true(lh.await(tasks[1]))
    assert.is_true(lh.await(tasks[2]))
    assert.is_true(child.stdin:wait_closed())
    assert.equal("EPIPE", select(3, child.stdin:write "x"))
  end))

  it("a child ends while somebody writes to it #child", children.in_task(function()
    local child <close> = children.started("sleep", "1000", { stdin = "pipe" })
    local writer = lh.create_task(child.stdin.write, child.stdin, ("x"):rep(1 << 22))
    local tasks = waiting(child.stdin, 1)
    child:kill()
    assert.equal("EPIPE", select(3, lh.await(tasks[1])))
    assert.equal("EPIPE", select(3, lh.await(writer)))
    assert.equal("EPIPE", select(3, child.stdin:wait_closed()))
  end))

  it("the end of what is said to a child closes its pipe #child", children.in_task(function()
    local child <close> = children.started("cat", { stdin = "pipe", stdout = "pipe" })
    local tasks = waiting(child.stdin, 2)
    child.stdin:write_eof()
    assert.is_true(lh.await(tasks[1]))
    assert.is_true(lh.await(tasks[2]))
    assert.is_true(child.stdin:wait_closed())
    assert.is_nil(child.stdout:read())
  end))

  it("a line in memory breaks", support.in_real_task(function()
    local stream, peer = testing.stream_pair()
    local tasks = waiting(stream, 2)
    peer:break_off "ECONNRESET"
    for _, task in ipairs(tasks) do assert.equal("ECONNRESET", select(3, lh.await(task))) end
    local fake = testing.fake_stream { { error = "ETIMEDOUT" } }
    tasks = waiting(fake, 1)
    assert.equal("ETIMEDOUT", select(3, fake:read()))
    assert.equal("ETIMEDOUT", select(3, lh.await(tasks[1])))
  end))
end)

-- ---- loops and time ----

describe("the loop", function()
  -- An open stream that two tasks of a loop wait for, which was stopped meanwhile; its peer, and
  -- the tasks.
  local function left_waiting(loop)
    local stream, peer, tasks
    loop:run_until_complete(function()
      local server <close> = assert(lh.start_server(function(arrived) peer = arrived end,
        "127.0.0.1", 0))
      stream = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
      tasks = waiting(stream, 2)
      while not peer do lh.sleep(0) end
    end)
    return stream, peer, tasks
  end

  it("is closed while somebody waits", function()
    collectgarbage()
    local before = support.descriptors()
    for _ = 1, 20 do
      local loop = lh.new_event_loop()
      local stream, peer = left_waiting(loop)
      loop:close()
      collectgarbage()
      collectgarbage() -- the tasks are gone, and the stream is not
      stream:close()
      peer:close()
      assert.is_true(stream:wait_closed())
    end
    local loop = lh.new_event_loop()
    local stream, peer, tasks = left_waiting(loop)
    loop:close()
    tasks[1]:cancel()
    stream:close()
    peer:close()
    tasks[2]:cancel()
    assert.equal(before, support.descriptors())
  end)

  it("is collected with all who wait", function()
    warn "@off"
    for _ = 1, 5 do
      local loop = lh.new_event_loop()
      left_waiting(loop)
      loop = nil
      for _ = 1, 3 do collectgarbage() end
      assert.is_nil(loop)
    end
    warn "@on"
  end)

  it("must be the stream's", function()
    local loop = lh.new_event_loop()
    local stream, peer = left_waiting(loop)
    support.in_real_task(function()
      raises("belongs to a different loop", stream.wait_closed, stream)
    end)()
    loop:close()
    support.in_real_task(function()
      raises("belongs to a different loop", stream.wait_closed, stream)
    end)()
    stream:close()
    peer:close()
  end)

  for kind, with_stream in pairs(KINDS) do
    it("is waited for by nobody afterwards: " .. kind, function()
      support.with_loop(function(loop)
        loop:run_until_complete(function()
          with_stream(function(stream, peer)
            local tasks = waiting(stream, 3)
            tasks[1]:cancel()
            lh.sleep(0)
            stream:close()
            tasks[2]:cancel()
            if peer then peer:close() end
            lh.wait(tasks)
            stream:wait_closed()
            if peer then peer:wait_closed() end
          end)
        end)
        raises(lh.DeadlockError, loop.run_until_complete, loop, function() lh.Event():wait() end)
      end, { clock = "monotonic" })
    end)
  end

  it("may be virtual: an open stream does not hold its time", function()
    support.run(function()
      KINDS["a connection"](function(stream)
        lh.get_running_loop():call_later(1e7, stream.close, stream)
        assert.is_true(stream:wait_closed())
      end)
    end)
  end)

  -- A signal's handler does not hold virtual time, and real time passes until it is called.
  it("may be virtual: the good-bye of a TLS stream holds its time #child", function()
    support.run(function()
      KINDS["a connection with TLS"](function(stream, peer)
        local loop = lh.get_running_loop()
        local began = loop:time()
        loop:add_signal_handler("SIGUSR2", function() peer:close() end)
        local tasks = waiting(stream, 2)
        stream:close()
        for _ = 1, 3 do lh.sleep(0) end
        assert.equal(0, done(tasks))
        local late <close> = assert(io.popen(("sleep 0.1; kill -USR2 %d"):format(children.PID)))
        assert.is_true(stream:wait_closed())
        assert.is_true(lh.await(tasks[1]) and lh.await(tasks[2]))
        assert.is_true(loop:time() - began < 20)
        assert.is_nil(late:read())
        loop:remove_signal_handler "SIGUSR2"
      end)
    end)
  end)
end)
