-- stdio.lua -- stdin, stdout, stderr as streams, made when they are first asked for.
--
-- One object each for the whole program: it goes along to whatever loop uses it next. A
-- descriptor that is closed makes a stream that fails with EBADF. Closing a stream closes the
-- descriptor, too, for io.write and for children: there is /dev/null in its place.

local core = require "loophost.core"
require "loophost.streammethods"

local NUMBERS = { stdin = 0, stdout = 1, stderr = 2 }

---@class loophost.stdio
---@field stdin loophost.Stream
---@field stdout loophost.Stream
---@field stderr loophost.Stream
return setmetatable({}, {
  __index = function(stdio, name)
    local number = NUMBERS[name]
    local stream = number and core.open_standard(number)
    rawset(stdio, name, stream)
    return stream
  end,
})
