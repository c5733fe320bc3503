-- A server that is killed in the middle: all that wait on it are told so at once; and the
-- next one can listen at the same port and path.

local lh = require "loophost"

if arg[1] == "server" then
  local function serve(stream)
    stream:write(stream:readline() or "", "\n")
    stream:read "a" -- but what is written fills the buffers, as nobody takes it
  end
  local tcp = assert(lh.start_server(function(stream)
    stream:write(stream:readline() or "", "\n")
    lh.sleep(1000)
  end, "127.0.0.1", math.tointeger(arg[2])))
  assert(lh.start_unix_server(serve, arg[3]))
  print(select(2, tcp:getsockname()))
  io.stdout:flush()
  tcp:serve_forever()
end

local held <close> = lh.timeout(100)
local path = os.tmpname()
os.remove(path)

local function start(port)
  local pipe = assert(io.popen(("echo $$; exec %s %s server %d %s"):format(os.getenv "LOOPHOST",
    arg[0], port, path)))
  return pipe, pipe:read("n", "n")
end

local port = 0
for _ = 1, 3 do
  local pipe, pid
  pipe, pid, port = start(port)
  local function tcp() return assert(lh.open_connection("127.0.0.1", port)) end
  local function unix() return assert(lh.open_unix_connection(path)) end
  local tasks = {}
  local started = 0
  for _, connect in ipairs { tcp, unix } do
    for _, operation in ipairs { "readline", "read all", "readexactly", "readuntil", "write" } do
      tasks[#tasks + 1] = lh.create_task(function()
        local stream <close> = connect()
        stream:write "hello\n"
        assert(stream:readline() == "hello")
        started = started + 1
        if operation == "readline" then return operation, stream:readline() end
        if operation == "read all" then return operation, stream:read "a" end
        if operation == "readexactly" then return operation, stream:readexactly(10) end
        if operation == "readuntil" then return operation, stream:readuntil "x" end
        local ok, message, code
        repeat ok, message, code = stream:write(("x"):rep(1 << 20)) until not ok
        return operation, ok, message, code
      end)
    end
  end
  while started < #tasks do lh.sleep(0.01) end
  lh.sleep(0.05)
  os.execute("kill -9 " .. math.tointeger(pid))
  for _, task in ipairs(tasks) do
    local operation, value, message, code = lh.await(task)
    assert(value == nil or value == "", operation)
    assert(message == nil or ({ ECONNRESET = 1, EPIPE = 1, EOF = 1 })[code], message)
    assert(message or operation == "readline" or operation == "read all", operation)
  end
  pipe:close()
  assert(select(3, lh.open_connection("127.0.0.1", port)) == "ECONNREFUSED")
  assert(select(3, lh.open_unix_connection(path)) == "ECONNREFUSED")
end
os.remove(path)
print "3 servers killed"
