-- names.lua -- from the name of a host to its addresses.
--
-- Numeric addresses and `localhost` are known here; for all else c-ares is asked, which
-- reads /etc/hosts and asks the servers of /etc/resolv.conf, or those that the environment
-- variable LOOPHOST_NAMESERVERS names ("127.0.0.1:5353,[::1]:53").

local core = require "loophost.core"
local argument = require "loophost.argument"

local names = {}

local FAMILIES = { inet = true, inet6 = true }
local TYPES = { stream = true, dgram = true }
local OPTIONS = { family = "string", type = "string", numeric = "boolean" }
local LOOPBACK = {
  { family = "inet", address = "127.0.0.1" }, { family = "inet6", address = "::1" },
}

---@class loophost.Address
---@field family "inet"|"inet6"
---@field address string numeric; IPv6 perhaps with %scope
---@field port integer

-- Those of the family; nil, message, code if there is none.
local function of_family(list, family, host)
  if not family then return list end
  local matching = {}
  for _, address in ipairs(list) do
    if address.family == family then matching[#matching + 1] = address end
  end
  if matching[1] then return matching end
  return nil, ("EAI_NODATA: %s: no address of this family"):format(host), "EAI_NODATA"
end

-- What needs no question; the port is a number.
local function known(host, port, family, numeric)
  local list
  local numeric_family = core.is_numeric_address(host)
  if numeric_family then
    list = { { family = numeric_family, address = host } }
  elseif host:lower() == "localhost" and not numeric then
    list = { table.unpack(LOOPBACK) }
  elseif numeric or host == "" or #host > 255 or host:find "[%z%s]" then
    return nil, ("EAI_NONAME: %s: name not known"):format(host), "EAI_NONAME"
  else
    return false
  end
  for i, address in ipairs(list) do
    list[i] = { family = address.family, address = address.address, port = port }
  end
  return of_family(list, family, host)
end

-- Asks; where a service is given, it must be looked up as well.
local function ask(host, service, family, kind)
  local numeric = core.is_numeric_address(host)
  local node = numeric and "127.0.0.1" or host -- c-ares knows no %scope
  local list, message, code = core.resolve(node, service, not numeric and family or nil, kind,
    os.getenv "LOOPHOST_NAMESERVERS")
  if list then return list end
  local text = message:match ": (.*)$":gsub("^%u%l", string.lower)
  local what = code == "EAI_SERVICE" and service or host
  return nil, ("%s: %s: %s"):format(code, what, text), code
end

-- The numeric addresses of the host, or the three results of a failure.
---@param host string
---@param family? "inet"|"inet6"
---@return string[]? addresses the best first
---@return string? message
---@return string? code
function names.addresses(host, family)
  local list, message, code = known(host, 0, family)
  if list == false then list, message, code = ask(host, nil, family, "stream") end
  if not list then return nil, message, code end
  local addresses = {}
  for i, address in ipairs(list) do addresses[i] = address.address end
  return addresses
end

-- The addresses of a host and the port of a service, the best first (RFC 6724). Never blocks
-- the loop. As loop.getaddrinfo of asyncio.
---@param host? string a name or a numeric address; nil: this machine
---@param port? integer|string a number, or the name of a service: "http"
---@param opts? { family?: "inet"|"inet6", type?: "stream"|"dgram", numeric?: boolean }
---  numeric: the host must be a numeric address; type: of the service that is meant
---@return loophost.Address[]? list
---@return string? message
---@return string? code EAI_NONAME, EAI_NODATA, EAI_AGAIN, EAI_SERVICE, ...
function names.getaddrinfo(host, port, opts)
  if host ~= nil then argument.text(host, 1, "getaddrinfo", 2) end
  local service = type(port) == "string" and not math.tointeger(port) and port
  if not service then
    if port == nil then port = 0 end
    port = math.tointeger(port) or port
    argument.port(port, 2, "getaddrinfo", 2)
  end
  opts = argument.options(opts, OPTIONS, 3, "getaddrinfo", 2)
  if opts.family and not FAMILIES[opts.family] then
    argument.fail(3, "getaddrinfo", "invalid value of option 'family'", 2)
  elseif opts.type and not TYPES[opts.type] then
    argument.fail(3, "getaddrinfo", "invalid value of option 'type'", 2)
  end
  host = host or "localhost"
  local list, message, code = known(host, port, opts.family, opts.numeric)
  if list == nil then return nil, message, code end
  if list and not service then return list end

  local found
  found, message, code = ask(list and list[1].address or host, service or nil, opts.family,
    opts.type or "stream")
  if not found then return nil, message, code end
  if service then port = found[1].port end
  list = list or found
  for _, address in ipairs(list) do address.port = port end
  return list
end

return names
