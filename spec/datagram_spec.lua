-- Datagrams, over real sockets and by the real clock.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local paths = require "spec.paths"
local raises = expect.raises

local open = lh.create_datagram_endpoint

local function in_task(fn, clock) return support.in_real_task(fn, { clock = clock }) end

-- A test body fn(server, client, port): a bound endpoint, and one connected to it.
local function connected(fn)
  return in_task(function()
    local server <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
    local _, port = server:getsockname()
    local client <close> = assert(open { remote_addr = { "127.0.0.1", port } })
    fn(server, client, port)
  end)
end

local function nobodys_port()
  local endpoint <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
  return select(2, endpoint:getsockname())
end

describe("datagrams", function()
  it("come with the address of their sender, to which one can answer", in_task(function()
    local a <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
    local b <close> = assert(open { local_addr = { "localhost", 0 }, family = "inet" })
    local host, port = a:getsockname()
    assert.equal("127.0.0.1", host)
    assert.is_true(b:sendto("question", host, port))
    local data, from, from_port = a:recvfrom()
    assert.same({ "question", b:getsockname() }, { data, from, from_port })
    assert.is_true(a:sendto("answer", from, from_port))
    assert.same({ "answer", host, port }, { b:recvfrom() })
  end))

  it("may be empty, and keep their borders", connected(function(server, client)
    for _, data in ipairs { "", "a", "", "\0b" } do assert.is_true(client:sendto(data)) end
    assert.is_true(client:sendto(5))
    for _, data in ipairs { "", "a", "", "\0b", "5" } do
      assert.equal(data, (server:recvfrom()))
    end
  end))

  it("are as large as UDP has them, and no larger", connected(function(server, client)
    local data = ("0123456789"):rep(6551):sub(1, 65507)
    assert.is_true(client:sendto(data))
    assert.is_true(data == server:recvfrom())
    local ok, message, code = client:sendto(data .. "x")
    assert.is_nil(ok)
    assert.equal("EMSGSIZE: message too long", message)
    assert.equal("EMSGSIZE", code)
    client:sendto("after")
    assert.equal("after", (server:recvfrom()))
  end))

  it("of IPv6 tell the scope", in_task(function()
    local a, _, code = open { local_addr = { "::1", 0 } }
    if code == "EADDRNOTAVAIL" or code == "EAFNOSUPPORT" then return pending "there is no IPv6" end
    local _a <close> = assert(a)
    local b <close> = assert(open { family = "inet6" })
    local _, port = a:getsockname()
    assert.is_true(b:sendto("x", "::1", port))
    assert.is_true(b:sendto("y", "::1%lo", port))
    assert.is_true(b:sendto("z", "::1%1", port))
    assert.is_true(b:sendto(("x"):rep(65527), "localhost", port))
    for _, data in ipairs { "x", "y", "z" } do
      assert.same({ data, "::1" }, { table.unpack({ a:recvfrom() }, 1, 2) })
    end
    assert.equal(65527, #a:recvfrom())
    assert.equal("EAI_NONAME", select(3, b:sendto("x", "::1%no such thing", port)))

    local own = {} -- the link-local address of some interface
    for line in io.lines "/proc/net/if_inet6" do
      local digits, name = line:match "^(fe80%x+) .- (%S+)$"
      if digits then own = { digits:gsub("%x%x%x%x", "%0:"):sub(1, -2) .. "%" .. name, name } end
    end
    if not own[1] then return end
    local link <close> = assert(open { local_addr = { own[1], 0 } })
    local shown, link_port = link:getsockname()
    assert.equal("%" .. own[2], shown:match "%%.*")
    local peer <close> = assert(open { remote_addr = { shown, link_port } })
    assert.equal(shown, (peer:getpeername()))
    assert.is_true(peer:sendto "hello")
    local data, host = link:recvfrom()
    assert.same({ "hello", shown }, { data, host })
  end))

  it("reach who is named", in_task(function()
    local a <close> = assert(open { local_addr = { "localhost", 0 } })
    local b <close> = assert(open { family = "inet" })
    local _, port = a:getsockname()
    for i = 1, 3 do
      assert.is_true(b:sendto("x" .. i, "localhost", port))
      assert.equal("x" .. i, (a:recvfrom()))
    end
    assert.equal("EAI_NONAME", select(3, b:sendto("x", "no such name", port)))
    assert.equal("EAI_NONAME", select(3, open { remote_addr = { "no such name", 1 } }))
    assert.equal("EAI_NONAME", select(3, open { local_addr = { "no such name", 1 } }))
  end))

  it("of a connected endpoint come from its peer only", connected(function(server, client, port)
    local stranger <close> = assert(open { family = "inet" })
    local host, client_port = client:getsockname()
    assert.same({ "127.0.0.1", port }, { client:getpeername() })
    assert.equal("ENOTCONN", select(3, server:getpeername()))
    stranger:sendto("from a stranger", host, client_port)
    server:sendto("from the peer", host, client_port)
    assert.equal("from the peer", (client:recvfrom()))
    assert.is_true(client:sendto("x", "127.0.0.1", port))
    raises("connected to another address", client.sendto, client, "x", "127.0.0.1", port ~ 1)
    raises("connected to another address", client.sendto, client, "x", "127.0.0.2", port)
  end))
end)

describe("errors of datagrams", function()
  it("come back with the next call", in_task(function()
    local client <close> = assert(open { remote_addr = { "127.0.0.1", nobodys_port() } })
    assert.is_true(client:sendto("x"))
    assert.equal("ECONNREFUSED: connection refused", select(2, client:sendto("x")))
    assert.is_true(client:sendto("x"))
    assert.same({ nil, "ECONNREFUSED: connection refused", "ECONNREFUSED" },
      { client:recvfrom() })
  end))

  it("wake who waits, and nobody else", in_task(function()
    local client <close> = assert(open { remote_addr = { "127.0.0.1", nobodys_port() } })
    local first = lh.create_task(client.recvfrom, client)
    local second = lh.create_task(client.recvfrom, client)
    lh.sleep(0)
    assert.is_true(client:sendto("x"))
    assert.equal("ECONNREFUSED", select(3, lh.await(first)))
    lh.sleep(0.01)
    assert.is_false(second:done())
    client:sendto("x")
    assert.equal("ECONNREFUSED", select(3, lh.await(second)))
  end))

  it("of opening are told", in_task(function()
    local a <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
    local _, port = a:getsockname()
    local other, message, code = open { local_addr = { "127.0.0.1", port } }
    assert.is_nil(other)
    assert.equal("EADDRINUSE: address already in use", message)
    assert.equal("EADDRINUSE", code)
    assert.equal("EADDRNOTAVAIL", select(3, open { local_addr = { "192.0.2.77", 0 } }))
    assert.equal("EAI_FAMILY", select(3, open {
      local_addr = { "127.0.0.1", 0 }, remote_addr = { "::1", 1 },
    }))
    assert.equal("EAI_NODATA", select(3, open { local_addr = { "::1", 0 }, family = "inet" }))
    assert.equal("ENOENT", select(3, open { remote_addr = "/nonexistent/socket" }))
    assert.equal("ENOENT", select(3, open { local_addr = "/nonexistent/socket" }))
  end))

  it("of a family that the endpoint does not have are told", in_task(function()
    local a <close> = assert(open { family = "inet" })
    assert.equal("EAFNOSUPPORT", select(3, a:sendto("x", "::1", 9)))
  end))

  it("are the caller's where they are mistakes", connected(function(server, client)
    local here = support.here
    local who = "bad argument #1 to 'create_datagram_endpoint' "
    raises(who .. "(table expected, got no value)", open)
    raises(who .. "(no such option: remote)", open, { remote = "x" })
    raises(who .. "(invalid value of option 'family')", open, { family = "ipx" })
    raises(who .. "(invalid value of option 'family')", open, { family = 4 })
    raises(who .. "(invalid value of option 'reuse_port')", open, { reuse_port = 1 })
    raises(who .. "(local_addr, remote_addr or family expected)", open, {})
    for _, address in ipairs { { "127.0.0.1" }, { 1, 2 }, {}, 5, { "127.0.0.1", 65536 },
      { "127.0.0.1", -1 }, { "127.0.0.1", 1.5 }, { "127.0.0.1", 0 / 0 }, "", ("x"):rep(108),
      "a\0b" } do
      raises("option 'local_addr' must be", open, { local_addr = address })
      raises("option 'remote_addr' must be", open, { remote_addr = address })
    end
    for _, opts in ipairs { { local_addr = "/a", remote_addr = { "127.0.0.1", 1 } },
      { local_addr = "/a", family = "inet" },
      { remote_addr = { "127.0.0.1", 1 }, family = "unix" } } do
      raises("do not go together", open, opts)
    end
    local line
    local err = raises(who, function() line = here(); open { family = "" } end)
    assert.equal(line, err:match "^(.-:%d+): ")
    err = raises(who, function() line = here(); open { local_addr = "" } end)
    assert.equal(line, err:match "^(.-:%d+): ")

    raises("string expected, got no value", client.sendto, client)
    raises("string expected, got table", client.sendto, client, {})
    raises("the endpoint is not connected", server.sendto, server, "x")
    raises("number expected, got nil", server.sendto, server, "x", "127.0.0.1")
    raises("port out of range", server.sendto, server, "x", "127.0.0.1", 65536)
    raises("port out of range", server.sendto, server, "x", "127.0.0.1", -1)
    raises("host contains zeros", server.sendto, server, "x", "127.0.0.1\0x", 1)
    raises("datagram expected", server.recvfrom, {})
    raises("datagram expected", server.sendto, io.stdout, "x")
  end))
end)

describe("several tasks that wait for a datagram", function()
  it("get one each, in the order in which they came", connected(function(server, client)
    local log, tasks = expect.log(), {}
    for i = 1, 5 do
      tasks[i] = lh.create_task(function()
        log(i .. "=" .. server:recvfrom())
        if i < 3 then log(i + 5 .. "=" .. server:recvfrom()) end
      end)
    end
    lh.sleep(0.01)
    for _, data in ipairs { "a", "b", "c", "d", "e", "f", "g" } do client:sendto(data) end
    for i = 1, 5 do lh.await(tasks[i]) end
    assert.equal("1=a 2=b 3=c 4=d 5=e 6=f 7=g", expect.line(log))
  end))

  it("can be cancelled or time out, and none is stuck or lost", connected(function(server, client)
    for victim = 1, 3 do
      for offset = -2, 4 do -- turns between the datagrams and the cancellation
        local tasks, got = {}, {}
        for i = 1, 3 do
          tasks[i] = lh.create_task(function()
            local data = server:recvfrom()
            got[#got + 1] = data
          end)
        end
        expect.turns(2)
        if offset < 0 then tasks[victim]:cancel() end
        if offset < -1 then expect.turns(1) end
        for i = 1, 3 do client:sendto(tostring(i)) end
        expect.turns(math.max(offset, 0))
        tasks[victim]:cancel()
        lh.wait(tasks)
        while #got < 3 do got[#got + 1] = server:recvfrom() end
        assert.equal("1 2 3", table.concat(got, " "))
      end
    end
    raises(lh.TimeoutError, lh.wait_for, function() server:recvfrom() end, 0.01)
    raises(lh.TimeoutError, lh.wait_for, function() server:recvfrom() end, 0)
    client:sendto("after")
    assert.equal("after", (server:recvfrom()))
  end))

  it("do not let one overtake that comes later", connected(function(server, client)
    local first = lh.create_task(server.recvfrom, server)
    lh.sleep(0.01)
    client:sendto("1")
    client:sendto("2")
    local seen
    local second = lh.create_task(function() seen = server:recvfrom() end)
    lh.sleep(0)
    assert.equal("1", (lh.await(first)))
    lh.await(second)
    assert.equal("2", seen)
  end))
end)

describe("a flood of datagrams", function()
  it("lets others run", connected(function(server, client)
    for _ = 1, 200 do client:sendto("x") end
    local steps = 0
    local ticker = lh.create_task(function()
      while true do
        steps = steps + 1
        lh.sleep(0)
      end
    end)
    lh.sleep(0)
    steps = 0
    for _ = 1, 190 do server:recvfrom() end
    assert.is_true(steps >= 2, steps .. " steps while receiving")
    lh.sleep(0)
    steps = 0
    for _ = 1, 500 do client:sendto("x") end
    assert.is_true(steps >= 6, steps .. " steps while sending")
    ticker:cancel()
  end))

  it("lets the one go on first who only let others run", connected(function(server, client)
    for i = 1, 100 do client:sendto(tostring(i)) end
    local order = {}
    local first = lh.create_task(function()
      for _ = 1, 70 do
        local data = server:recvfrom()
        order[#order + 1] = data
      end
    end)
    local second = lh.create_task(function()
      local data = server:recvfrom()
      order[#order + 1] = data
    end)
    lh.await(first)
    lh.await(second)
    for i = 1, 71 do assert.equal(tostring(i), order[i]) end
  end))

  it("loses nobody who is cancelled while others run", connected(function(server, client)
    for i = 1, 100 do client:sendto(tostring(i)) end
    local n = 0
    local first = lh.create_task(function()
      for _ = 1, 70 do
        server:recvfrom()
        n = n + 1
      end
    end)
    local second = lh.create_task(server.recvfrom, server)
    lh.sleep(0)
    assert.is_false(first:done())
    first:cancel()
    assert.equal(tostring(n + 1), (lh.await(second)))
  end))
end)

describe("Unix datagrams", function()
  it("tell the path of their sender, or none", paths.free(2, function(path, own)
    local a <close> = assert(open { local_addr = path })
    local b <close> = assert(open { local_addr = own, remote_addr = path })
    local c <close> = assert(open { family = "unix" })
    assert.equal(path, a:getsockname())
    assert.equal(path, b:getpeername())
    assert.equal("", c:getsockname())
    assert.is_true(b:sendto("named"))
    assert.is_true(c:sendto("nameless", path))
    assert.is_true(c:sendto("", path))
    assert.same({ "named", own }, { a:recvfrom() })
    assert.same({ "nameless", "" }, { a:recvfrom() })
    assert.same({ "", "" }, { a:recvfrom() })
    assert.is_true(a:sendto("answer", own))
    assert.same({ "answer", path }, { b:recvfrom() })
    raises("address expected", a.sendto, a, "x")
    raises("1 to 107 bytes", a.sendto, a, "x", "")
    raises("connected to another address", b.sendto, b, "x", own)
    assert.is_true(b:sendto("x", path))
  end))

  it("are never cut off, however large", paths.free(1, function(path)
    local a <close> = assert(open { local_addr = path })
    local b <close> = assert(open { remote_addr = path })
    local data = ("0123456789abcdef"):rep(10000)
    for _, size in ipairs { 65535, 65536, 65537, 160000 } do
      assert.is_true(b:sendto(data:sub(1, size)))
      assert.is_true(data:sub(1, size) == a:recvfrom())
    end
    assert.equal("EMSGSIZE", select(3, b:sendto(data:rep(100))))
  end))

  it("may have abstract names", in_task(function()
    local name = "\0loophost " .. tostring({}) .. os.time()
    local a <close> = assert(open { local_addr = name })
    local b <close> = assert(open { remote_addr = name })
    assert.equal(name, a:getsockname())
    b:sendto("x")
    assert.equal("x", (a:recvfrom()))
    assert.equal("EADDRINUSE", select(3, open { local_addr = name }))
  end))

  it("take over the path of one that has gone, and no other", paths.free(1, function(path)
    for _ = 1, 2 do
      local a <close> = assert(open { local_addr = path })
      assert.equal("EADDRINUSE", select(3, open { local_addr = path }))
      assert.equal("EADDRINUSE", select(3, lh.start_unix_server(print, path)))
      local b <close> = assert(open { remote_addr = path })
      assert.is_true(b:sendto("x"))
      assert.equal("x", (a:recvfrom()))
    end
    assert.equal("ECONNREFUSED", select(3, open { remote_addr = path }))
    local server = assert(lh.start_unix_server(print, path))
    assert.equal("EADDRINUSE", select(3, open { local_addr = path }))
    assert.equal("EPROTOTYPE", select(3, open { remote_addr = path }))
    server:close()
    os.remove(path)
    local file = assert(io.open(path, "w"))
    file:close()
    assert.equal("EADDRINUSE", select(3, open { local_addr = path }))
    os.remove(path)
    assert.is_nil((open { local_addr = path, remote_addr = "/nonexistent/socket" }))
    assert.is_nil((os.remove(path))) -- the failed one has left no file
  end))

  it("say that the peer has gone", paths.free(1, function(path)
    local a = assert(open { local_addr = path })
    local b <close> = assert(open { remote_addr = path })
    local c <close> = assert(open { family = "unix" })
    a:close()
    assert.equal("ECONNREFUSED", select(3, b:sendto("x")))
    assert.equal("ECONNREFUSED", select(3, c:sendto("x", path)))
  end))
end)

describe("an endpoint", function()
  it("ends the waits of all when it is closed, by hand or by the scope", connected(
    function(server, client)
      local tasks = {}
      for i = 1, 3 do tasks[i] = lh.create_task(server.recvfrom, server) end
      lh.sleep(0)
      assert.is_truthy(tostring(server):find "^datagram endpoint %(descriptor %d+%)$")
      server:close()
      server:close()
      for i = 1, 3 do
        assert.same({ nil, "ECANCELED: the endpoint was closed", "ECANCELED" },
          { lh.await(tasks[i]) })
      end
      assert.is_true(server:is_closed())
      assert.equal(-1, server:fileno())
      assert.equal("datagram endpoint (closed)", tostring(server))
      for _, method in ipairs { "recvfrom", "getsockname", "getpeername" } do
        raises("the endpoint is closed", server[method], server)
      end
      raises("the endpoint is closed", server.sendto, server, "x", "127.0.0.1", 1)
      assert.is_false(client:is_closed())
      do
        local scoped <close> = client
        assert.is_true(scoped:fileno() >= 0)
      end
      assert.is_true(client:is_closed())
    end))

  it("can be closed while a name is looked up, or the line moves", connected(
    function(server, client)
      local first = lh.create_task(server.recvfrom, server)
      local second = lh.create_task(server.recvfrom, server)
      lh.sleep(0.01)
      client:sendto("x")
      lh.sleep(0.01) -- first has run, or will
      server:close()
      local data = lh.await(first)
      assert.is_true(data == "x" or data == nil)
      assert.equal("ECANCELED", select(3, lh.await(second)))
    end))

  it("is possible to close after its loop, whoever waited", function()
    local kept
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        kept = assert(open { local_addr = { "127.0.0.1", 0 } })
        for _ = 1, 2 do lh.create_task(kept.recvfrom, kept) end
        lh.sleep(0.01)
      end)
    end, { clock = "monotonic" })
    collectgarbage()
    kept:close()
    assert.is_true(kept:is_closed())
    collectgarbage()
  end)

  it("that nobody closes is collected with its loop", function()
    local before = support.descriptors()
    for _ = 1, 3 do
      support.with_loop(function(loop)
        loop:run_until_complete(function()
          local lost = assert(open { local_addr = { "127.0.0.1", 0 } })
          lh.create_task(lost.recvfrom, lost)
          lh.create_task(lost.recvfrom, lost)
          lh.sleep(0.01)
        end)
      end, { clock = "monotonic" })
    end
    collectgarbage()
    collectgarbage()
    assert.equal(before, support.descriptors())
  end)

  it("belongs to the loop that runs when it is made", function()
    if not lh.current_task() then -- in the host the test is in the main task
      raises("no running event loop", open, { family = "inet" })
    end
    local kept
    support.with_loop(function(loop)
      loop:run_until_complete(function() kept = assert(open { family = "inet" }) end)
      support.with_loop(function(other)
        other:run_until_complete(function()
          raises("different loop", kept.recvfrom, kept)
          kept:close()
        end)
      end, { clock = "monotonic" })
    end, { clock = "monotonic" })
  end)

  it("works in callbacks as long as nothing has to wait", in_task(function(loop)
    local done = loop:create_future()
    loop:call_soon(function()
      local a <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
      local b <close> = assert(open { remote_addr = { a:getsockname() } })
      local results = { b:sendto("x"), a:recvfrom() }
      results[5] = select(2, pcall(a.recvfrom, a))
      done:set_result(results)
    end)
    local results = lh.await(done)
    assert.is_true(results[1])
    assert.equal("x", results[2])
    assert.is_truthy(results[5]:find("recvfrom", 1, true), results[5])
  end))

  it("knows the socket options", in_task(function()
    local a <close> = assert(open { local_addr = { "127.0.0.1", 0 }, reuse_port = true })
    local _, port = a:getsockname()
    local b <close> = assert(open { local_addr = { "127.0.0.1", port }, reuse_port = true })
    assert.equal("EADDRINUSE", select(3, open { local_addr = { "127.0.0.1", port } }))
    assert.equal("EACCES", select(3, b:sendto("x", "255.255.255.255", port)))
    local c <close> = assert(open { family = "inet", allow_broadcast = true })
    assert.is_true(select(3, c:sendto("x", "255.255.255.255", port)) ~= "EACCES")
  end))

  it("leaves no descriptor behind, whatever fails", in_task(function()
    local before = support.descriptors()
    for _ = 1, 3 do
      local a <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
      open { local_addr = { a:getsockname() } }
      open { remote_addr = "/nonexistent/socket" }
      open { remote_addr = { "no such name", 1 } }
      lh.rawpcall(open, { remote_addr = {} })
    end
    assert.equal(before, support.descriptors())
  end))
end)

describe("virtual time", function()
  it("waits for a datagram, and gives up on one that never comes", in_task(function(loop)
    local a <close> = assert(open { local_addr = { "127.0.0.1", 0 } })
    local b <close> = assert(open { remote_addr = { a:getsockname() } })
    local began = loop:time()
    local task = lh.create_task(a.recvfrom, a)
    lh.sleep(0)
    b:sendto("x")
    assert.equal("x", (lh.await(task)))
    assert.equal(began, loop:time())
    raises(lh.TimeoutError, lh.wait_for, function() a:recvfrom() end, 0.1)
    raises(lh.TimeoutError, lh.wait_for, function() a:recvfrom() end, 0.1)
    local began_at = os.time()
    lh.sleep(50) -- nobody waits for a datagram any more: that takes no time
    assert.is_true(os.time() - began_at < 40)
  end, "virtual"))
end)
