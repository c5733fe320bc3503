-- What opens or starts something, where memory runs out at each allocation in turn, and where
-- there is room for fewer and fewer descriptors: it fails with an error, leaves no descriptor and
-- no process behind, and works afterwards.
-- preload: scarce
-- environment: RES_OPTIONS=retrans:100 retry:20

local lh = require "loophost"

if arg[1] == "names" then -- a name server that knows none, until it gets an empty datagram
  local server <close> = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
  print(select(2, server:getsockname()))
  io.stdout:close()
  while true do
    local query, host, port = assert(server:recvfrom())
    if query == "" then os.exit() end
    server:sendto(query:sub(1, 2) .. "\x81\x83" .. query:sub(5, 6) .. ("\0"):rep(6)
      .. query:sub(13), host, port)
  end
end

local library = os.getenv("LOOPHOST"):gsub("[^/]*$", "tests/preload/scarce.so")
local starve = assert(package.loadlib(library, "starve"))
local limit = assert(package.loadlib(library, "limit"))

local function descriptors()
  local list, highest = {}, 0
  for fd = 0, 100 do
    local info = io.open("/proc/self/fdinfo/" .. fd)
    if info then
      info:close()
      list[#list + 1], highest = fd, fd
    end
  end
  return #list, highest
end

local function has_children()
  local list = io.open "/proc/thread-self/children"
  if not list then return false end
  local children = list:read "a"
  list:close()
  return children ~= ""
end

-- ---- what is tried ----

local path = os.tmpname()
os.remove(path)
local text = os.tmpname()

local function serve(stream)
  local _ <close> = stream
  local line = stream:readline()
  if line then stream:write(line:upper(), "\n") end
end

-- In the background of a shell, so that it is no child of this process.
local pipe = io.popen(("%s %s names &"):format(os.getenv "LOOPHOST", arg[0]))
local names_port = pipe:read "n"
pipe:close()
local environment = os.getenv
os.getenv = function(name) -- luacheck: ignore
  if name == "LOOPHOST_NAMESERVERS" then return "127.0.0.1:" .. names_port end
  return environment(name)
end

local server = assert(lh.start_server(serve, "127.0.0.1", 0))
local port = select(2, server:getsockname())
local unix_server = assert(lh.start_unix_server(serve, path))
local receiver = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
local receiver_port = select(2, receiver:getsockname())

local function is_idle()
  return not tostring(server):find "=[1-9]" and not tostring(unix_server):find "=[1-9]"
    and not has_children()
end

local function talk(stream)
  local _ <close> = stream
  assert(stream:write "hello\n")
  return assert(stream:readline()) == "HELLO"
end

local started -- a server: in an attempt whose <close> fails for want of memory it is still open

local OPERATIONS = {
  { "a connection", function()
    return talk(assert(lh.open_connection("127.0.0.1", port)))
  end },
  { "a connection to a name", function()
    return talk(assert(lh.open_connection("localhost", port)))
  end },
  { "a Unix connection", function()
    return talk(assert(lh.open_unix_connection(path)))
  end },
  { "a server", function()
    local message
    started, message = lh.start_server(serve, { "127.0.0.1", "127.0.0.2" }, 0)
    local own <close> = assert(started, message)
    return talk(assert(lh.open_connection("127.0.0.2", select(2, own:getsockname()))))
  end },
  { "a Unix server", function()
    local message
    started, message = lh.start_unix_server(serve, path .. "2")
    local _ <close> = assert(started, message)
    return talk(assert(lh.open_unix_connection(path .. "2")))
  end },
  { "a datagram", function()
    local sender <close> = assert(lh.create_datagram_endpoint { family = "inet" })
    assert(sender:sendto("packet", "127.0.0.1", receiver_port))
    return assert(receiver:recvfrom()) == "packet"
  end },
  { "a Unix datagram", function()
    local own <close> = assert(lh.create_datagram_endpoint { local_addr = path .. "3" })
    local _ <close> = setmetatable({}, { __close = function() os.remove(path .. "3") end })
    local sender <close> = assert(lh.create_datagram_endpoint { remote_addr = path .. "3" })
    assert(sender:sendto "packet")
    return assert(own:recvfrom()) == "packet"
  end },
  { "a process", function()
    local child <close> = assert(lh.create_subprocess_exec("cat",
      { stdin = "pipe", stdout = "pipe", stderr = "devnull" }))
    return assert(child:communicate "text") == "text"
  end },
  { "a shell", function()
    local child <close> = assert(lh.create_subprocess_shell("echo text; exit 3",
      { stdout = "pipe", stderr = "stdout", cwd = "/", env = { PATH = os.getenv "PATH" } }))
    return assert(child.stdout:readline()) == "text" and child:wait() == 3
  end },
  { "a file", function()
    local file <close> = assert(lh.open_file(text, "w+"))
    assert(file:write(("line\n"):rep(2000)))
    assert(file:seek("set", 5))
    return assert(file:read()) == "line" and #assert(file:read "a") == 9990 and file:close()
  end },
  { "the lines of a file", function()
    local file <close>, n = assert(lh.open_file(text)), 0
    for line in file:lines() do n = n + #line end
    return n == 8000
  end },
  { "a name", function()
    local list, _, code = lh.getaddrinfo("no-such-name.invalid", 80)
    return not list and code == "EAI_NONAME" or error(code)
  end },
  { "a thread", function()
    return lh.to_thread("return ...", "text", { 1, 2, { 3 } }) == "text"
  end },
}

-- ---- trying ----

-- Whether it works, else why not, and how often it allocated; the n-th fails (0: none).
local function attempt(operation, n, seconds)
  local held <close> = lh.timeout(seconds or 5)
  local ok, result = lh.rawpcall(function()
    starve(n)
    return operation[2]()
  end)
  local used = starve(0)
  return ok and result, tostring(result), used
end

local function settle(name, n, before)
  starve(0)
  limit()
  if started then started:close() end
  started = nil
  local held <close> = lh.timeout(60)
  for _ = 1, 5 do lh.sleep(0) end
  while not is_idle() do lh.sleep(0.001) collectgarbage() end
  while receiver:fileno() >= 0 do -- a packet that was sent, and not received
    local ok = lh.rawpcall(lh.wait_for, function() return receiver:recvfrom() end, 0)
    if not ok then break end
  end
  if descriptors() ~= before then
    collectgarbage() -- an object whose <close> variable was never made is the collector's
    collectgarbage()
  end
  local now = descriptors()
  assert(now == before, ("%s, %d: %d descriptors, not %d"):format(name, n, now, before))
end

local reports = {}
lh.get_event_loop():set_exception_handler(function(_, context)
  reports[#reports + 1] = tostring(context.exception or context.message)
end)
warn "@off"
for _, operation in ipairs(OPERATIONS) do
  local name = operation[1]
  local works, why = attempt(operation, 0)
  assert(works, name .. ": " .. tostring(why))
  settle(name, 0, descriptors())
  local before, highest = descriptors()

  local n, failed = 0, 0
  repeat
    n = n + 1
    local used
    works, why, used = attempt(operation, n)
    if not works then failed = failed + 1 end
    settle(name, n, before)
    -- what is not heard is not waited for
    assert(name ~= "a name" or not why:find "AGAIN" and not why:find "Cancelled", why)
    assert(used < n or works or why:find "memory" or why:find "ENOMEM" or why:find "EOF"
      or why:find "EAI_" or #reports > 0, ("%s, allocation %d: %s"):format(name, n, why))
  until used < n
  works, why = attempt(operation, 0)
  assert(works, name .. " after memory had run out: " .. tostring(why))
  settle(name, n, before)

  local refused = 0
  for most_descriptors = 3, highest + 12 do
    limit(most_descriptors)
    works, why = attempt(operation, 0, 1) -- a server that has none left accepts later
    if not works then refused = refused + 1 end
    settle(name, most_descriptors, before)
    assert(works or why:find "EMFILE" or why:find "EOF" or why:find "EAI_" or why:find "descriptor"
      or why:find "open files" or why:find "Cancelled",
      ("%s, %d descriptors: %s"):format(name, most_descriptors, why))
  end
  works, why = attempt(operation, 0)
  assert(works, name .. " after descriptors had run out: " .. tostring(why))
  print(("  %-22s failed at %d of %d allocations, %d times without descriptors"):format(name,
    failed, n - 1, refused))
end
assert(lh.create_datagram_endpoint { remote_addr = { "127.0.0.1", names_port } }):sendto ""
server:close()
unix_server:close()
receiver:close()
os.remove(text)
