-- lines.lua -- the one method of streams that is Lua's.

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
