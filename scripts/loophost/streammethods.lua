-- streammethods.lua -- the methods of streams that are Lua's.

local core = require "loophost.core"
local argument = require "loophost.argument"

local FORMATS = { l = true, L = true }

local streammethods = {}

-- Goes through the lines of what has the methods of a stream.
function streammethods.lines(stream, format)
  if format ~= nil and not FORMATS[format] then argument.fail(1, "lines", "invalid format", 2) end
  if stream:is_closed() then error("the stream is closed", 2) end
  return function()
    if stream:is_closed() then error("the stream is closed", 2) end
    local line, message = stream:readline(format)
    if line == nil and message ~= nil then error(message, 2) end
    return line
  end
end

-- Goes through the lines of the stream, as io.lines does; raises what readline fails with.
---@param format? "l"|"L"
---@return fun(): string?
function core.stream_methods.lines(stream, format)
  argument.object(stream, "stream", "lines", 2)
  return streammethods.lines(stream, format) -- a tail call: errors are the script's
end

-- Goes over to TLS: see tls.lua, which is loaded when it is first wanted.
---@param opts? loophost.TLSOptions
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function core.stream_methods.start_tls(stream, opts)
  argument.object(stream, "stream", "start_tls", 2)
  return require("loophost.tls").start(stream, opts)
end

return streammethods
