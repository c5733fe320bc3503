-- What a TLS connection still does once its stream is closed: what was written, and the
-- end, reach a peer that reads, however late; one that never does is given up.

local lh = require "loophost"
local support = require "spec.support"
local raises = require("spec.expect").raises
local certificates = require "spec.certificates"
local connected, fill = certificates.connected, certificates.fill
local connect, serve = certificates.connect, certificates.serve
local in_task = support.in_real_task

setup(certificates.make)
teardown(certificates.remove)

local TEXT = ("0123456789abcdef"):rep(100)

-- All that comes, which must end as TLS ends.
local function read_all(stream)
  local parts = {}
  while true do
    local text, message = stream:read()
    assert.is_nil(message)
    if not text then return table.concat(parts) end
    parts[#parts + 1] = text
  end
end

-- The text again and again, `taken` bytes of it at least.
local function check(text, taken)
  assert.is_true(#text >= taken and #text < taken + 32768)
  assert.equal(TEXT:rep(#text // #TEXT + 1):sub(1, #text), text)
end

local function with_timeout(seconds) return { shutdown_timeout = seconds } end

-- The kernel has taken all that it takes, and the peer does not read.
local function stuck(seconds, fn)
  return connected(function(client, peer)
    local before = support.descriptors()
    fn(client, peer, fill(client, TEXT), before)
  end, with_timeout(seconds))
end

describe("after the close of a TLS stream", function()
  it("a peer that reads late gets all, and the end", stuck(1000, function(client, peer, taken)
    client:close()
    assert.is_true(client:is_closed())
    assert.equal(-1, client:fileno())
    local waiter = lh.create_task(client.wait_closed, client)
    lh.sleep(0)
    assert.is_false(waiter:done())
    check(read_all(peer), taken)
    peer:close()
    assert.is_true(lh.await(waiter))
    assert.is_true(client:wait_closed())
  end))

  it("the other side's peer gets it, too", connected(function(client, peer)
    local taken = fill(peer, TEXT)
    peer:close()
    check(read_all(client), taken)
    client:close()
    assert.is_true(peer:wait_closed())
    assert.is_true(client:wait_closed())
  end, nil, with_timeout(1000)))

  it("both may close without having read anything", connected(function(client, peer)
    fill(client, TEXT)
    fill(peer, TEXT)
    client:close()
    peer:close()
    assert.is_true(client:wait_closed())
    assert.is_true(peer:wait_closed())
  end, with_timeout(1000), with_timeout(1000)))

  it("a write under way ends with what the kernel had of it", connected(function(client, peer)
    local text = TEXT:rep(40000)
    local writer = lh.create_task(client.write, client, text)
    peer:read(1)
    client:close()
    local _, _, code = lh.await(writer)
    assert.equal("ECANCELED", code)
    local got = read_all(peer)
    assert.equal(text:sub(2, #got + 1), got)
    peer:close()
    assert.is_true(client:wait_closed())
  end, with_timeout(1000)))

  it("an end that could not be sent is sent", stuck(1000, function(client, peer, taken)
    local ending = lh.create_task(client.write_eof, client)
    lh.sleep(0)
    ending:cancel()
    lh.wait { ending } -- the kernel may have made room meanwhile
    assert.is_true(ending:cancelled() or ending:result())
    client:close()
    check(read_all(peer), taken)
  end))

  it("a peer that has ended keeps nobody waiting", connected(function(client, peer)
    local before = support.descriptors()
    peer:write "last words"
    peer:write_eof()
    assert.equal("last words", client:read())
    assert.is_nil(client:read())
    client:close()
    assert.equal(before - 1, support.descriptors())
    assert.is_true(client:wait_closed())
    assert.is_nil(peer:read())
  end, with_timeout(1000)))

  it("a peer that goes on writing is reset", connected(function(client, peer)
    client:write "enough"
    client:close()
    assert.equal("enough", read_all(peer))
    local ok, _, code
    repeat ok, _, code = peer:write(TEXT) until not ok
    assert.truthy(code == "EPIPE" or code == "ECONNRESET", code)
    assert.is_true(client:wait_closed())
  end, with_timeout(1000)))

  it("a peer that never reads is given up", stuck(0.05, function(client, _, _, before)
    client:close()
    assert.equal(before, support.descriptors())
    local others = lh.gather(
      function() return select(3, client:wait_closed()) end,
      function() return select(3, client:wait_closed()) end)
    assert.same({ "ETIMEDOUT", "ETIMEDOUT", n = 2 }, others)
    assert.equal("ETIMEDOUT", select(3, client:wait_closed()))
    assert.equal(before - 1, support.descriptors())
  end))

  it("a peer that reads and never ends is given up, too", connected(function(client, peer)
    client:close()
    assert.equal("", read_all(peer))
    assert.equal("ETIMEDOUT", select(3, client:wait_closed()))
  end, with_timeout(0.05)))

  it("a peer that dies is noticed", stuck(1000, function(client, peer)
    client:close()
    local plain = peer:fileno()
    assert.is_true(plain >= 0)
    peer:close() -- it has read nothing: the kernel resets the connection
    assert.is_true(client:is_closed())
    client:wait_closed()
  end))

  it("with no time at all nothing is waited for", stuck(0, function(client, peer, taken, before)
    client:close()
    assert.equal(before - 1, support.descriptors())
    assert.is_true(client:wait_closed())
    local parts, more, message = {}, peer:read()
    while more do
      parts[#parts + 1] = more
      more, message = peer:read()
    end
    local text = table.concat(parts)
    if not message then return check(text, taken) end -- the kernel has taken the rest in time
    assert.is_true(#text <= taken and message:find "unexpected eof" ~= nil, message)
  end))

  it("wait_closed can be cancelled and begun again", stuck(1000, function(client, peer)
    client:close()
    for _ = 1, 3 do
      local waiter = lh.create_task(client.wait_closed, client)
      lh.sleep(0)
      waiter:cancel()
      lh.wait { waiter }
      assert.is_true(waiter:cancelled())
      local ok, err = lh.pcall(lh.wait_for, function() return client:wait_closed() end, 0.001)
      assert.is_true(not ok and lh.iserror(err, lh.TimeoutError))
    end
    lh.create_task(read_all, peer):add_done_callback(function() peer:close() end)
    assert.is_true(client:wait_closed())
  end))

  it("a stream that is collected takes its leave all the same", in_task(function(loop)
    local accepted = loop:create_future()
    local server <close>, port = serve(function(stream) accepted:set_result(stream) end)
    local client = assert(connect(port, with_timeout(1000)))
    local peer <close> = lh.await(accepted)
    local taken = fill(client, TEXT)
    client:close()
    client = nil
    collectgarbage()
    collectgarbage()
    check(read_all(peer), taken)
    assert.is_nil(client)
    assert.is_true(server:is_serving())
  end))

  -- fn(client, server, stream of the server's handler), which has filled and closed it.
  local function served(seconds, fn, fails)
    return in_task(function(loop)
      local accepted = loop:create_future()
      loop:set_exception_handler(function() end)
      local server <close>, port = serve(function(stream)
        accepted:set_result(stream, fill(stream, TEXT))
        if fails then error "the handler fails" end
        stream:close()
      end, with_timeout(seconds))
      local client <close> = assert(connect(port))
      local stream, taken = lh.await(accepted)
      fn(client, server, stream, taken)
    end)
  end

  for name, fails in pairs { ["the server's wait_closed waits"] = false,
    ["it waits also for that of a handler that failed"] = true } do
    it(name, served(1000, function(client, server, stream, taken)
      server:close()
      local waiter = lh.create_task(server.wait_closed, server)
      for _ = 1, 5 do lh.sleep(0) end
      assert.is_true(stream:is_closed())
      assert.is_false(waiter:done())
      check(read_all(client), taken)
      assert.is_false(waiter:done())
      client:close()
      assert.is_true(lh.await(waiter))
      assert.is_true(server:wait_closed())
    end, fails))
  end

  it("the server's wait_closed waits no longer than it may last", served(0.05,
    function(_, server, stream)
      local before = support.descriptors()
      server:close()
      assert.is_true(server:wait_closed())
      assert.equal(before - 2, support.descriptors()) -- the listener's, and the connection's
      assert.equal("ETIMEDOUT", select(3, stream:wait_closed()))
    end))

  it("it lets go of the stream at its end", in_task(function()
    local held, done = setmetatable({}, { __mode = "v" }), lh.Event()
    local server <close>, port = serve(function(stream)
      held[1] = stream
      stream:close()
      done:set()
    end, with_timeout(1000))
    local client <close> = assert(connect(port))
    done:wait()
    for _ = 1, 5 do lh.sleep(0) end
    collectgarbage()
    assert.truthy(held[1])
    client:close()
    server:close()
    server:wait_closed()
    collectgarbage()
    collectgarbage()
    assert.is_nil(held[1])
  end))

  it("it takes no place among max_connections", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      fill(stream, TEXT)
      stream:close()
    end, "127.0.0.1", 0, {
      max_connections = 1, ssl = certificates.server_options(with_timeout(1000)),
    }))
    local port = select(2, server:getsockname())
    local first <close> = assert(connect(port))
    local second <close> = assert(connect(port))
    assert.equal("0", second:readexactly(1))
    assert.equal("0", first:readexactly(1))
  end))

  it("the loop's close ends it", function()
    local before = support.descriptors()
    for _ = 1, 3 do
      stuck(1000, function(client)
        client:close()
        lh.create_task(client.wait_closed, client)
        lh.sleep(0)
      end)()
    end
    for _ = 1, 3 do
      served(1000, function(client, server)
        server:close()
        lh.create_task(server.wait_closed, server)
        lh.sleep(0)
        assert.is_false(client:is_closed())
      end)()
    end
    collectgarbage()
    assert.equal(before, support.descriptors())
  end)

  it("waiting for it on another loop is a mistake", function()
    local stream, peer
    local loop = lh.new_event_loop()
    loop:run_until_complete(function()
      local server <close>, port = serve(function(accepted) peer = accepted end)
      stream = assert(connect(port, with_timeout(1000)))
      fill(stream, TEXT)
      stream:close()
      assert.is_true(server:is_serving())
    end)
    in_task(function()
      raises("belongs to a different loop", stream.wait_closed, stream)
    end)()
    loop:close()
    assert.equal("ECANCELED", select(3, stream:wait_closed()))
    if peer then peer:close() end
  end)

  it("an alert reaches a peer that is still sending", in_task(function()
    local held <close>, port = serve(function(stream) stream:read() end,
      { verify = true, cafile = certificates.file "ca.pem", min_version = "TLSv1.3" })
    for _ = 1, 10 do
      local client <close> = assert(connect(port))
      local ok
      for _ = 1, 20 do ok = client:write(TEXT) if not ok then break end end
      local text, message = client:read()
      assert.is_nil(text)
      assert.truthy(message:find "certificate required", message)
    end
  end))

  it("virtual time is held no longer than it lasts", function()
    support.run(function() -- by the virtual clock
      local accepted = lh.get_running_loop():create_future()
      local server <close>, port = certificates.serve(function(stream)
        accepted:set_result(stream)
      end)
      local client = assert(certificates.connect(port, { shutdown_timeout = 0.05 }))
      local peer <close> = lh.await(accepted)
      fill(client, TEXT)
      client:close()
      assert.equal("ETIMEDOUT", select(3, client:wait_closed()))
      local began = os.time()
      lh.sleep(3600)
      assert.is_true(os.time() - began < 60)
      assert.is_false(peer:is_closed() or not server:is_serving())
    end)
  end)

  it("the option is checked", in_task(function()
    raises("'shutdown_timeout' must be a number of seconds", lh.open_connection, "x", 1,
      { ssl = { shutdown_timeout = -1 } })
    raises("'shutdown_timeout' must be a number of seconds", lh.open_connection, "x", 1,
      { ssl = { shutdown_timeout = 0 / 0 } })
  end))
end)
