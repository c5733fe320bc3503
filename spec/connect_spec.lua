-- Names that need no server, and which address is connected to; over real sockets.
-- What needs a name server is in tests/names_test.

local lh = require "loophost"
local support = require "spec.support"
local raises = require("spec.expect").raises

local function in_task(fn) return support.in_real_task(fn, { within = 20 }) end

local function descriptors()
  collectgarbage()
  return support.descriptors()
end

local function serve(address, port)
  return assert(lh.start_server(function(stream)
    stream:write(address, "\n")
    stream:close()
  end, address, port or 0))
end

-- A port at which nobody listens.
local function refused_port()
  local server = serve "127.0.0.1"
  local _, port = server:getsockname()
  server:close()
  return port
end

describe("getaddrinfo", function()
  it("knows numeric addresses, localhost and this machine without asking", in_task(function()
    assert.same({ { family = "inet", address = "127.0.0.1", port = 80 } },
      lh.getaddrinfo("127.0.0.1", 80))
    assert.same({ { family = "inet6", address = "::1", port = 80 } }, lh.getaddrinfo("::1", "80"))
    assert.equal("fe80::1%lo", lh.getaddrinfo("fe80::1%lo", 1)[1].address)
    local both = lh.getaddrinfo("localhost", 5)
    assert.same({ "127.0.0.1", "::1" }, { both[1].address, both[2].address })
    assert.same(both, lh.getaddrinfo(nil, 5))
    assert.same({ both[2] }, lh.getaddrinfo("localhost", 5, { family = "inet6" }))
  end))

  it("finds the ports of services", in_task(function()
    assert.equal(80, lh.getaddrinfo("127.0.0.1", "http")[1].port)
    assert.equal(443, lh.getaddrinfo("::1", "https")[1].port)
    assert.equal("::1", lh.getaddrinfo("::1", "https")[1].address)
    local list, message, code = lh.getaddrinfo("127.0.0.1", "nosuchservice")
    assert.is_nil(list)
    assert.equal("EAI_SERVICE", code)
    assert.truthy(message:find("EAI_SERVICE: nosuchservice: ", 1, true))
  end))

  it("says which name is not known", in_task(function()
    for _, name in ipairs { "", "two words", "a\0b", ("x"):rep(300) } do
      local list, message, code = lh.getaddrinfo(name, 1)
      assert.same({ nil, "EAI_NONAME" }, { list, code })
      assert.equal("EAI_NONAME: " .. name .. ": name not known", message)
    end
    assert.equal("EAI_NONAME", select(3, lh.getaddrinfo("localhost", 1, { numeric = true })))
    assert.equal("EAI_NODATA", select(3, lh.getaddrinfo("::1", 1, { family = "inet" })))
  end))

  it("complains of wrong arguments", in_task(function()
    raises("#1 to 'getaddrinfo' (string expected, got table", lh.getaddrinfo, {}, 1)
    raises("#2 to 'getaddrinfo' (port out of range", lh.getaddrinfo, "x", 65536)
    raises("#2 to 'getaddrinfo' (integer expected, got number", lh.getaddrinfo, "x", 1.5)
    raises("option 'family'", lh.getaddrinfo, "x", 1, { family = "inet5" })
    raises("option 'type'", lh.getaddrinfo, "x", 1, { type = "raw" })
    raises("no such option: ports", lh.getaddrinfo, "x", 1, { ports = 1 })
  end))

  it("is only for tasks", function()
    support.with_loop(function(loop)
      local ok, err
      loop:call_soon(function()
        ok, err = pcall(lh.getaddrinfo, "name.invalid", 1)
        loop:stop()
      end)
      loop:run_forever()
      assert.is_false(ok)
      assert.truthy(err:find("only a task can wait", 1, true))
    end)
  end)
end)

describe("a host with several addresses", function()
  it("is connected to at the one that answers", in_task(function()
    local server <close> = serve "::1"
    local _, port = server:getsockname()
    local stream <close> = assert(lh.open_connection("localhost", port))
    assert.equal("::1", stream:readline())
  end))

  it("that all refuse gives the first failure", in_task(function()
    local stream, message, code = lh.open_connection("localhost", refused_port())
    assert.same({ nil, "ECONNREFUSED: connection refused", "ECONNREFUSED" },
      { stream, message, code })
  end))

  it("is tried at the next one when the first does not answer", in_task(function()
    -- a listener whose backlog is full answers no more
    local holes <close> = assert(lh.start_server(function(stream)
      stream:write("served")
      stream:read "a"
      stream:close()
    end, "127.0.0.1", 0, { backlog = 0, max_connections = 1 }))
    local _, port = holes:getsockname()
    local only <close> = assert(lh.open_connection("127.0.0.1", port))
    assert.equal("served", only:read())
    local fillers = {}
    for i = 1, 4 do
      fillers[i] = lh.create_task(lh.open_connection, "127.0.0.1", port)
    end
    lh.wait(fillers, { timeout = 0.2 })
    local held <close> = serve("::1", port)
    local stream <close> = assert(lh.open_connection("localhost", port,
      { happy_eyeballs_delay = 0.05 }))
    assert.equal("::1", stream:readline())
    for _, filler in ipairs(fillers) do
      filler:cancel()
      local ok, filled = lh.rawpcall(lh.await, filler)
      if ok and filled then filled:close() end
    end
    holes:close()
    only:close()
    holes:wait_closed()
  end))

  it("leaves no descriptor when the connecting task is cancelled, at any turn", in_task(function()
    local held <close> = serve "::1"
    local _, port = held:getsockname()
    local before
    for turns = 0, 12 do
      local task = lh.create_task(lh.open_connection, "localhost", port)
      for _ = 1, turns do lh.sleep(0) end
      task:cancel()
      local ok, stream = lh.rawpcall(lh.await, task)
      if ok then stream:close() end
      lh.sleep(0.01)
      before = before or descriptors()
      assert.equal(before, descriptors())
    end
  end))
end)

describe("open_connection", function()
  it("connects from an address of one's own", in_task(function()
    local server <close> = serve "127.0.0.1"
    local _, port = server:getsockname()
    local stream <close> = assert(lh.open_connection("127.0.0.1", port,
      { local_addr = { "127.0.0.5" } }))
    assert.equal("127.0.0.5", (stream:getsockname()))
  end))

  it("takes only addresses of the family that is asked for", in_task(function()
    local taken <close> = serve "127.0.0.1"
    local server, port, held
    repeat -- bound, so that nobody else has the number there, but not listened to
      if server then server:close() end
      server = serve "::1"
      port = select(2, server:getsockname())
      held = lh.open_connection("127.0.0.1", select(2, taken:getsockname()),
        { local_addr = { "127.0.0.1", port } })
    until held
    local _server <close> = server
    local _held <close> = held
    assert.equal("ECONNREFUSED",
      select(3, lh.open_connection("localhost", port, { family = "inet" })))
    assert.is_false(held:is_closed())
    local stream <close> = assert(lh.open_connection("localhost", port, { family = "inet6" }))
    assert.equal("::1", (stream:getpeername()))
  end))

  it("complains of wrong options, at the caller's line", in_task(function()
    local here = support.here(2)
    raises(here .. ": bad argument #3 to 'open_connection' (invalid value", function()
      lh.open_connection("localhost", 1, { family = "ip" })
    end)
    raises("local_addr", lh.open_connection, "localhost", 1, { local_addr = { "localhost" } })
    raises("happy_eyeballs_delay", lh.open_connection, "x", 1, { happy_eyeballs_delay = 0 / 0 })
    raises("no such option: timeout", lh.open_connection, "x", 1, { timeout = 1 })
  end))
end)
