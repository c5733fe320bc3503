-- TLS between streams of our own, with certificates made for the occasion. Real programs
-- are in tests/tls_test.

local lh = require "loophost"
local support = require "spec.support"
local raises = require("spec.expect").raises
local certificates = require "spec.certificates"
local sh, file, connected = certificates.sh, certificates.file, certificates.connected
local serve, connect = certificates.serve, certificates.connect
local server_options, client_options = certificates.server_options, certificates.client_options
local echo, in_task = certificates.echo, support.in_real_task

setup(function()
  certificates.make()
  certificates.certify("other", "other", "DNS:other.example")
  certificates.certify("expired", "expired", "DNS:localhost", "-days -1")
  certificates.certify("client", "a-client", "DNS:client")
  sh "openssl pkcs8 -topk8 -passout pass:secret -in server.key -out locked.key"
  sh "openssl rsa -traditional -aes128 -passout pass:secret -in server.key -out old.key"
  sh "openssl rsa -aes128 -passout pass:secret -in other.key -out locked_other.key"
end)

teardown(certificates.remove)

local function descriptors()
  collectgarbage()
  return support.descriptors()
end

describe("a connection with TLS", function()
  it("carries lines both ways and ends in both", connected(function(client, peer)
    client:write("one\n", "two\n")
    assert.equal("one", peer:readline())
    assert.equal("two", peer:readline())
    peer:write "three\n"
    assert.equal("three", client:readline())
    client:write_eof()
    assert.is_nil(peer:readline())
    peer:write "still open\n"
    assert.equal("still open", client:readline())
    peer:close()
    assert.is_nil(client:read())
  end))

  it("tells what was agreed on", in_task(function()
    local server <close>, port = serve(echo, { alpn = { "h2", "http/1.1" } })
    local client <close> = assert(connect(port, { alpn = { "spdy", "http/1.1", "h2" } }))
    local info = client:tls_info()
    assert.equal("TLSv1.3", info.version)
    assert.equal("h2", info.alpn)
    assert.equal("/CN=server", info.subject)
    assert.is_string(info.cipher)
    local other <close> = assert(connect(port, { alpn = { "nothing" } }))
    assert.is_nil(other:tls_info().alpn)
    assert.is_true(server:is_serving())
  end))

  it("is verified by name and by address", in_task(function()
    local held <close>, port = serve(echo)
    for _, host in ipairs { "localhost", "127.0.0.1" } do
      local client <close> = assert(connect(port, nil, host))
      assert.equal(host, host and (client:write "x" and host))
    end
    local stream, message, code = connect(port, { server_hostname = "wrong.example" })
    assert.same({ nil, "ESSL: certificate verify failed: hostname mismatch", "ESSL" },
      { stream, message, code })
    stream, message = connect(port, { server_hostname = "10.0.0.1" })
    assert.is_nil(stream)
    assert.equal("ESSL: certificate verify failed: IP address mismatch", message)
  end))

  it("is refused when the certificate is not to be trusted, and says why", in_task(function()
    local held <close>, port = serve(echo)
    local _, message = lh.open_connection("localhost", port, { ssl = true })
    assert.truthy(message:find("^ESSL: certificate verify failed: .*issuer"), message)
    local expired <close>, second = serve(echo, {
      cert = file "expired.pem", key = file "expired.key",
    })
    _, message = connect(second)
    assert.equal("ESSL: certificate verify failed: certificate has expired", message)
    local client <close> = assert(connect(second, { verify = false }))
    assert.is_true(client:write "x")
    assert.is_true(expired:is_serving())
  end))

  it("may want a certificate of the client", in_task(function()
    local seen
    local held <close>, port = serve(function(stream)
      seen = stream:tls_info().subject
      echo(stream)
    end, { verify = true, cafile = file "ca.pem" })
    local client <close> = assert(connect(port,
      { cert = file "client.pem", key = file "client.key" }))
    client:write "x"
    assert.equal("x", client:read())
    assert.equal("/CN=a-client", seen)
    local without <close> = connect(port) -- TLS 1.3: the client hears of it with the first read
    local text, message
    if without then text, message = without:read() end
    assert.is_nil(text)
    assert.truthy(not without or message:find "certificate required", message)
  end))

  it("takes 16 MiB both ways at once", connected(function(client, peer)
    local size = 16 << 20
    local chunk = ("0123456789abcdef"):rep(4096)
    local function send(stream)
      for _ = 1, size // #chunk do assert(stream:write(chunk)) end
      stream:write_eof()
    end
    local function receive(stream)
      local n = 0
      while true do
        local text = stream:read()
        if not text then return n end
        n = n + #text
      end
    end
    local results = lh.gather(
      function() send(client) end, function() send(peer) end,
      function() return receive(client) end, function() return receive(peer) end)
    assert.equal(size, results[3])
    assert.equal(size, results[4])
  end))

  it("can be begun later, from both sides", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      stream:readline()
      stream:write "go ahead\n"
      assert(stream:start_tls(server_options { server_side = true }))
      echo(stream)
    end, "127.0.0.1", 0))
    local _, port = server:getsockname()
    local client <close> = assert(lh.open_connection("127.0.0.1", port))
    client:write "STARTTLS\n"
    client:readline()
    assert.same({ n = 1 }, table.pack(client:tls_info())) -- a nil, not nothing
    assert.equal(client, client:start_tls(client_options { server_hostname = "localhost" }))
    client:write "secret"
    assert.equal("secret", client:read())
    raises("has TLS already", client.start_tls, client, { verify = false })
  end))

end)

describe("what goes wrong", function()
  it("the connection is cut without a good-bye: that is no end of the stream", in_task(function()
    local held <close>, port = serve(function(stream)
      stream:write "half a mess"
      stream:read()
      stream:close()
    end)
    local cut = lh.Event()
    local proxy <close> = assert(lh.start_server(function(stream)
      local inner <close> = assert(lh.open_connection("127.0.0.1", port))
      local function forward(from, to)
        while true do
          local text = from:read()
          if not text or not to:write(text) then return end
        end
      end
      local there = lh.create_task(forward, stream, inner)
      local back = lh.create_task(forward, inner, stream)
      cut:wait()
      stream:close()
      inner:close()
      lh.wait { there, back }
    end, "127.0.0.1", 0))
    local client <close> = assert(connect(select(2, proxy:getsockname())))
    assert.equal("half a mess", client:read())
    cut:set()
    assert.same({ nil, "ESSL: unexpected eof while reading", "ESSL" }, { client:read() })
  end))

  it("the connection is reset: that is told as without TLS", in_task(function()
    local held <close>, port = serve(echo)
    local proxy <close>, reset = certificates.relay(port)
    local client <close> = assert(connect(select(2, proxy:getsockname())))
    client:write "x"
    assert.equal("x", client:read())
    reset(client)
    assert.same({ nil, "ECONNRESET: connection reset by peer", "ECONNRESET" }, { client:read() })
    assert.is_true(held:is_serving() and proxy:is_serving())
  end))

  it("the peer speaks something else", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      stream:write "HTTP/1.1 400 Bad Request\r\n\r\n"
      stream:close()
    end, "127.0.0.1", 0))
    local _, message, code = connect(select(2, server:getsockname()))
    assert.equal("ESSL", code)
    assert.equal("ESSL: wrong version number", message)
  end))

  it("the peer hangs up in the handshake", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      stream:read(1)
      stream:close()
    end, "127.0.0.1", 0))
    local stream, message, code = connect(select(2, server:getsockname()))
    assert.is_nil(stream)
    assert.truthy(code == "ESSL" or code == "ECONNRESET", message)
  end))

  it("a handshake that takes too long", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      lh.sleep(20)
      stream:close()
    end, "127.0.0.1", 0))
    local stream, message, code = connect(select(2, server:getsockname()),
      { handshake_timeout = 0.05 })
    assert.same({ nil, "ETIMEDOUT: the TLS handshake took too long", "ETIMEDOUT" },
      { stream, message, code })
  end))

  it("a client that never says anything keeps nobody waiting", in_task(function()
    local held <close>, port = serve(echo)
    local silent <close> = assert(lh.open_connection("127.0.0.1", port))
    local client <close> = assert(connect(port))
    client:write "x"
    assert.equal("x", client:read())
    assert.equal("number", type(silent:fileno()))
  end))

  it("a server tells of a failed handshake in debug mode only", in_task(function(loop)
    local reports = support.reports(loop)
    local held <close>, port = serve(echo)
    for _, debug in ipairs { false, true } do
      loop:set_debug(debug)
      local garbage <close> = assert(lh.open_connection("127.0.0.1", port))
      garbage:write(("garbage "):rep(100))
      garbage:read "a"
    end
    loop:set_debug(false)
    assert.equal(1, #reports)
    assert.truthy(reports[1].message:find("SSL handshake failed: ESSL: ", 1, true))
  end))

  local function start(options)
    return select(2, lh.start_server(echo, "127.0.0.1", 0, { ssl = options }))
  end

  it("files that are missing or wrong", in_task(function()
    assert.equal(("ESSL: certificate %s: No such file or directory"):format(file "none"),
      start { cert = file "none" })
    assert.equal(("ESSL: key %s: key values mismatch"):format(file "other.key"),
      start { cert = file "server.pem", key = file "other.key" })
    assert.truthy(select(2, connect(1, { cafile = file "none" })):find "No such file")
  end))

  it("a key that is locked, in either format", in_task(function()
    for _, key in ipairs { file "locked.key", file "old.key" } do
      local function reason(password)
        return start { cert = file "server.pem", key = key, password = password }
      end
      assert.equal(("ESSL: key %s: locked, and no password is given"):format(key), reason())
      for i = 1, 50 do -- one in some hundred looks as if it were right, at first
        assert.equal(("ESSL: key %s: wrong password"):format(key), reason("wrong" .. i))
      end
      for _, odd in ipairs { "", ("long"):rep(1000) } do
        assert.equal(("ESSL: key %s: wrong password"):format(key), reason(odd))
      end
      local server <close> = assert(lh.start_server(echo, "127.0.0.1", 0, {
        ssl = { cert = file "server.pem", key = key, password = "secret" },
      }))
      assert.is_true(server:is_serving())
    end
    assert.equal(("ESSL: key %s: key values mismatch"):format(file "locked_other.key"),
      start { cert = file "server.pem", key = file "locked_other.key", password = "secret" })
  end))

  it("protocols that are none", in_task(function()
    local here = debug.getinfo(1, "S").short_src
    local function refused(text, list)
      local line
      local ok, message = pcall(function()
        line = debug.getinfo(1, "l").currentline + 1
        lh.open_connection("x", 1, { ssl = { alpn = list } })
      end)
      assert.is_false(ok)
      assert.equal(("%s:%d: bad argument #3 to 'open_connection' (option 'alpn' %s)"):format(here,
        line, text), message)
    end
    local other = "must be strings of 1 to 255 bytes, which the value at %d is not"
    refused(other:format(1), { 1 })
    refused(other:format(2), { "h2", false })
    refused(other:format(2), { "h2", "" })
    refused(other:format(3), { "a", "b", ("x"):rep(256), "c" })
    refused("must be a list without holes", { "h2", nil, "http/1.1" })
    refused("must be a list without holes", { nil, "h2" })
    refused("must be a list without holes", { "h2", other = "http/1.1" })
    local many = {}
    for i = 1, 254 do many[i] = ("x"):rep(255) end
    refused("is longer than 65000 bytes", many)
  end))

  it("long lists of protocols are none the worse", in_task(function()
    local many = {}
    for i = 1, 253 do many[i] = ("%03d"):format(i):rep(85) end
    local held <close>, port = serve(echo, { alpn = { ("253"):rep(85) } })
    local client <close> = assert(connect(port, { alpn = many }))
    assert.equal(("253"):rep(85), client:tls_info().alpn)
    local other <close> = assert(connect(port, { alpn = {} }))
    assert.is_nil(other:tls_info().alpn)
    assert.is_true(held:is_serving())
  end))

  it("options that make no sense are the caller's mistake", in_task(function()
    raises("a server needs option 'cert'", lh.start_server, echo, "127.0.0.1", 0, { ssl = true })
    raises("no such option: ca_file", lh.open_connection, "x", 1, { ssl = { ca_file = "x" } })
    raises("'key' needs option 'cert'", lh.open_connection, "x", 1, { ssl = { key = "x" } })
    raises("'server_hostname' contains zeros", lh.open_connection, "x", 1,
      { ssl = { server_hostname = "localhost\0.evil" } })
    raises("'min_version'", lh.open_connection, "x", 1, { ssl = { min_version = "SSLv3" } })
    raises("table expected, got string", lh.open_connection, "x", 1, { ssl = "yes" })
    raises("server_hostname' is needed", lh.open_unix_connection, "/none", { ssl = true })
  end))

  it("a write that is cancelled leaves the stream usable for the next", connected(
    function(client, peer)
      local first = lh.create_task(client.write, client, ("a"):rep(32 << 20))
      lh.sleep(0.05)
      first:cancel()
      lh.wait { first }
      assert.is_true(first:cancelled())
      local writer = lh.create_task(function()
        client:write "b"
        client:write_eof()
      end)
      local text = peer:read "a"
      lh.await(writer)
      assert.truthy(text:find "^a*b$")
    end))

  it("a write that could not wait does not take the next one's bytes", connected(
    function(client, peer)
      local text = ("a"):rep(16384)
      local ok
      repeat
        local list = { 1, 2 }
        ok = pcall(table.sort, list, function() client:write(text) return false end)
      until not ok
      local reader = lh.create_task(peer.read, peer, "a")
      client:write "not lost\n"
      client:write_eof()
      assert.truthy(lh.await(reader):find "^a*not lost\n$")
    end))

  it("a new server reads a certificate that was renewed", in_task(function()
    sh "cp server.pem renewed.pem && cp server.key renewed.key"
    for _, name in ipairs { "server", "other" } do
      sh(("cp %s.pem renewed.pem && cp %s.key renewed.key"):format(name, name))
      local held <close>, port = serve(echo,
        { cert = file "renewed.pem", key = file "renewed.key" })
      local client <close> = assert(connect(port, { verify = false }))
      assert.equal("/CN=" .. name, client:tls_info().subject)
    end
  end))

  it("leaves no descriptor when the handshake is cancelled, at any turn", in_task(function()
    local held <close>, port = serve(echo)
    assert(connect(port)):close()
    lh.sleep(0.05)
    local before = descriptors()
    for turns = 0, 20 do
      local task = lh.create_task(connect, port)
      for _ = 1, turns do lh.sleep(0) end
      task:cancel()
      local ok, stream = lh.rawpcall(lh.await, task)
      if ok and stream then stream:close() end
    end
    local deadline = lh.get_running_loop():time() + 20
    while descriptors() > before and lh.get_running_loop():time() < deadline do lh.sleep(0.05) end
    assert.equal(before, descriptors())
  end))
end)

describe("a Unix socket with TLS", function()
  it("names whom it expects", in_task(function()
    local path = file "socket"
    local server <close> = assert(lh.start_unix_server(echo, path, { ssl = server_options() }))
    local client <close> = assert(lh.open_unix_connection(path,
      { ssl = client_options { server_hostname = "localhost" } }))
    client:write "x"
    assert.equal("x", client:read())
    assert.is_true(server:is_serving())
  end))
end)
