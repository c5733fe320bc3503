-- embed.lua -- turn Lua files into a C file that carries their byte code.
--
--   lua5.4 scripts/embed.lua scripts/loophost/*.lua > build/scripts.c
--
-- The module's name is the file's path below scripts/: loophost/queue.lua is "loophost.queue",
-- loophost/init.lua is "loophost". Line numbers are kept, so that an error in a script of ours
-- names its place ("loophost/queue.lua:12"). The same input gives the same output.

-- A byte as a C string literal may hold it. Always three digits, so that a digit may follow;
-- "?" too, or two of them would begin a trigraph.
local escape = {}
for b = 0, 255 do
  escape[string.char(b)] = string.format("\\%03o", b)
end

local function c_string(bytes)
  return '"' .. bytes:gsub('[^%w%p ]', escape):gsub('["?]', escape) .. '"'
end

io.write [[
/* Made by scripts/embed.lua; see there. */
#include "bindings/scripts.h"

#pragma GCC diagnostic ignored "-Woverlength-strings"

]]

local rows = {}
for i, path in ipairs(arg) do
  local chunkname = path:gsub("^scripts/", "")
  local file = assert(io.open(path, "rb"))
  local chunk = assert(load(file:read("a"), "@" .. chunkname, "t"))
  file:close()

  local code = string.dump(chunk)
  local name = chunkname:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  -- The literal's own NUL does not fit and is dropped, which C allows.
  io.write(("static const unsigned char code_%d[%d] =\n"):format(i, #code))
  for at = 1, #code, 64 do
    io.write("    ", c_string(code:sub(at, at + 63)), at + 64 > #code and ";\n" or "\n")
  end
  rows[i] = ('    {"%s", code_%d, sizeof code_%d},\n'):format(name, i, i)
end

io.write("\nconst struct embedded_script embedded_scripts[] = {\n")
io.write(table.concat(rows))
io.write("    {0, 0, 0},\n};\n")
