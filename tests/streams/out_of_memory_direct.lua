-- Reads of bytes that have come already, where memory runs out at each allocation in turn: a read
-- that fails says so, and unless the next one has the bytes, all later ones say that some are lost.
-- preload: scarce

local lh = require "loophost"
local rawpcall, sleep = lh.rawpcall, lh.sleep -- to look them up first allocates

local library = os.getenv("LOOPHOST"):gsub("[^/]*$", "tests/preload/scarce.so")
local starve = assert(package.loadlib(library, "starve"))

local accepted = lh.Queue()
local server = assert(lh.start_server(function(stream) accepted:put(stream) end, "127.0.0.1", 0))
local port = select(2, server:getsockname())

-- Has memory run out at the n-th allocation of a read of the text; whether it failed, whether
-- bytes were lost then, and how often it allocated.
local function attempt(n, text, method, argument)
  local stream <close> = assert(lh.open_connection("127.0.0.1", port))
  local peer <close> = accepted:get()
  peer:write("large", ("."):rep(4000)) -- what comes next may be large, too
  assert(#stream:readexactly(4005) == 4005)
  peer:write(text)
  sleep(0.001)
  local read = stream[method]
  starve(n)
  local ok, result = rawpcall(read, stream, argument)
  local used = starve(0)
  if ok then
    assert(result == text:sub(1, #result))
    return false, false, used
  end
  assert(result == "not enough memory", result)
  peer:write_eof()
  local rest, _, code = stream:read "a"
  assert(rest == text or rest == nil and code == "ENOMEM", rest)
  assert(rest or select(3, stream:readline()) == "ENOMEM")
  return true, rest == nil, used
end

local LINE, LARGE = ("a line "):rep(10) .. "\nand more\n", ("12345678\n"):rep(5000)
collectgarbage "stop"
for _, case in ipairs {
  { LINE, "read", 100 }, { LARGE, "read", 65536 }, { LINE, "readline", "L" },
  { LARGE, "readexactly", 9000 }, { LINE, "readuntil", "d" },
} do
  local n, failures, losses = 0, 0, 0
  repeat
    n = n + 1
    local failed, lost, used = attempt(n, table.unpack(case, 1, 3))
    if failed then failures = failures + 1 end
    if lost then losses = losses + 1 end
  until used < n
  print(("  %s: failed at %d of %d allocations, %d times with a loss"):format(case[2], failures,
    n - 1, losses))
  assert(failures > 0)
end
server:close()
