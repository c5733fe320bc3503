-- connect.lua -- connections: which address is tried when.
--
-- The sockets themselves are C's (bindings/socket.c) and know numeric addresses only.

local core = require "loophost.core"
local argument = require "loophost.argument"
local names = require "loophost.names"
require "loophost.lines"

local connect = {}

local OPTIONS = { limit = "integer" }

-- Connects to the Unix socket. As asyncio.open_unix_connection.
---@param path string abstract if it begins with a zero byte
---@param opts? { limit?: integer }
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function connect.open_unix_connection(path, opts)
  argument.text(path, 1, "open_unix_connection", 2)
  opts = argument.options(opts, OPTIONS, 2, "open_unix_connection", 2)
  return core.socket_connect_unix(path, opts.limit, argument.place(2))
end

-- Connects to the host: to the first of its addresses that answers. As asyncio.open_connection.
---@param host string
---@param port integer
---@param opts? { limit?: integer }
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function connect.open_connection(host, port, opts)
  argument.text(host, 1, "open_connection", 2)
  argument.port(port, 2, "open_connection", 2)
  opts = argument.options(opts, OPTIONS, 3, "open_connection", 2)
  local list, message, code = names.addresses(host)
  if not list then return nil, message, code end
  local from = argument.place(2)
  for _, address in ipairs(list) do
    local stream, text, name = core.socket_connect(address, port, opts.limit, from)
    if stream then return stream end
    if not message then message, code = text, name end -- the first address's failure
  end
  return nil, message, code
end

return connect
