-- names.lua -- from the name of a host to its addresses.

local core = require "loophost.core"

local names = {}

-- The numeric addresses of the host, or the three results of a failure.
---@param host string
---@return string[]? addresses
---@return string? message
---@return string? code
function names.addresses(host)
  if host == "localhost" then return { "127.0.0.1", "::1" } end
  if core.is_numeric_address(host) then return { host } end
  return nil, ("EAI_NONAME: %s: name not known"):format(host), "EAI_NONAME"
end

return names
