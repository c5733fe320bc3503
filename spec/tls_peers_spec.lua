-- TLS with peers that are slow, hostile, or gone: every byte of a conversation is a place
-- where it can go wrong, every wait one where it can be cancelled.

local lh = require "loophost"
local support = require "spec.support"
local certificates = require "spec.certificates"
local connect, serve, connected = certificates.connect, certificates.serve, certificates.connected
local in_task, echo = support.in_real_task, certificates.echo

-- Fills all buffers on the way to a peer that does not read. The kernel makes room for more when
-- an acknowledgement comes, which it may delay by 40 ms.
local function fill(client)
  repeat
    local taken = certificates.fill(client, ("x"):rep(1000))
    lh.sleep(0.06)
  until taken == 0
end

setup(function()
  certificates.make()
  certificates.sh("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=alone " ..
    "-addext subjectAltName=DNS:localhost -keyout alone.key -out alone.pem")
end)
teardown(certificates.remove)

-- A port at which relay(from the client, to the server) stands before the server.
local function between(port, relay)
  local proxy = assert(lh.start_server(function(client)
    local server <close> = assert(lh.open_connection("127.0.0.1", port))
    relay(client, server)
    client:close()
  end, "127.0.0.1", 0))
  return proxy, select(2, proxy:getsockname())
end

-- Passes on at most `most` bytes, `size` at a time; how many there were.
local function pass(from, to, size, most)
  local passed = 0
  while passed < most do
    local text = from:read(math.min(size, most - passed))
    if not text or not to:write(text) then break end
    passed = passed + #text
    if size == 1 then lh.sleep(0) end
  end
  return passed
end

describe("TLS", function()
  it("carries 64 MiB each way at once, unchanged", connected(function(client, peer)
    local block = {}
    for i = 1, 16384 do block[i] = ("%07d"):format(i * 7919 % 10000000) end
    local text = table.concat(block)
    local size = 64 << 20
    local function send(stream)
      for _ = 1, size // #text do assert(stream:write(text)) end
      assert(stream:write(text:sub(1, size % #text)))
      assert(stream:write_eof())
    end
    local function receive(stream)
      local n = 0
      while n < size do
        local want = math.min(#text, size - n)
        if stream:readexactly(want) ~= text:sub(1, want) then return "differs in " .. n end
        n = n + want
      end
      return stream:read() or n
    end
    local results = lh.gather(
      function() send(client) end, function() send(peer) end,
      function() return receive(client) end, function() return receive(peer) end)
    assert.equal(size, results[3])
    assert.equal(size, results[4])
  end))

  it("takes a record a byte", connected(function(client, peer)
    local text = ("one byte after the other "):rep(40)
    local writer = lh.create_task(function()
      for c in text:gmatch "." do
        assert(client:write(c))
        lh.sleep(0)
      end
      client:write_eof()
    end)
    assert.equal(text, peer:read "a")
    lh.await(writer)
  end))

  it("takes records that come a byte at a time", in_task(function()
    local held <close>, port = serve(echo)
    local proxy <close>, front = between(port, function(client, server)
      local there = lh.create_task(pass, client, server, 1, math.huge)
      pass(server, client, 1, math.huge)
      lh.await(there)
    end)
    local client <close> = assert(connect(front))
    local text = ("bit by bit "):rep(100)
    client:write(text)
    assert.equal(text, client:readexactly(#text))
    client:write_eof()
    assert.is_nil(client:read())
    assert.is_true(held:is_serving() and proxy:is_serving())
  end))

  it("speaks IPv6, and looks for the address in the certificate", in_task(function()
    local server <close> = lh.start_server(echo, "::1", 0, { ssl = certificates.server_options() })
    if not server then return end -- a machine without
    local client <close> = assert(connect(select(2, server:getsockname()), nil, "::1"))
    client:write "x"
    assert.equal("x", client:read())
  end))

  it("trusts a certificate that signed itself only when told to", in_task(function()
    local cert, key = certificates.file "alone.pem", certificates.file "alone.key"
    local held <close>, port = serve(echo, { cert = cert, key = key })
    for _, options in ipairs { {}, { cafile = certificates.file "ca.pem" } } do
      local stream, message = lh.open_connection("localhost", port,
        { ssl = next(options) and options or true })
      assert.is_nil(stream)
      assert.truthy(message:find("certificate verify failed: self[- ]signed certificate"), message)
    end
    local client <close> = assert(connect(port, { cafile = cert }))
    client:write "x"
    assert.equal("x", client:read())
    assert.is_true(held:is_serving())
  end))

  -- What can wait, stuck for ever; each returns what to cancel, and what to close then.
  local waits = {
    handshake = function(silent)
      return function() return connect(silent, { handshake_timeout = 1000 }) end
    end,
    read = function(_, client) return function() return client:read() end end,
    readexactly = function(_, client) return function() return client:readexactly(1000) end end,
    write = function(_, client)
      fill(client)
      return function() return client:write "more" end
    end,
    write_eof = function(_, client)
      fill(client)
      return function() return client:write_eof() end
    end,
    wait_closed = function(_, client)
      fill(client)
      client:close()
      return function() return client:wait_closed() end
    end,
    start_tls = function(silent)
      return function()
        local stream <close> = assert(lh.open_connection("127.0.0.1", silent))
        return stream:start_tls(certificates.client_options { server_hostname = "localhost" })
      end
    end,
  }
  for name, prepare in pairs(waits) do
    it("leaves nothing when " .. name .. " is cancelled or timed out", in_task(function(loop)
      local silent <close> = assert(lh.start_server(function(stream)
        stream:read "a"
        stream:close()
      end, "127.0.0.1", 0))
      local accepted
      local held <close>, port = serve(function(stream) accepted:set_result(stream) end)
      local function round(ends)
        accepted = loop:create_future()
        local client <close> = assert(connect(port, { shutdown_timeout = 1000 }))
        local peer <close> = lh.await(accepted)
        ends(prepare(select(2, silent:getsockname()), client))
        client:close()
        peer:close()
        client:wait_closed()
        peer:wait_closed()
      end
      local function cancelled(wait)
        local task = lh.create_task(wait)
        for _ = 1, 10 do lh.sleep(0) end
        task:cancel()
        lh.wait { task }
        assert.is_true(task:cancelled())
      end
      local function timed_out(wait)
        local ok, err = lh.pcall(lh.wait_for, wait, 0.01)
        assert.is_true(not ok and lh.iserror(err, lh.TimeoutError))
      end
      local function settle(descriptors)
        local deadline = loop:time() + 20
        repeat
          lh.sleep(0.01)
          collectgarbage()
        until loop:time() > deadline or support.descriptors() <= descriptors
        for _ = 1, 4 do -- what a finaliser lets go of is collected afterwards
          lh.sleep(0.01)
          collectgarbage()
        end
        return support.descriptors(), support.memory()
      end
      round(cancelled)
      round(timed_out)
      local descriptors, memory = settle(0 + support.descriptors())
      for _ = 1, 5 do
        round(cancelled)
        round(timed_out)
      end
      local descriptors_after, memory_after = settle(descriptors)
      assert.is_true(descriptors_after <= descriptors)
      assert.is_true(memory_after < memory + 64)
      assert.is_true(held:is_serving())
    end))
  end
end)
