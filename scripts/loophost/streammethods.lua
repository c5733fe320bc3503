-- streammethods.lua -- the methods of streams that are Lua's.

local core = require "loophost.core"

-- Goes through the lines of the stream, as io.lines does; raises what readline fails with.
---@param format? "l"|"L"
---@return fun(): string?
function core.stream_methods.lines(stream, format)
  return function()
    local line, message = stream:readline(format)
    if line == nil and message ~= nil then error(message, 2) end
    return line
  end
end

-- Goes over to TLS: see tls.lua, which is loaded when it is first wanted.
---@param opts? loophost.TLSOptions
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function core.stream_methods.start_tls(stream, opts)
  return require("loophost.tls").start(stream, opts)
end
