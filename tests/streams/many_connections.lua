-- Ten thousand connections open at once, each exchanging lines, in one process on one core;
-- and what an idle one costs whose handler waits in readline. The other ends are a second
-- process. Where the hard limit of descriptors forbids so many, as many as it allows.
-- descriptors: max

local lh = require "loophost"

local WANTED, LINES, SPARE = 10000, 3, 200

local function count_allowed()
  local shell <close> = io.popen "ulimit -n"
  return math.min(WANTED, shell:read "n" - SPARE)
end

-- The memory that is this process's alone, in bytes.
local function private_bytes()
  for line in io.lines "/proc/self/smaps_rollup" do
    local kilobytes = line:match "^Private_Dirty:%s+(%d+)"
    if kilobytes then return tonumber(kilobytes) * 1024 end
  end
end

-- The second process: opens the connections, talks over all of them at a time, and waits
-- to be told the end.
local function clients(port, count)
  local streams = {}
  for i = 1, count do streams[i] = assert(lh.open_connection("127.0.0.1", port)) end
  local talks = {}
  for i, stream in ipairs(streams) do
    talks[i] = lh.create_task(function()
      for n = 1, LINES do
        assert(stream:write("line ", n, " of ", i, "\n"))
        assert(stream:readline() == ("LINE %d OF %d"):format(n, i))
      end
    end)
  end
  for _, talk in ipairs(talks) do lh.await(talk) end
  print "talked"
  io.stdout:flush()
  for _, stream in ipairs(streams) do assert(stream:readline() == "bye") end
  for _, stream in ipairs(streams) do stream:close() end
end

if arg[1] == "clients" then
  return clients(math.tointeger(arg[2]), math.tointeger(arg[3]))
end

local held <close> = lh.timeout(200)
local count = count_allowed()
local open, most, lines, streams = 0, 0, 0, {}
local server = assert(lh.start_server(function(stream)
  local line = stream:readline()
  if not line then return stream:close() end -- a stranger who looks which ports are open
  open = open + 1
  streams[#streams + 1] = stream
  most = math.max(most, open)
  for _ = 2, LINES do
    stream:write(line:upper(), "\n")
    line = stream:readline()
    lines = lines + 1
  end
  stream:write(line:upper(), "\n")
  lines = lines + 1
  stream:readline() -- idle, until the other end closes
  stream:close()
  open = open - 1
end, "127.0.0.1", 0, { backlog = 4096 }))

collectgarbage()
collectgarbage()
local before, lua_before = private_bytes(), collectgarbage "count"
local other = io.popen(("%s %s clients %d %d"):format(os.getenv "LOOPHOST", arg[0],
  select(2, server:getsockname()), count))

while lines < count * LINES do lh.sleep(0.01) end
assert(other:read "l" == "talked")
assert(most == count and open == count, ("%d of %d were open at once"):format(most, count))
local cpu = os.clock()

collectgarbage()
collectgarbage()
local each = (private_bytes() - before) / count
local lua_each = (collectgarbage "count" - lua_before) * 1024 / count
print(("%d connections at once, %d lines, %.2f s of CPU"):format(count, lines, cpu))
print(("an idle one costs %.0f bytes of the process (%.0f of Lua's)"):format(each, lua_each))
assert(lua_each < 2600, "a connection has become dear")

server:close()
for _, stream in ipairs(streams) do stream:write "bye\n" end
server:wait_closed()
assert(open == 0)
assert(other:close())
