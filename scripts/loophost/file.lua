-- file.lua -- open_file: files that are read and written in a thread (bindings/file.c).

local core = require "loophost.core"
local argument = require "loophost.argument"

local file = {}

-- Opens a file as io.open does, but neither this nor what is done with the file blocks the
-- loop. Its methods are io's, and answer as loophost's do: nil, message, code. `read` takes
-- io's formats (a number of bytes, "n" "a" "l" "L"; none: a line), `lines`, `seek` and
-- `close` are io's, `write` returns true; `flush` hands what is written to the kernel, `sync`
-- to the disk, `truncate(size)` cuts the file off, at the position if no size is given.
--
-- What is written to a regular file is buffered, so an error may be told by a later write, by
-- `flush` or by `close`. Operations of several tasks come one after the other. One that is
-- cancelled while the thread is at work ends at once: a read has then changed nothing, and
-- a write is finished all the same. The first read of a FIFO waits for somebody who writes; to
-- open one for writing that nobody reads fails with ENXIO.
---@param path string
---@param mode? string as io.open's: "r" "w" "a", "+", "b"
---@return loophost.File? file
---@return string? message
---@return string? code
function file.open_file(path, mode)
  argument.text(path, 1, "open_file", 2)
  if path:find("\0", 1, true) then argument.fail(1, "open_file", "path contains a zero byte", 2) end
  if mode ~= nil then argument.text(mode, 2, "open_file", 2) end
  if mode and not mode:find "^[rwa]%+?b*$" then
    argument.fail(2, "open_file", "invalid mode", 2)
  end
  return core.file_open(path, mode, argument.place(2))
end

return file
