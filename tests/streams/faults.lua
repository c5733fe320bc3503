-- A conversation in which one call of the kernel fails, each call in turn. It must be the
-- same conversation all the same; or if a connection is reset or descriptors run out, it
-- must end, and leave nothing behind.
-- preload: faults

local lh = require "loophost"

local function blob(lines)
  local list = {}
  for i = 1, lines do list[i] = ("%06d-abcdefgh"):format(i) end
  return table.concat(list)
end

local LARGE, SMALL = blob(20000), blob(1000)

local function descriptors()
  local list = io.popen("ls /proc/$PPID/fd | wc -l")
  local count = list:read "n"
  list:close()
  return count
end

-- What the server says, and what it is told.
local function serve(stream)
  local _ <close> = stream
  for line in stream:lines() do
    local command, argument = line:match "^(%S+) ?(.*)$"
    if command == "echo" then
      if not stream:write(argument, "\n", "more", "\r\n") then return end
    elseif command == "size" then
      local bytes = stream:readexactly(tonumber(argument))
      if not bytes then return end
      if not stream:write(#bytes, ";;", bytes) then return end
    elseif command == "all" then
      local rest = stream:read "a"
      if not rest then return end
      stream:write(#rest, "\n")
      stream:write_eof()
      return
    end
  end
end

-- Returns what was said, as a line; or nil and where it went wrong.
local function converse(connect, bytes)
  local log = {}
  local stream, message = connect()
  if not stream then return nil, "connect: " .. message end
  local _ <close> = stream
  local function said(value, text, code)
    if value == nil then error({ code or text or "end" }, 0) end
    log[#log + 1] = #tostring(value) > 40 and #value or tostring(value)
    return value
  end
  local ok, err = lh.pcall(function()
    said(stream:write("echo hel", "lo", "\n"))
    said(stream:readline())
    said(stream:readline "L")
    said(stream:write("size ", #bytes, "\n", bytes))
    said(stream:readuntil ";;")
    assert(said(stream:readexactly(#bytes)) == bytes, "the bytes have changed")
    said(stream:write("all\n", "to the ", "end"))
    said(stream:write_eof())
    said(stream:readline())
    assert(stream:read() == nil, "no end")
  end)
  if ok then return table.concat(log, " ") end
  return nil, type(err) == "table" and err[1] or tostring(err)
end

-- The conversation with the N-th call from now on meeting the fault; and how many of the
-- calls that could meet it there were.
local function with_fault(kind, n, ...)
  os.remove(("fault:%s:%s"):format(kind, n))
  local answer, why = converse(...)
  local calls = tonumber(os.getenv "FAULT_CALLS")
  os.remove("fault:none:0")
  return answer, why, calls
end

local HARMLESS = { eintr = true, eagain = true, short = true }

-- Each call in turn, of as many as a conversation without faults has.
local function try_each(kind, connect)
  local expected, _, calls = with_fault(kind, 0, connect, LARGE)
  assert(calls > 0, "no calls to meet " .. kind)
  local outcomes = {}
  for n = 1, calls do
    local answer, why = with_fault(kind, n, connect, LARGE)
    assert(answer == expected or answer == nil and not HARMLESS[kind],
      ("%s at call %d: %s"):format(kind, n, why or answer))
    why = why or "unharmed"
    outcomes[why] = (outcomes[why] or 0) + 1
  end
  assert(converse(connect, LARGE) == expected, "it is not the same afterwards")
  local words = {}
  for why, count in pairs(outcomes) do words[#words + 1] = ("%s %d"):format(why, count) end
  table.sort(words)
  print(("  %-7s at each of %2d calls: %s"):format(kind, calls, table.concat(words, ", ")))
end

local function over(name, start, connect_to)
  print(name)
  local reports = {}
  lh.get_event_loop():set_exception_handler(function(_, context)
    reports[#reports + 1] = context.message
  end)
  local server = assert(start())
  local connect = connect_to(server)
  local before = descriptors()
  local expected = assert(converse(connect, SMALL))
  for _, kind in ipairs { "eintr", "eagain", "short", "reset", "emfile", "enomem" } do
    try_each(kind, connect)
  end
  for kind in pairs(HARMLESS) do -- every other call
    local answer, why = with_fault(kind, "all", connect, SMALL)
    assert(answer == expected, ("%s at every other call: %s"):format(kind, why or answer))
  end
  collectgarbage()
  local deadline = lh.get_running_loop():time() + 30 -- the server's ends take their time
  while descriptors() ~= before do
    assert(lh.get_running_loop():time() < deadline,
      ("%d descriptors, not %d"):format(descriptors(), before))
    lh.sleep(0.01)
  end
  for _, message in ipairs(reports) do
    assert(message:find "accept" or message:find "in the handler", message)
  end
  server:close()
  server:wait_closed()
end

local held <close> = lh.timeout(240)
local path = os.tmpname()
os.remove(path)
over("TCP", function() return lh.start_server(serve, "127.0.0.1", 0) end, function(server)
  local port = select(2, server:getsockname())
  return function() return lh.open_connection("127.0.0.1", port) end
end)
over("Unix", function() return lh.start_unix_server(serve, path) end, function()
  return function() return lh.open_unix_connection(path) end
end)
