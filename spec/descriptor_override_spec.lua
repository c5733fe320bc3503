-- Loops with an add_reader or add_writer of their own: streams, servers and datagrams use it.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local raises = expect.raises

-- Runs fn(loop, log) on a loop whose add_reader and add_writer log their names, and those of
-- `methods` instead.
local function on_watching_loop(fn, methods)
  local log = expect.log()
  local class = {}
  for _, name in ipairs { "add_reader", "add_writer" } do
    class[name] = function(self, ...)
      log(name)
      return lh.EventLoop[name](self, ...)
    end
  end
  for name, method in pairs(methods or {}) do class[name] = method end
  local loop = lh.EventLoop:subclass(class) { clock = "virtual" }
  local ok, err = lh.rawpcall(loop.run_until_complete, loop, function()
    local _ <close> = lh.timeout(60)
    fn(loop, log)
  end)
  loop:close()
  if not ok then error(err, 0) end
end

local function calls(log, name)
  local n = 0
  for _, word in ipairs(log) do n = n + (word == name and 1 or 0) end
  return n
end

local function echo(stream)
  for line in stream:lines() do stream:write("echo ", line, "\n") end
  stream:close()
end

local function connect(server) return assert(lh.open_connection(server:getsockname())) end

describe("A loop with an add_reader or add_writer of its own is asked by", function()
  it("streams and servers, each time that they wait", function()
    on_watching_loop(function(_, log)
      local server <close> = assert(lh.start_server(echo, "127.0.0.1", 0))
      assert.equal("add_reader", expect.line(log))
      local stream <close> = connect(server)
      for i = 1, 3 do
        local before = calls(log, "add_reader")
        stream:write(i, "\n")
        assert.equal("echo " .. i, stream:readline())
        assert.is_true(calls(log, "add_reader") > before)
      end
      local before = calls(log, "add_writer")
      local silent <close> = assert(lh.start_server(function(s) return s:wait_closed() end,
        "127.0.0.1", 0))
      local full <close> = connect(silent)
      raises(lh.TimeoutError, lh.wait_for, function() full:write(("x"):rep(1 << 25)) end, 0.05)
      assert.is_true(calls(log, "add_writer") > before)
    end)
  end)

  it("datagrams", function()
    on_watching_loop(function(loop, log)
      local one <close> = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
      local two <close> = assert(lh.create_datagram_endpoint {
        remote_addr = table.pack(one:getsockname()) })
      loop:call_soon(two.sendto, two, "hello")
      assert.equal("hello", (one:recvfrom()))
      assert.equal(1, calls(log, "add_reader"))
    end)
  end)

  it("the pipes of a child", function()
    on_watching_loop(function(_, log)
      local child <close> = assert(lh.create_subprocess_exec("cat",
        { stdin = "pipe", stdout = "pipe" }))
      local text = ("0123456789"):rep(100000)
      assert.equal(text, (child:communicate(text)))
      assert.equal(0, child.returncode)
      assert.is_true(calls(log, "add_reader") > 0 and calls(log, "add_writer") > 0)
    end)
  end)
end)

describe("Such a loop's methods", function()
  it("may wrap what they are given, or keep it and call it themselves", function()
    for _, add_reader in ipairs {
      function(self, fd, fn, ...)
        local args = table.pack(...)
        lh.EventLoop.add_reader(self, fd, function() fn(table.unpack(args, 1, args.n)) end)
      end,
      function(self, _, fn, ...) self:call_later(0.001, fn, ...) end,
    } do
      on_watching_loop(function()
        local server <close> = assert(lh.start_server(echo, "127.0.0.1", 0))
        local stream <close> = connect(server)
        stream:write("hello\n")
        assert.equal("echo hello", stream:readline())
      end, { add_reader = add_reader })
    end
  end)

  it("do not hold virtual time up, nor keep a cancelled read from being forgotten", function()
    on_watching_loop(function(loop)
      local function wait(stream) stream:wait_closed() end
      local server <close> = assert(lh.start_server(wait, "127.0.0.1", 0))
      local stream <close> = connect(server)
      local read = lh.create_task(stream.read, stream)
      lh.sleep(0)
      read:cancel()
      lh.sleep(0)
      local began = loop:time()
      lh.sleep(50)
      assert.equal(50.0, loop:time() - began)
      stream:close()
    end)
  end)

  it("close what they fail for, and the error is the caller's", function()
    local problem = { "problem" }
    collectgarbage() -- what other tests have left is none of what is counted
    local descriptors = support.descriptors()
    on_watching_loop(function(loop)
      local function failing(fn, ...)
        loop.add_reader = function() error(problem) end
        local ok, err = lh.pcall(fn, ...)
        loop.add_reader = nil
        assert.is_false(ok)
        assert.equal(problem, err)
      end
      failing(lh.start_server, echo, "127.0.0.1", 0)
      local server <close> = assert(lh.start_server(echo, "127.0.0.1", 0))
      local stream <close> = connect(server)
      failing(stream.read, stream)
      assert.is_true(stream:is_closed())
      local endpoint <close> = assert(lh.create_datagram_endpoint { family = "inet" })
      failing(endpoint.recvfrom, endpoint)
      server:close()
      server:wait_closed()
    end)
    assert.equal(descriptors, support.descriptors())
  end)

  it("let wait_closed hear of a connection that breaks", function()
    on_watching_loop(function()
      local server <close> = assert(lh.start_server(function(stream)
        stream:read(1)
        stream:close() -- with bytes unread: a reset
      end, "127.0.0.1", 0))
      local stream <close> = connect(server)
      stream:write("xyz")
      local closed, _, code = stream:wait_closed()
      assert.is_nil(closed)
      assert.equal("ECONNRESET", code)
    end)
  end)

  it("may call back what was closed long ago", function()
    local kept = {}
    on_watching_loop(function()
      do
        local server <close> = assert(lh.start_server(echo, "127.0.0.1", 0))
        local stream <close> = connect(server)
        stream:write("hello\n")
        assert.equal("echo hello", stream:readline())
      end
      for _ = 1, 2 do
        for _, fn in ipairs(kept) do fn() end
        lh.sleep(0)
        lh.sleep(0)
      end
    end, { add_reader = function(self, fd, fn)
      kept[#kept + 1] = fn
      lh.EventLoop.add_reader(self, fd, fn)
    end })
    on_watching_loop(function()
      for _, fn in ipairs(kept) do fn() end
      lh.sleep(0)
    end)
  end)
end)
