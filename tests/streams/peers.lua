-- Peers that reset at every point of a conversation, send a byte at a time, never read, end
-- with the last bytes, send urgent ones or descriptors (tests/streams/peers.py); and after
-- all of them, a server that is as it was.

local lh = require "loophost"

local held <close> = lh.timeout(200)
local loop = lh.get_event_loop()
local reports = {}
loop:set_exception_handler(function(_, context) reports[#reports + 1] = context end)

local function descriptors()
  local list <close> = io.popen("ls /proc/$PPID/fd | wc -l")
  return list:read "n"
end

local outcomes, active = {}, 0
local function outcome(name)
  outcomes[name] = (outcomes[name] or 0) + 1
end

local function converse(stream)
  while true do
    local line, _, code = stream:readline()
    if not line then return code or "end" end
    local size = tonumber(line:match "^bulk (%d+)$")
    local ok
    ok, _, code = stream:write(size and ("x"):rep(size) or line:upper() .. "\n")
    if not ok then return code end
  end
end

local function serve(stream)
  active = active + 1
  local _ <close> = stream
  outcome(converse(stream))
  active = active - 1
end

local function settled()
  while active > 0 do lh.sleep(0.005) end
end

local function peer(name, where)
  return assert(io.popen(("python3 tests/streams/peers.py %s %s"):format(name, where or 0)))
end

-- Waits until the pipe has a line, or its end.
local function readable(pipe)
  local ready = lh.Event()
  loop:add_reader(pipe, function() ready:set() end)
  ready:wait()
  loop:remove_reader(pipe)
end

-- Lets the peer come to its end; returns what it printed before "done".
local function finish(pipe)
  local first, line
  repeat
    readable(pipe)
    line = pipe:read "l"
    first = first or line
  until line == nil or line == "done"
  assert(line, "the peer failed")
  pipe:close()
  return first
end

local function told()
  local words = {}
  for name, count in pairs(outcomes) do words[#words + 1] = name .. " " .. count end
  table.sort(words)
  outcomes = {}
  return table.concat(words, ", ")
end

local server = assert(lh.start_server(serve, "127.0.0.1", 0))
local port = select(2, server:getsockname())
local path = os.tmpname()
os.remove(path)
local unix_server = assert(lh.start_unix_server(serve, path))
finish(peer("byte_by_byte", port))
settled()
local before = descriptors()

for _, name in ipairs { "resets", "byte_by_byte", "end_with_data", "urgent" } do
  local said = finish(peer(name, port))
  settled()
  print(("%-18s %s %s"):format(name, told(), name == "resets" and "of " .. said .. " points" or ""))
end
finish(peer("passed_descriptors", path))
settled()
print(("%-18s %s"):format("passed_descriptors", told()))

-- One that never reads: its writer waits, others are served meanwhile, and it can be timed out.
do
  local command = ("python3 tests/streams/peers.py never_reads %d >/dev/null"):format(port)
  local one = assert(io.popen(command, "w"))
  while active == 0 do lh.sleep(0.005) end
  lh.sleep(0.05)
  assert(active == 1)
  finish(peer("byte_by_byte", port))
  assert(active == 1, "the writer did not wait")
  one:write "end\n"
  one:flush()
  settled()
  one:close()
  print(("%-18s %s"):format("never_reads", told()))
end

-- A server that resets at each byte that it reads or writes, seen from the client.
do
  local one = peer "resetting_server"
  readable(one)
  local its_port, points = one:read("n", "n")
  assert(one:read "l")
  for _ = 1, points do
    local stream, _, code = lh.open_connection("127.0.0.1", its_port)
    local ok, line = stream ~= nil, nil -- the reset may come with the connection
    if ok then ok, _, code = stream:write "hello\n" end
    if ok then line, _, code = stream:readline() end
    outcome(line or code or "end")
    if stream then stream:close() end
  end
  finish(one)
  local text = told()
  print(("%-18s %s of %d points"):format("resetting_server", text, points))
  assert(text:find "ECONNRESET" or text:find "EPIPE", text)
end

collectgarbage()
assert(descriptors() == before, ("%d descriptors, not %d"):format(descriptors(), before))
assert(#reports == 0, reports[1] and tostring(reports[1].message))
finish(peer("byte_by_byte", port))
server:close()
unix_server:close()
server:wait_closed()
