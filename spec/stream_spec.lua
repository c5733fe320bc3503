-- Streams, over real sockets and by the real clock.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local raises = expect.raises

-- A test body fn(client, peer, server), a task with two ends of a connection.
local function connected(fn, opts)
  return function()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        local accepted = loop:create_future()
        local server <close> = assert(lh.start_server(function(stream)
          accepted:set_result(stream)
        end, "127.0.0.1", 0))
        local client <close> = assert(lh.open_connection("127.0.0.1",
          select(2, server:getsockname()), opts))
        local peer <close> = lh.await(accepted)
        local held <close> = lh.timeout(20)
        fn(client, peer, server)
      end)
    end, { clock = "monotonic" })
  end
end

local function in_task(fn) return support.in_real_task(fn, { within = 20 }) end

-- Writes more than the kernel takes; the task that does it.
local function stuck_writer(stream, text)
  local task = lh.create_task(stream.write, stream, text or ("x"):rep(16 * 1024 * 1024))
  lh.sleep(0.02)
  assert.is_false(task:done())
  return task
end

describe("reading", function()
  it("gives what is there, up to n bytes, and nil at the end", connected(function(client, peer)
    peer:write("hello")
    assert.equal("he", client:read(2))
    assert.equal("llo", client:read())
    assert.equal("", client:read(0))
    peer:write("more", "", 5)
    peer:write_eof()
    assert.equal("more5", client:read("a"))
    assert.same({ n = 1 }, table.pack(client:read()))
    assert.same({ n = 1 }, table.pack(client:readline()))
  end))

  it("of nothing does not wait, and is not the end", connected(function(client, peer)
    assert.equal("", client:read(0))
    assert.equal("", client:readexactly(0))
    peer:write("x")
    assert.equal("x", client:read())
  end))

  it("splits lines, however they come", connected(function(client, peer)
    lh.create_task(function()
      for byte in ("one\r\ntwo\n\nlast"):gmatch "." do
        peer:write(byte)
        lh.sleep(0)
      end
      peer:write_eof()
    end)
    assert.equal("one", client:readline())
    assert.equal("two\n", client:readline("L"))
    assert.equal("", client:readline())
    assert.equal("last", client:readline())
    assert.is_nil(client:readline())
  end))

  it("by lines() ends at the end", connected(function(client, peer)
    peer:write("a\nb\nc")
    peer:write_eof()
    local log = expect.log()
    for line in client:lines() do log(line) end
    assert.equal("a b c", expect.line(log))
  end))

  it("by lines() raises what goes wrong", connected(function(client, peer)
    peer:write(("x"):rep(20))
    raises("EMSGSIZE", function() for _ in client:lines() do error("a line") end end)
  end, { limit = 10 }))

  it("exactly or until tells the partial bytes at the end", connected(function(client, peer)
    peer:write("12345;678")
    peer:write_eof()
    assert.equal("123", client:readexactly(3))
    assert.equal("45;", client:readuntil(";"))
    local _, message, code, partial = client:readuntil(";")
    assert.equal("EOF", code)
    assert.equal("EOF: ", message:sub(1, 5))
    assert.equal("678", partial)
    assert.equal("", select(4, client:readexactly(1)))
  end))

  it("until finds a separator that comes in pieces", connected(function(client, peer)
    lh.create_task(function()
      peer:write("key: v\r")
      lh.sleep(0.01)
      peer:write("\n\r\nbody")
    end)
    assert.equal("key: v\r\n\r\n", client:readuntil("\r\n\r\n"))
    assert.equal("body", client:read())
  end))

  it("takes much at once, and does not believe in sizes", connected(function(client, peer)
    local text = ("0123456789"):rep(100000)
    lh.create_task(function()
      peer:write(text)
      peer:write_eof()
    end)
    assert.equal(text, client:readexactly(#text))
    assert.equal("EOF", select(3, client:readexactly(1 << 40)))
  end))

  it("gives pieces of any size, each a string of its own", connected(function(client, peer)
    local bytes, pieces = {}, {}
    for i = 1, 100000 do bytes[i] = i .. "," end
    local text = table.concat(bytes)
    lh.create_task(function()
      for _, size in ipairs { 5000, 1, 20000, 4095, 4096, 300, 60000, 65536 } do
        peer:write(text:sub(1, size))
        lh.sleep(0.001)
      end
      peer:write(text)
      peer:write_eof()
    end)
    for piece in function() return client:read(65536) end do pieces[#pieces + 1] = piece end
    local expected = ""
    for _, size in ipairs { 5000, 1, 20000, 4095, 4096, 300, 60000, 65536 } do
      expected = expected .. text:sub(1, size)
    end
    assert.is_true(expected .. text == table.concat(pieces))
  end))

  it("consumes nothing when the limit is passed", connected(function(client, peer)
    peer:write(("x"):rep(11), "\n")
    lh.sleep(0.01)
    assert.equal("EMSGSIZE", select(3, client:readline()))
    assert.equal("EMSGSIZE", select(3, client:readline()))
    assert.equal(("x"):rep(11) .. "\n", client:read())
  end, { limit = 10 }))

  it("lets a line of just the limit pass, the separator half there", connected(
    function(client, peer)
      lh.create_task(function()
        peer:write(("x"):rep(10), "-")
        lh.sleep(0.01)
        peer:write("+")
      end)
      assert.equal(("x"):rep(10) .. "-+", client:readuntil("-+"))
    end, { limit = 10 }))

  it("is for one task at a time", connected(function(client, peer)
    local first = lh.create_task(client.read, client)
    lh.sleep(0)
    raises("another task is already reading", client.read, client)
    peer:write("x")
    assert.equal("x", lh.await(first))
  end))

  it("is for one task at a time also while the first only lets others run", connected(
    function(client, peer)
      peer:write(("x"):rep(1000))
      lh.sleep(0.01)
      local first = lh.create_task(function() for _ = 1, 65 do client:read(1) end end)
      lh.sleep(0)
      assert.is_false(first:done())
      raises("another task is already reading", client.read, client)
      lh.await(first)
    end))

  it("lets others run when the peer is fast", connected(function(client, peer)
    peer:write(("x"):rep(1000))
    lh.sleep(0.01)
    local steps = 0
    local ticker = lh.create_task(function()
      while true do
        steps = steps + 1
        lh.sleep(0)
      end
    end)
    for _ = 1, 1000 do client:read(1) end
    assert.is_true(steps >= 10, steps .. " steps")
    ticker:cancel()
  end))

  it("can be cancelled or time out, and loses nothing", connected(function(client, peer)
    local reader = lh.create_task(client.readexactly, client, 4)
    peer:write("ab")
    lh.sleep(0.01)
    reader:cancel()
    expect.cancelled(reader)
    raises(lh.TimeoutError, lh.wait_for, function() return client:readline() end, 0.01)
    peer:write("cd")
    assert.equal("abcd", client:readexactly(4))
  end))
end)

describe("writing", function()
  it("waits while the peer is slow", connected(function(client, peer)
    local text = ("0123456789abcdef"):rep(1024 * 1024)
    local writer = stuck_writer(client, text)
    assert.equal(text, peer:readexactly(#text))
    assert.is_true(lh.await(writer))
  end))

  it("of many parts arrives in order, and of two tasks one after the other", connected(
    function(client, peer)
      local big, parts = ("a"):rep(8 * 1024 * 1024), {}
      for i = 1, 200 do parts[i] = tostring(i) end
      local first = stuck_writer(client, big)
      local cancelled = lh.create_task(client.write, client, "never")
      local second = lh.create_task(client.write, client, table.unpack(parts))
      lh.sleep(0)
      cancelled:cancel() -- whose turn had not come: it must not end the first one's
      expect.cancelled(cancelled)
      lh.sleep(0.01)
      assert.is_false(second:done())
      assert.equal(big .. table.concat(parts), peer:readexactly(#big + 492))
      lh.await(first)
      lh.await(second)
    end))

  it("can be cancelled or time out, and the next writer goes on", connected(function(client, peer)
    local writer = stuck_writer(client)
    local nxt = lh.create_task(client.write, client, "end")
    lh.sleep(0)
    writer:cancel()
    expect.cancelled(writer)
    raises(lh.TimeoutError, lh.wait_for, function() client:write("x") end, 0.01)
    local drain = lh.create_task(peer.read, peer, "a")
    assert.is_true(lh.await(nxt))
    client:write_eof()
    assert.equal("xend", lh.await(drain):sub(-4))
  end))

  it("ends with write_eof, and reading goes on", connected(function(client, peer)
    client:write("question")
    assert.is_true(client:write_eof())
    assert.is_true(client:write_eof())
    raises("cannot write after write_eof()", client.write, client, "x")
    assert.equal("question", peer:read("a"))
    peer:write("answer")
    assert.equal("answer", client:read())
  end))

  it("fails when the peer has gone", connected(function(client, peer)
    client:write("unread")
    lh.sleep(0.01)
    peer:close() -- with bytes unread: a reset
    lh.sleep(0.01)
    assert.equal("ECONNRESET", select(3, client:read()))
    assert.equal("EPIPE", select(3, client:write("x")))
  end))
end)

describe("closing", function()
  it("ends the waits of all who use the stream", connected(function(client)
    local reader = lh.create_task(client.read, client)
    local writer = stuck_writer(client)
    local nxt = lh.create_task(client.write, client, "x")
    lh.sleep(0)
    client:close()
    client:close()
    for _, task in ipairs { reader, writer, nxt } do
      assert.equal("ECANCELED", select(3, lh.await(task)))
    end
    assert.is_true(client:is_closed())
    assert.is_true(client:wait_closed())
    raises("the stream is closed", client.read, client)
    raises("the stream is closed", client.write, client, "x")
  end))

  it("lets go of the bytes that nobody has read", connected(function(client, peer)
    local reader = lh.create_task(client.readexactly, client, 1 << 22)
    peer:write(("x"):rep(1 << 20))
    lh.sleep(0.01)
    reader:cancel()
    expect.cancelled(reader)
    collectgarbage()
    local held = collectgarbage "count"
    client:close()
    collectgarbage()
    assert.is_true(held - collectgarbage "count" > 512, "nothing was freed")
  end))

  it("is possible after its loop, whoever waited", function()
    local kept
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        local server <close> = assert(lh.start_server(function(peer)
          peer:read()
          peer:close()
        end, "127.0.0.1", 0))
        kept = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
        lh.create_task(kept.read, kept)
        lh.sleep(0.01)
      end)
    end, { clock = "monotonic" })
    kept:close()
    assert.is_true(kept:is_closed())
    collectgarbage()
  end)
end)

describe("connecting", function()
  it("says that nobody listens", in_task(function()
    local server = assert(lh.start_server(function() end, "127.0.0.1", 0))
    local _, port = server:getsockname()
    server:close()
    local stream, message, code = lh.open_connection("localhost", port)
    assert.is_nil(stream)
    assert.equal("ECONNREFUSED: connection refused", message)
    assert.equal("ECONNREFUSED", code)
    assert.equal("ENOENT", select(3, lh.open_unix_connection("/nonexistent/socket")))
  end))

  it("knows no names yet", in_task(function()
    local _, message, code = lh.open_connection("no.such.name", 1)
    assert.equal("EAI_NONAME", code)
    assert.equal("EAI_NONAME: ", message:sub(1, 12))
    assert.equal("EAI_NONAME", select(3, lh.start_server(function() end, "no.such.name", 1)))
    assert.equal("EAI_NONAME", select(3, lh.open_connection("1.2.3", 1)))
  end))

  it("refuses wrong arguments", in_task(function()
    raises("bad argument #1 to 'open_connection'", lh.open_connection, nil, 1)
    raises("port out of range", lh.open_connection, "127.0.0.1", 65536)
    raises("no such option: limits", lh.open_connection, "127.0.0.1", 1, { limits = 1 })
    raises("option 'limit'", lh.open_unix_connection, "/x", { limit = -1 })
    raises("bad argument #1 to 'start_server'", lh.start_server, nil, "127.0.0.1", 0)
  end))

  it("tells both names", connected(function(client, peer, server)
    assert.same({ server:getsockname() }, { client:getpeername() })
    assert.same({ client:getsockname() }, { peer:getpeername() })
    assert.is_true(client:fileno() >= 0)
  end))
end)
