-- http_get.lua -- fetches pages by HTTP/1.1, as wget does, over one plain connection.
--
--   loophost http_get.lua http://127.0.0.1:8080/ [/path ...]     all from the same server
--   loophost http_get.lua                                        from a small one of its own

local lh = require "loophost"

-- The body that follows the head, and whether the connection can be used again.
local function read_body(stream, headers)
  local again = (headers.connection or ""):lower() ~= "close"
  if (headers["transfer-encoding"] or ""):lower() == "chunked" then
    local chunks = {}
    repeat
      local line = assert(stream:readline())
      local size = assert(tonumber(line:match "^%x+", 16), "bad chunk")
      chunks[#chunks + 1] = assert(stream:readexactly(size))
      assert(stream:readline())
    until size == 0
    return table.concat(chunks), again
  end
  local length = tonumber(headers["content-length"])
  if length then return assert(stream:readexactly(length)), again end
  return stream:read "a", false
end

-- status, headers, body of the path.
local function get(stream, host, path)
  assert(stream:write("GET ", path, " HTTP/1.1\r\nHost: ", host, "\r\n\r\n"))
  local line = assert(stream:readline())
  local status = tonumber(line:match "^HTTP/1%.[01] (%d%d%d)") or error("no HTTP: " .. line)
  local headers = {}
  for header in stream:lines() do
    if header == "" then break end
    local name, value = header:match "^([^:]+):%s*(.-)%s*$"
    headers[name:lower()] = value
  end
  return status, headers, read_body(stream, headers)
end

local function fetch(url, paths)
  local host, port, path = url:match "^http://([^/:]+):?(%d*)(.*)$"
  if not host then error("usage: http_get.lua http://host[:port]/path [/path ...]", 0) end
  port = tonumber(port) or 80
  table.insert(paths, 1, path ~= "" and path or "/")
  local stream
  for _, wanted in ipairs(paths) do
    stream = stream or assert(lh.open_connection(host, port))
    local status, headers, body, again = get(stream, ("%s:%d"):format(host, port), wanted)
    print(("%d %s, %d bytes of %s"):format(status, wanted, #body, headers["content-type"] or "?"))
    if #body < 200 then print(body) end
    if not again then stream = stream:close() end
  end
  if stream then stream:close() end
end

-- A server that knows two pages, and sends the second in chunks.
local function serve(stream)
  local _ <close> = stream
  while true do
    local request = stream:readline()
    if not request then return end
    for header in stream:lines() do
      if header == "" then break end
    end
    local head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    if request:find " /chunked " then
      stream:write(head, "Transfer-Encoding: chunked\r\n\r\n")
      for _, word in ipairs { "one ", "two ", "three" } do
        stream:write(("%x\r\n%s\r\n"):format(#word, word))
        lh.sleep(0.01)
      end
      stream:write "0\r\n\r\n"
    else
      stream:write(head, "Content-Length: 5\r\n\r\nhello")
    end
  end
end

if arg[1] then
  fetch(arg[1], table.move(arg, 2, #arg, 1, {}))
else
  local server <close> = assert(lh.start_server(serve, "127.0.0.1", 0))
  fetch(("http://127.0.0.1:%d/"):format(select(2, server:getsockname())), { "/chunked", "/again" })
end
