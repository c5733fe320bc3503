-- datagram.lua -- endpoints for datagrams: from names to the addresses that a socket takes.
--
-- The endpoints themselves are C's (bindings/datagram.c) and know numeric addresses only.

local core = require "loophost.core"
local argument = require "loophost.argument"
local names = require "loophost.names"

local datagram = {}

local WHO = "create_datagram_endpoint"
local FAMILIES = { inet = true, inet6 = true, unix = true }

---@class loophost.Datagram
-- Sends one datagram. Waits while the kernel has no room; several tasks send in the order in
-- which they came. A connected endpoint needs no address; a host's name is looked up each
-- time. Errors of earlier ones come back as well (ECONNREFUSED: the peer is not there).
---@field sendto fun(self, data: string, host?: string, port?: integer): true?, string?, string?
-- Waits for a datagram, which may be empty and is never cut off. Several tasks may wait: each
-- gets one, in the order in which they came. Of Unix sockets the path is told instead of host
-- and port, "" where the sender has none. nil, message, code: what went wrong (ECONNREFUSED
-- after a sendto that nobody received), or the endpoint was closed meanwhile (ECANCELED).
---@field recvfrom fun(self): data: string?, host: string, port: integer
---@field close fun(self) ends the waits of others; twice is harmless; also by <close>
---@field is_closed fun(self): boolean
---@field getsockname fun(self): host: string?, port: integer
---@field getpeername fun(self): host: string?, port: integer ENOTCONN if it is not connected
---@field fileno fun(self): integer -1 once closed

---@class loophost.DatagramOptions
---@field local_addr? { [1]: string, [2]: integer|string }|string host and port (0: any that is
---  free), or the path of a Unix socket; a socket file there that nobody uses is replaced
---@field remote_addr? { [1]: string, [2]: integer|string }|string whom it sends to, and the
---  only one that it receives from
---@field family? "inet"|"inet6"|"unix" needed where no address tells
---@field reuse_port? boolean SO_REUSEPORT
---@field allow_broadcast? boolean SO_BROADCAST

-- Raises what is wrong with the options, at the line of the caller's caller.
local function fail(message, ...)
  argument.fail(1, WHO, message:format(...), 4)
end

-- A number, maybe in a string; or the name of a service.
local function is_port(port)
  local number = math.tointeger(port)
  if number then return number >= 0 and number <= 65535 end
  return type(port) == "string"
end

local function is_path(path)
  return #path >= 1 and #path <= 107 and (path:byte() == 0 or not path:find("\0", 1, true))
end

-- "unix", "ip", or nil for no address; false for none that could be one.
local function kind_of(address)
  if address == nil then return nil end
  if type(address) == "string" then return is_path(address) and "unix" end
  return type(address) == "table" and type(address[1]) == "string" and is_port(address[2]) and "ip"
end

local OPTIONS = {
  local_addr = "address", remote_addr = "address",
  family = "string", reuse_port = "boolean", allow_broadcast = "boolean",
}

-- Whether it is to be a Unix socket.
local function check(opts)
  if type(opts) ~= "table" then argument.mismatch(1, WHO, "table", opts, 3) end
  for name, value in pairs(opts) do
    local expected = OPTIONS[name]
    if not expected then
      fail("no such option: %s", tostring(name))
    elseif expected == "address" and not kind_of(value) then
      fail("option '%s' must be { host, port } or the path of a Unix socket", name)
    elseif expected ~= "address" and type(value) ~= expected
        or name == "family" and not FAMILIES[value] then
      fail("invalid value of option '%s'", name)
    end
  end
  local own, peer, family = kind_of(opts.local_addr), kind_of(opts.remote_addr), opts.family
  if not (own or peer or family) then fail "local_addr, remote_addr or family expected" end
  local unix = (own or peer or family) == "unix"
  if own and peer and own ~= peer or family and (family == "unix") ~= unix then
    fail "local_addr, remote_addr and family do not go together"
  end
  return unix
end

local NO_ADDRESS = { {} }

-- The addresses of { host, port }, or one that is none.
local function resolve(address, family)
  if not address then return NO_ADDRESS end
  return names.getaddrinfo(address[1], address[2], { family = family, type = "dgram" })
end

-- Those pairs of own and peer's address that can be tried: of one family.
local function pairs_of(owns, peers)
  local list = {}
  for _, peer in ipairs(peers) do
    for _, own in ipairs(owns) do
      if not own.family or not peer.family or own.family == peer.family then
        list[#list + 1] = { own = own, peer = peer }
      end
    end
  end
  return list
end

-- An endpoint that receives at local_addr, sends to remote_addr, or both; with neither but a
-- family it sends from wherever the kernel lets it. As loop.create_datagram_endpoint of asyncio.
---@param opts loophost.DatagramOptions
---@return loophost.Datagram? endpoint
---@return string? message
---@return string? code
function datagram.create_datagram_endpoint(opts)
  local unix = check(opts)
  local place = argument.place(2)
  local reuse_port, broadcast = opts.reuse_port, opts.allow_broadcast
  if unix then
    return core.datagram_open("unix", opts.local_addr, nil, opts.remote_addr, nil,
      reuse_port, broadcast, place)
  end

  local owns, message, code = resolve(opts.local_addr, opts.family)
  if not owns then return nil, message, code end
  local peers
  peers, message, code = resolve(opts.remote_addr, opts.family)
  if not peers then return nil, message, code end
  local failure = table.pack(nil,
    "EAI_FAMILY: local_addr and remote_addr have no family in common", "EAI_FAMILY") ---@type table
  for i, pair in ipairs(pairs_of(owns, peers)) do
    local own, peer = pair.own, pair.peer
    local result = table.pack(core.datagram_open(own.family or peer.family or opts.family,
      own.address, own.port, peer.address, peer.port, reuse_port, broadcast, place))
    if result[1] then return result[1] end
    if i == 1 then failure = result end
  end
  return nil, failure[2], failure[3]
end

-- For C: where sendto sends what is meant for the host.
function datagram.datagram_address(host, family)
  local list, message, code = names.addresses(host, family)
  if list then return list[1] end
  return nil, message, code
end

return datagram
