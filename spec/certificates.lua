-- Certificates made for the occasion, and connections that use them: for specs of TLS.

local lh = require "loophost"
local support = require "spec.support"

local certificates = {}

local folder

function certificates.sh(command)
  local ok, _, status = os.execute(("cd '%s' && (%s) >log 2>&1"):format(folder, command))
  assert(ok, command .. " failed: " .. tostring(status))
end

-- The path of a file beside the certificates.
function certificates.file(name) return folder .. "/" .. name end

-- A certificate `name`.pem with its key `name`.key, signed by the authority.
function certificates.certify(name, subject, names, more)
  certificates.sh(("openssl req -newkey rsa:2048 -nodes -keyout %s.key -out %s.csr " ..
    "-subj /CN=%s && printf 'subjectAltName=%s' > ext && openssl x509 -req -in %s.csr " ..
    "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile ext -out %s.pem %s"):format(name, name,
    subject, names, name, name, more or "-days 2"))
end

-- An authority, and a certificate "server" of this machine's.
function certificates.make()
  folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir -m700 " .. folder))
  certificates.sh("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority " ..
    "-keyout ca.key -out ca.pem")
  certificates.certify("server", "server", "DNS:localhost,IP:127.0.0.1,IP:::1")
end

function certificates.remove() os.execute("rm -rf " .. folder) end

-- ---- connections ----

local function with(options, more)
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

function certificates.server_options(more)
  return with({ cert = folder .. "/server.pem", key = folder .. "/server.key" }, more)
end

function certificates.client_options(more)
  return with({ cafile = folder .. "/ca.pem" }, more)
end

-- What a server may do: sends back what comes.
function certificates.echo(stream)
  while true do
    local text = stream:read()
    if not text or not stream:write(text) then break end
  end
  stream:close()
end

-- A server, and its port.
function certificates.serve(fn, options)
  local server = assert(lh.start_server(fn, "127.0.0.1", 0,
    { ssl = certificates.server_options(options) }))
  return server, select(2, server:getsockname())
end

function certificates.connect(port, options, host)
  return lh.open_connection(host or "localhost", port,
    { ssl = certificates.client_options(options) })
end

-- A test body: fn(client, peer, server), two ends of an encrypted connection.
function certificates.connected(fn, client_options, server_options)
  return support.in_real_task(function(loop)
    local accepted = loop:create_future()
    local server <close>, port = certificates.serve(function(stream)
      accepted:set_result(stream)
    end, server_options)
    local client <close> = assert(certificates.connect(port, client_options))
    local peer <close> = lh.await(accepted)
    fn(client, peer, server)
  end)
end

-- Writes the text again and again until the kernel takes no more; how many bytes it took.
-- The last attempt, which could not wait, has failed in the middle.
function certificates.fill(stream, text)
  local taken = 0
  repeat
    local list = { 1, 2 }
    local ok = pcall(table.sort, list, function()
      assert(stream:write(text))
      taken = taken + #text
      return false
    end)
  until not ok
  return taken
end

-- A server that passes bytes on, both ways, between its one client and the port; and a function
-- that has the client's connection reset, after the client has written what nobody reads.
function certificates.relay(port)
  local cut, deaf, said = lh.Event(), lh.Event(), lh.Event()
  local relay = assert(lh.start_server(function(stream)
    local inner <close> = assert(lh.open_connection("127.0.0.1", port))
    local tasks = {}
    for from, to in pairs { [stream] = inner, [inner] = stream } do
      tasks[#tasks + 1] = lh.create_task(function()
        while true do to:write((from:read())) end
      end)
    end
    cut:wait()
    for _, task in ipairs(tasks) do task:cancel() end
    lh.wait(tasks)
    deaf:set()
    said:wait()
    stream:close() -- with bytes that nobody has read: the kernel says so
  end, "127.0.0.1", 0))
  return relay, function(client)
    cut:set()
    deaf:wait()
    client:write "unread"
    said:set()
  end
end

return certificates
