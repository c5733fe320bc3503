-- A program that ends in the middle of all that can be under way, in each of the ways in which it
-- can end: its state is closed without a crash. The sanitizers see what else goes wrong: at the end
-- tasks once stood in the line of a worker that was freed.

local lh = require "loophost"
local support = require "spec.support"

local HOST = os.getenv "LOOPHOST"

local BEGIN = [[
  local lh = require "loophost"
  local fifo = ...
  local server = assert(lh.start_server(function(stream) lh.sleep(100) end, "127.0.0.1", 0))
  local endpoint = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
  local function connect() return assert(lh.open_connection(server:getsockname())) end
  local function never() lh.Event():wait() end
  local under_way = {}
  under_way.thread = function() lh.to_thread("local file = io.open(...) file:read 'a'", fifo) end
  under_way.busy = function() lh.to_thread "while true do end" end
  under_way.file = function() assert(lh.open_file(fifo)):read "a" end
  under_way.line = function() -- several in line for one file
    local file = assert(lh.open_file(fifo))
    lh.gather(function() file:read() end, function() file:read() end, function() file:close() end)
  end
  under_way.name = function() lh.getaddrinfo("name.test", 1) end
  under_way.read = function() connect():read() end
  under_way.write = function() connect():write(("x"):rep(20000000)) end
  under_way.server = function() server:serve_forever() end
  under_way.datagram = function() endpoint:recvfrom() end
  under_way.child = function() lh.create_subprocess_exec("sleep", "100"):wait() end
  under_way.talk = function()
    lh.create_subprocess_exec("cat", { stdin = "pipe", stdout = "pipe" }).stdout:read()
  end
  under_way.stdin = function() lh.stdin:readline() end
  under_way.group = function() lh.gather(never, never) end
  under_way.timeout = function() lh.wait_for(never, 100) end
]]

-- What a program does when all of that is under way.
local WAYS = {
  ["by os.exit(0, true)"] = "lh.sleep(0.02) os.exit(0, true)",
  ["by os.exit(0, true) in a task"] =
    "lh.create_task(function() lh.sleep(0.02) os.exit(0, true) end) lh.sleep(100)",
  ["by os.exit(0, true) in a callback"] =
    "lh.get_event_loop():call_later(0.02, os.exit, 0, true) lh.sleep(100)",
  ["in another loop, which it never closes"] = [[
    local loop = lh.get_event_loop()
    loop:run_until_complete(function() lh.sleep(0.02) end)
    lh.set_event_loop(lh.new_event_loop())]],
}

-- The program that starts it and goes the way; one that ends in another loop never waits itself.
local function program(name, way)
  local start = name == "all" and "for _, fn in pairs(under_way) do start(fn) end"
    or ("start(under_way.%s)"):format(name)
  if not way:find "another loop" then
    return BEGIN .. " local start = lh.create_task " .. start .. " " .. WAYS[way]
  end
  return [[
    local lh = require "loophost"
    local loop, fifo = lh.get_event_loop(), ...
    loop:run_until_complete(function()
      (function(...) ]] .. BEGIN .. " local start = lh.create_task " .. start .. [[ end)(fifo)
    end) ]] .. WAYS[way]
end

-- The exit status and what was said, with a FIFO that nobody writes to and a silent stdin.
local function outcome(code)
  local script, fifo = os.tmpname(), os.tmpname()
  os.remove(fifo)
  assert(os.execute("mkfifo " .. fifo))
  local file = assert(io.open(script, "w"))
  file:write(code)
  file:close()
  local silent <close> = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
  local environment = { LOOPHOST_NAMESERVERS = ("%s:%d"):format(silent:getsockname()) }
  for _, name in ipairs { "PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LUA_CPATH" } do
    environment[name] = os.getenv(name)
  end
  local child <close> = assert(lh.create_subprocess_exec(HOST, script, fifo, {
    stdin = "pipe", stdout = "pipe", stderr = "stdout", env = environment,
  }))
  local said = child.stdout:read "a"
  os.remove(script)
  os.remove(fifo)
  return child:wait(), said
end

describe("a program that ends #child", function()
  if not HOST then return end
  for way in pairs(WAYS) do
    it(way .. " closes all that is under way", support.in_real_task(function()
      local status, said = outcome(program("all", way))
      assert.same({ 0, "" }, { status, said })
    end))
  end

  for name in BEGIN:gmatch "under_way%.(%w+) =" do
    it("while there is a " .. name .. " under way closes that", support.in_real_task(function()
      local status, said = outcome(program(name, "by os.exit(0, true)"))
      assert.same({ 0, "" }, { status, said })
    end))
  end
end)
