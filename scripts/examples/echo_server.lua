-- echo_server.lua -- sends every line back.
--
--   loophost echo_server.lua 7007        serves on that port; try:  nc localhost 7007
--   loophost echo_server.lua ./socket    on that Unix socket
--   loophost echo_server.lua             talks to itself, on a port that is free

local lh = require "loophost"

local function echo(stream)
  for line in stream:lines "L" do
    if not stream:write(line) then break end -- it has hung up
  end
  stream:close()
end

local where = arg[1]

local function listen()
  if where and not tonumber(where) then return lh.start_unix_server(echo, where) end
  return lh.start_server(echo, "127.0.0.1", tonumber(where) or 0)
end

local server <close> = assert(listen())

if where then
  print("echo at", server:getsockname())
  io.stdout:flush()
  server:serve_forever()
else
  local stream <close> = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
  for _, text in ipairs { "hello", "is anybody there?" } do
    stream:write(text, "\n")
    print("> " .. text)
    print("< " .. stream:readline())
  end
end
