-- tls.lua -- TLS on streams and servers: what the options mean, and how long a handshake
-- may take.
--
-- OpenSSL's part is C's (bindings/tls.c). Verified by default: a client trusts the
-- system's authorities, or those of `cafile`, and wants the host's name in the certificate.

local core = require "loophost.core"
local argument = require "loophost.argument"

local tls = {}

---@class loophost.TLSOptions
---@field cafile? string PEM file with the authorities to trust, instead of the system's, which are
---  read once
---@field capath? string directory with them, as `openssl rehash` makes it
---@field cert? string PEM file with the certificate and those between it and the authority
---@field key? string PEM file with its private key, if that is not in the same file
---@field password? string of the private key
---@field server_hostname? string whom a client expects; default: the host it connects to
---@field verify? boolean whether the peer needs a certificate that is trusted; a client
---  does so by default, a server when told
---@field alpn? string[] application protocols, the preferred one first: {"h2", "http/1.1"}
---@field min_version? "TLSv1.2"|"TLSv1.3" default TLSv1.2
---@field handshake_timeout? number seconds, default 60
---@field shutdown_timeout? number seconds that a closed connection may still take to send
---  what is left and to hear the peer's end, in the background; default 30
---@field server_side? boolean for start_tls: whether this end is the server

local OPTIONS = {
  cafile = "string", capath = "string", cert = "string", key = "string", password = "string",
  server_hostname = "string", verify = "boolean", alpn = "table", min_version = "string",
  handshake_timeout = "number", shutdown_timeout = "number", server_side = "boolean",
}
local VERSIONS = { ["TLSv1.2"] = true, ["TLSv1.3"] = true }
local MIN_VERSION = "TLSv1.2"
local DEFAULTS = {} -- what `true` means
local TIMEOUTS = { "handshake_timeout", "shutdown_timeout" }
local HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT = 60, 30 -- seconds, as asyncio's

local MOST_OF_ALPN = 65000 -- bytes: 64 KiB have to hold what else a client says, too

-- Protocols as they stand on the wire: each with its length before it.
local function encode_protocols(list, arg, who, level)
  local function fail(text) argument.fail(arg, who, "option 'alpn' " .. text, level + 2) end
  local count, parts = 0, {}
  for _ in pairs(list) do count = count + 1 end
  for i = 1, count do
    local name = list[i]
    if name == nil then
      fail "must be a list without holes"
    elseif type(name) ~= "string" or #name == 0 or #name > 255 then
      fail(("must be strings of 1 to 255 bytes, which the value at %d is not"):format(i))
    end
    parts[i] = string.char(#name) .. name
  end
  if count == 0 then return nil end
  local wire = table.concat(parts)
  if #wire > MOST_OF_ALPN then fail "is longer than 65000 bytes" end
  return wire
end

-- The options of the argument, checked; true is a table without any.
---@param opts loophost.TLSOptions|boolean
---@param is_server boolean
---@return table?
function tls.check(opts, is_server, arg, who, level)
  if opts == nil or opts == false then return nil end
  if opts == true then opts = DEFAULTS end
  if type(opts) ~= "table" then argument.mismatch(arg, who, "table", opts, level + 1) end
  argument.options(opts, OPTIONS, arg, who, level + 1)
  local function fail(text) argument.fail(arg, who, text, level + 2) end
  if opts.min_version and not VERSIONS[opts.min_version] then
    fail "option 'min_version' must be TLSv1.2 or TLSv1.3"
  elseif opts.key and not opts.cert then
    fail "option 'key' needs option 'cert'"
  elseif is_server and not opts.cert then
    fail "a server needs option 'cert'"
  end
  for _, name in ipairs(TIMEOUTS) do
    if opts[name] and not (opts[name] >= 0) then -- luacheck: ignore 581
      fail(("option '%s' must be a number of seconds"):format(name))
    end
  end
  local checked = { options = opts } ---@type table<string, any>
  for name in pairs(OPTIONS) do
    local value = opts[name]
    if type(value) == "string" and value:find("\0", 1, true) then
      fail(("option '%s' contains zeros"):format(name))
    end
    checked[name] = value
  end
  if opts.alpn then checked.alpn = encode_protocols(opts.alpn, arg, who, level + 1) end
  if checked.verify == nil then checked.verify = not is_server end
  checked.min_version = checked.min_version or MIN_VERSION
  return checked
end

-- ---- contexts ----

local CONTEXT_FIELDS = {
  "cafile", "capath", "cert", "key", "password", "verify", "alpn", "min_version",
}
local contexts = setmetatable({}, { __mode = "k" }) -- by the caller's table of options
local without_files = {} -- those of clients that name no file: four at most, for good

local reader -- a context that has read the system's authorities, for all that trust them

local function new_context(checked, is_server)
  local trusts_system = checked.verify and not (checked.cafile or checked.capath)
  if trusts_system and not reader then
    reader = core.tls_context({ verify = true, min_version = MIN_VERSION }, false)
  end
  return core.tls_context(checked, is_server, reader)
end

-- The context of a client that names no file.
local function common_context(checked)
  local signature = tostring(checked.verify) .. checked.min_version
  local known = without_files[signature]
  if known then return known end
  local context, message, code = new_context(checked, false)
  without_files[signature] = context
  return context, message, code
end

-- The context of the checked options, which reads the files. Who passes the same table
-- again gets the same context; a certificate that was renewed wants a new table.
---@return userdata? context
---@return string? message
---@return string? code
function tls.context(checked, is_server)
  if not (checked.cert or checked.cafile or checked.capath) then return common_context(checked) end
  local parts = { tostring(is_server) }
  for i, name in ipairs(CONTEXT_FIELDS) do
    local value = tostring(checked[name])
    parts[i + 1] = #value .. ":" .. value
  end
  local signature = table.concat(parts, " ")
  local known = contexts[checked.options]
  if known and known.signature == signature then return known.context end
  local context, message, code = new_context(checked, is_server)
  if context then contexts[checked.options] = { signature = signature, context = context } end
  return context, message, code
end

-- ---- handshakes ----

-- true, or nil, message, code
local function shake_hands(stream, context, host, checked)
  local attached, message, code = core.tls_attach(stream, context, host,
    checked.shutdown_timeout or SHUTDOWN_TIMEOUT, checked.alpn)
  if not attached then return nil, message, code end
  local in_time, ok
  in_time, ok, message, code = core.pcall(core.wait_for, function()
    return core.tls_handshake(stream)
  end, checked.handshake_timeout or HANDSHAKE_TIMEOUT)
  if in_time then return ok, message, code end
  if not core.iserror(ok, core.errors.TimeoutError) then error(ok, 0) end
  return nil, "ETIMEDOUT: the TLS handshake took too long", "ETIMEDOUT"
end

-- Encrypts the stream from now on; closes it if that fails, also for want of memory: on the way
-- from here to the protected call there is nothing to allocate.
---@param stream loophost.Stream
---@param context userdata
---@param host? string whom a client expects
---@param checked table the options
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function tls.handshake(stream, context, host, checked)
  local ran, ok, message, code = core.rawpcall(shake_hands, stream, context, host, checked)
  if ran and ok then return stream end
  stream:close()
  if not ran then error(ok, 0) end
  return nil, message, code
end

-- A connection's handler that begins with the handshake. As in asyncio, one that fails
-- is told to nobody but a loop in debug mode.
---@param fn fun(stream: loophost.Stream)
---@return fun(stream: loophost.Stream)
function tls.serving(fn, context, checked)
  return function(stream)
    local ok, message = tls.handshake(stream, context, nil, checked)
    if ok then return fn(stream) end
    local loop = core.get_running_loop()
    if loop:get_debug() then
      loop:call_exception_handler { message = "SSL handshake failed: " .. message }
    end
  end
end

-- Goes over to TLS on a connection that stands, and that nobody reads from or writes to
-- meanwhile. As StreamWriter.start_tls of asyncio. When it fails the stream is closed.
---@param opts? loophost.TLSOptions
---@return loophost.Stream? stream
---@return string? message
---@return string? code "ESSL" with OpenSSL's own words, or that of the connection
function tls.start(stream, opts)
  local is_server = type(opts) == "table" and opts.server_side or false
  local checked = tls.check(opts or true, is_server, 1, "start_tls", 2) --[[@as table]]
  local host = checked.server_hostname
  if not is_server and checked.verify and not host then
    argument.fail(1, "start_tls", "option 'server_hostname' is needed to verify the peer", 2)
  end
  local obstacle = core.tls_obstacle(stream)
  if obstacle then error("start_tls: " .. obstacle, 2) end
  local context, message, code = tls.context(checked, is_server)
  if context then return tls.handshake(stream, context, host, checked) end
  stream:close()
  return nil, message, code
end

return tls
