-- A connection with TLS where memory runs out at each allocation in turn, of both ends' and of
-- OpenSSL's: what fails says why, its stream is closed at once (no collector runs that would), so
-- that the other end hears of it, and the next connection works.
-- preload: scarce

local lh = require "loophost"

local library = os.getenv("LOOPHOST"):gsub("[^/]*$", "tests/preload/scarce.so")
local starve = assert(package.loadlib(library, "starve"))

local certificate = os.tmpname()
assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
  .. "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout %s.key -out %s 2>/dev/null")
  :format(certificate, certificate)))
local server = assert(lh.start_server(function(stream)
  stream:read()
  stream:close()
end, "127.0.0.1", 0, { ssl = { cert = certificate, key = certificate .. ".key" } }))
local port = select(2, server:getsockname())
local options = { ssl = { cafile = certificate, shutdown_timeout = 1 } }
local open_connection, rawpcall = lh.open_connection, lh.rawpcall

-- Whether it works, or why not, and how often it allocated; the n-th fails (0: none).
local function attempt(n)
  starve(n)
  local ok, stream, message = rawpcall(open_connection, "127.0.0.1", port, options)
  local used = starve(0)
  if ok and stream then stream:close() end
  return ok and stream ~= nil, tostring(ok and message or stream), used
end

-- Waits until no connection is left.
local function settle(n)
  local late = lh.get_running_loop():time() + 20
  repeat
    lh.sleep(0.0001)
    assert(lh.get_running_loop():time() < late, ("allocation %d: a connection is open"):format(n))
  until not tostring(server):find "=[1-9]"
end

lh.get_event_loop():set_exception_handler(function() end)
assert(attempt(0))
settle(0)
local n, failed = 0, 0
repeat
  n = n + 1
  collectgarbage()
  collectgarbage "stop"
  local works, why, used = attempt(n)
  if not works then failed = failed + 1 end
  settle(n)
  collectgarbage "restart"
  assert(works or why:find "memory" or why:find "^ESSL: " or why:find "^ECONNRESET: ",
    ("allocation %d: %s"):format(n, why))
until used < n
assert(attempt(0))
settle(n)
print(("  failed at %d of %d allocations"):format(failed, n - 1))
server:close()
os.remove(certificate)
os.remove(certificate .. ".key")
