-- Reads whose bytes came before their task ran, where memory runs out at each allocation in turn:
-- what fails says so, and the next read has the bytes.
-- preload: scarce

local lh = require "loophost"
local rawpcall, sleep = lh.rawpcall, lh.sleep -- to look them up first allocates

local library = os.getenv("LOOPHOST"):gsub("[^/]*$", "tests/preload/scarce.so")
local starve = assert(package.loadlib(library, "starve"))
local TEXT = ("one "):rep(20) .. "\ntwo\n" .. ("three "):rep(20) .. "\n"

local accepted = lh.Queue()
local server = assert(lh.start_server(function(stream) accepted:put(stream) end, "127.0.0.1", 0))
local stream = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
local peer = accepted:get()
local readline = stream.readline

-- Reads into `lines`, which has room for three; how often that failed.
local function read_lines(lines)
  local n, failed = 0, 0
  while n < 3 do
    local ok, line = rawpcall(readline, stream, "L")
    if ok then
      n = n + 1
      lines[n] = line
    else
      assert(line == "not enough memory", line)
      failed = failed + 1
    end
  end
  return failed
end

-- What came while the n-th allocation failed, how often a read failed, and how often it allocated.
local function attempt(n)
  local lines = { false, false, false }
  peer:write "little\n" -- what comes next will be read ahead
  assert(stream:readline() == "little")
  local task = lh.create_task(read_lines, lines)
  sleep(0.001)
  starve(n)
  peer:write(TEXT)
  while not lines[3] do sleep(0) end
  local used = starve(0)
  return table.concat(lines), lh.await(task), used
end

assert(attempt(0) == TEXT)
collectgarbage "stop"
local n, failures = 0, 0
repeat
  n = n + 1
  local text, failed, used = attempt(n)
  failures = failures + failed
  assert(text == TEXT, n .. ": " .. text)
until used < n
assert(failures > 0)
print(("  failed at %d of %d allocations"):format(failures, n - 1))
server:close()
stream:close()
peer:close()
