-- How a TLS connection begins: what the client says first, whom it believes, how long that may
-- take, and when it is too late.

local lh = require "loophost"
local support = require "spec.support"
local raises = require("spec.expect").raises
local certificates = require "spec.certificates"
local serve, connect, in_task = certificates.serve, certificates.connect, support.in_real_task

setup(function()
  certificates.make()
  certificates.certify("wild", "wild", "DNS:*.example.com")
  certificates.certify("partial", "partial", "DNS:f*.example.com,DNS:*o.example.com")
end)
teardown(certificates.remove)

-- A server without TLS, and its port.
local function plain_server(fn)
  local server = assert(lh.start_server(fn, "127.0.0.1", 0))
  return server, select(2, server:getsockname())
end

-- A plain connection to a server that runs fn(stream): fn2(client).
local function plainly(fn, fn2)
  return in_task(function()
    local server <close>, port = plain_server(fn)
    local client <close> = assert(lh.open_connection("127.0.0.1", port))
    fn2(client)
    assert.is_true(server:is_serving())
  end)
end

describe("a client's first words", function()
  -- The first bytes of a client with the options.
  local function hello(options, host)
    local heard
    local server <close>, port = plain_server(function(stream)
      heard = stream:read()
      stream:close()
    end)
    assert.is_nil((connect(port, options, host)))
    assert.is_true(server:is_serving())
    return heard
  end

  local function names(text, name) -- as RFC 6066 has it: a list with one name of a host
    return text:find(string.pack(">I2Bs2", #name + 3, 0, name), 1, true) ~= nil
  end

  it("name the host", in_task(function()
    assert.is_true(names(hello(), "localhost"))
  end))

  it("name the server_hostname, though nothing is verified", in_task(function()
    local text = hello { server_hostname = "other.example", verify = false }
    assert.is_true(names(text, "other.example"))
    assert.is_falsy(text:find("localhost", 1, true))
  end))

  it("name no address", in_task(function()
    assert.is_falsy(hello(nil, "127.0.0.1"):find("127.0.0.1", 1, true))
  end))
end)

describe("a certificate's name", function()
  local function attempt(cert, host)
    local server <close>, port = serve(function(stream) stream:close() end, {
      cert = certificates.file(cert .. ".pem"), key = certificates.file(cert .. ".key"),
    })
    local stream, message = connect(port, { server_hostname = host })
    if stream then stream:close() end
    assert.is_true(server:is_serving())
    return message
  end

  it("may stand for all of a domain", in_task(function()
    assert.is_nil(attempt("wild", "foo.example.com"))
    assert.is_truthy(attempt("wild", "foo.bar.example.com"):find "hostname mismatch")
    assert.is_truthy(attempt("wild", "example.com"):find "hostname mismatch")
  end))

  it("does not stand for those that look like it, as in Python", in_task(function()
    assert.is_truthy(attempt("partial", "foo.example.com"):find "hostname mismatch")
  end))
end)

describe("a handshake's time", function()
  it("is the server's to limit, too", in_task(function(loop)
    local handled = 0
    local server <close>, port = serve(function() handled = handled + 1 end,
      { handshake_timeout = 0.05 })
    for _, said in ipairs { "", "\22", "\22\3\1\2\0" } do
      local silent <close> = assert(lh.open_connection("127.0.0.1", port))
      silent:write(said)
      local began = loop:time()
      assert.is_nil((silent:read()))
      assert.is_true(loop:time() - began < 20)
    end
    assert.equal(0, handled)
    server:close()
    server:wait_closed()
  end))

  it("is a minute, as asyncio's", function()
    local delays = {}
    local Loop = lh.EventLoop:subclass {
      call_at = function(self, when, ...)
        local delay = when - self:time()
        if delay > 1 then delays[#delays + 1] = delay end
        return lh.EventLoop.call_at(self, when, ...)
      end,
    }
    local loop = Loop { clock = "monotonic" }
    loop:run_until_complete(function()
      local server <close>, port = serve(function(stream) stream:close() end)
      local client <close> = assert(connect(port))
      assert.is_nil(client:read())
      assert.is_true(server:is_serving())
    end)
    loop:close()
    assert.equal(2, #delays) -- the server's and the client's
    for _, delay in ipairs(delays) do assert.is_true(delay > 50 and delay <= 60) end
  end)

  -- By the virtual clock, which goes on as soon as all is said.
  it("and the farewell's half of that", support.on_loop(function(loop)
    loop:run_until_complete(function()
      local accepted = loop:create_future()
      local server <close>, port = serve(function(stream) accepted:set_result(stream) end)
      local client <close> = assert(connect(port))
      local peer <close> = lh.await(accepted)
      local before = support.descriptors()
      client:close()
      lh.sleep(29.9)
      assert.equal(before, support.descriptors())
      lh.sleep(0.2)
      assert.equal(before - 1, support.descriptors())
      assert.equal("ETIMEDOUT", select(3, client:wait_closed()))
      assert.is_true(server:is_serving() and not peer:is_closed())
    end)
  end))
end)

describe("start_tls", function()
  local options = { verify = false }

  it("is a mistake while somebody reads, and disturbs him not", plainly(function(stream)
    stream:read(1)
    stream:write "answer"
    stream:close()
  end, function(client)
    local reader = lh.create_task(client.read, client)
    lh.sleep(0)
    raises("another task reads from or writes to the stream", client.start_tls, client, options)
    client:write "x"
    assert.equal("answer", lh.await(reader))
  end))

  it("is a mistake while somebody writes, and disturbs him not", plainly(function(stream)
    stream:write(#stream:read "a")
    stream:close()
  end, function(client)
    local size = 32 << 20
    local writer = lh.create_task(client.write, client, ("x"):rep(size))
    lh.sleep(0)
    assert.is_false(writer:done())
    raises("another task reads from or writes to the stream", client.start_tls, client, options)
    assert.is_true(lh.await(writer))
    client:write_eof()
    assert.equal(tostring(size), client:read "a")
  end))

  it("is a mistake over bytes that came before it, which can still be read", plainly(
    function(stream)
      stream:write "go ahead\ninjected"
      stream:read()
      stream:close()
    end, function(client)
      client:readline()
      raises("unread bytes, which came without encryption", client.start_tls, client, options)
      assert.equal("injected", client:read())
    end))

  it("is a mistake on what is no open stream", plainly(function(stream)
    stream:close()
  end, function(client)
    client:close()
    raises("start_tls: the stream is closed", client.start_tls, client, options)
    raises("stream expected, got number", client.start_tls, 1, options)
  end))

  -- A write beside start_tls: what it comes to, and what came to the other side.
  local function writing_beside(fn, is_cancelled)
    local heard
    local server <close>, port = plain_server(function(stream)
      heard = fn(stream)
      stream:close()
    end)
    local client <close> = assert(lh.open_connection("127.0.0.1", port))
    local starter = lh.create_task(client.start_tls, client,
      certificates.client_options { server_hostname = "localhost" })
    lh.sleep(0)
    local writer = lh.create_task(client.write, client, "later")
    lh.sleep(0)
    raises("another task is already reading", client.read, client)
    assert.is_false(writer:done())
    if is_cancelled then starter:cancel() end
    lh.wait { starter }
    local result = table.pack(lh.await(writer))
    client:close()
    server:close()
    server:wait_closed()
    return heard, table.unpack(result, 1, result.n)
  end

  it("is waited for by a write, which is encrypted then", in_task(function()
    assert.same({ "later", true }, { writing_beside(function(stream)
      assert(stream:start_tls(certificates.server_options { server_side = true }))
      return stream:read()
    end, false) })
  end))

  it("is waited for by a write, which fails if it is cancelled", in_task(function()
    local _, ok, _, code = writing_beside(function(stream) stream:read "a" end, true)
    assert.same({ nil, "ECANCELED" }, { ok, code })
  end))

  it("closes the stream if it fails, whatever the reason", plainly(function(stream)
    stream:read()
    stream:close()
  end, function(client)
    local done, message, code = client:start_tls { cafile = "/none", server_hostname = "x" }
    assert.same({ nil, "ESSL: certificates of /none: No such file or directory", "ESSL" },
      { done, message, code })
    assert.is_true(client:is_closed())
  end))

  it("names the caller's line", plainly(function(stream) stream:close() end, function(client)
    local function line(wrong)
      local _, message = lh.pcall(function() client:start_tls(wrong) end)
      return message:match "^(.-): "
    end
    local here = support.here(-3)
    for _, wrong in ipairs { 1, { verify = 1 }, { alpn = { "" } }, { server_side = true }, {} } do
      assert.equal(here, line(wrong))
    end
  end))
end)
