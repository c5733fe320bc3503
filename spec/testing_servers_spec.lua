-- Real programs in scenarios: testing.spawn_server and free_port.

local lh = require "loophost"
local testing = require "loophost.testing"
local expect = require "spec.expect"

local contains = expect.contains

local HOST = os.getenv "LOOPHOST" or "build/loophost"

local ECHO = [[
  local lh = require "loophost"
  local server = assert(lh.start_server(function(stream)
    for line in stream:lines "L" do stream:write(line) end
  end, "127.0.0.1", tonumber(arg[1])))
  server:serve_forever()]]

local function message_of(fn)
  return expect.failure_of(testing.run, nil, fn)
end

local function script(code)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(code)
  file:close()
  return setmetatable({ path = path }, { __close = function() os.remove(path) end })
end

local function echo_server(file, opts)
  local port = testing.free_port()
  opts = opts or {}
  opts.port = port
  return testing.spawn_server({ HOST, file.path, tostring(port) }, opts)
end

describe("spawn_server #child", function()
  it("waits until the program answers, and ends it with the test", function()
    local file <close> = script(ECHO)
    local server
    testing.run(nil, function()
      server = echo_server(file)
      local stream <close> = assert(server:connect())
      stream:write("hello\n")
      assert.equal("hello", stream:readline())
      assert.is_nil(server.process.returncode)
    end)
    assert.equal(-15, server.process.returncode)
  end)

  it("leaves time virtual once it answers", function()
    local file <close> = script(ECHO)
    testing.run({ timeout = 60 }, function()
      local _ <close> = echo_server(file)
      lh.sleep(86400)
    end)
  end)

  it("ends it with its block, and also one that does not want to", function()
    local file <close> = script("local lh = require 'loophost' "
      .. "lh.get_event_loop():add_signal_handler('SIGTERM', function() end)" .. ECHO)
    testing.run(nil, function()
      local server
      do
        local block <close> = echo_server(file, { grace = 0.2 })
        server = block
      end
      assert.equal(-9, server.process.returncode)
    end)
  end)

  it("ends it when the test fails", function()
    local file <close> = script(ECHO)
    local server
    contains(message_of(function()
      server = echo_server(file)
      error "the test's own"
    end), "the test's own")
    assert.equal(-15, server.process.returncode)
  end)

  it("fails the test when the program has died meanwhile, with what it wrote", function()
    local file <close> = script(ECHO)
    contains(message_of(function()
      local server = echo_server(file)
      server.process:kill()
      server.process:wait()
    end), "has ended by signal 9, started at " .. "spec/testing_servers_spec.lua:")
  end)

  it("may end by itself if that is said", function()
    local file <close> = script(ECHO)
    testing.run(nil, function()
      local server = echo_server(file, { may_end = true })
      server.process:kill()
      server.process:wait()
    end)
  end)

  it("tells the last ten lines of what a program wrote", function()
    local message = message_of(function()
      testing.spawn_server({ "seq", "100" }, { port = testing.free_port() })
    end)
    contains(message, "it wrote:\n  | 91\n", "\n  | 100\n")
  end)

  it("fails at once when the program ends before it answers, with what it wrote", function()
    contains(message_of(function()
      testing.spawn_server({ "sh", "-c", "echo cannot bind >&2; exit 3" },
        { port = testing.free_port() })
    end), "sh has ended with status 3 before it answered; it wrote:\n  | cannot bind")
  end)

  it("fails when the program does not answer in time", function()
    contains(message_of(function()
      testing.spawn_server({ "sleep", "1000" }, { port = testing.free_port(), within = 0.1 })
    end), "sleep does not answer within 0.1 s (ECONNREFUSED")
  end)

  it("fails when there is no such program", function()
    contains(message_of(function()
      testing.spawn_server({ "no-such-program" }, { port = 1 })
    end), "ENOENT", "no-such-program")
  end)

  it("takes a path", function()
    local path = os.tmpname()
    os.remove(path)
    local file <close> = script([[
      local lh = require "loophost"
      assert(lh.start_unix_server(function(stream) stream:write("x") stream:close() end, arg[1]))
        :serve_forever()]])
    testing.run(nil, function()
      local server <close> = testing.spawn_server({ HOST, file.path, path }, { path = path })
      local stream <close> = assert(server:connect())
      assert.equal("x", stream:read("a"))
    end)
    os.remove(path)
  end)

  it("is ended with what it has started, at once or before it ended itself", function()
    for _, last in ipairs { "wait", "exit 0" } do
      local file <close>, pids, pid = script(ECHO), os.tmpname(), nil
      local port = tostring(testing.free_port())
      lh.rawpcall(testing.run, nil, function()
        local server = testing.spawn_server({ "sh", "-c", "'" .. HOST .. "' " .. file.path .. " "
          .. port .. " & echo $! >" .. pids .. "; until [ -e " .. pids .. ".go ]; do sleep 0.01; "
          .. "done; " .. last }, { port = port + 0 })
        pid = testing.eventually(function()
          local written <close> = io.open(pids)
          return written:read "l"
        end, { within = math.huge })
        io.open(pids .. ".go", "w"):close()
        if last ~= "wait" then server.process:wait() end
      end)
      testing.run({ clock = "monotonic", timeout = 60 }, function()
        testing.eventually(function()
          local stat <close> = io.open("/proc/" .. pid .. "/stat")
          return not stat or stat:read("a"):find "%) Z " ~= nil -- who reaps it is not us
        end, { within = 60 })
      end)
      os.remove(pids)
      os.remove(pids .. ".go")
    end
  end)

  it("does not take another's answers for the program's", function()
    contains(message_of(function()
      local other <close> = lh.start_server(function(stream) stream:close() end, "127.0.0.1", 0)
      local _, port = other:getsockname()
      testing.spawn_server({ "sleep", "1000" }, { port = port })
    end), "something answers already where sleep shall")
  end)

  it("needs a command, and a port or path, and times", function()
    local function refuses(text, ...)
      contains(expect.failure_of(testing.spawn_server, ...), text)
    end
    testing.run(nil, function()
      refuses("list of strings expected, got string", "redis-server", { port = 1 })
      refuses("list of strings expected, got table", {}, { port = 1 })
      refuses("list of strings expected, got table", { "true", {} }, { port = 1 })
      refuses("option 'port' or 'path' is needed", { "true" }, {})
      refuses("port out of range", { "true" }, { port = 0 })
      refuses("port out of range", { "true" }, { port = 65536 })
      refuses("within must not be negative", { "true" }, { port = 1, within = -1 })
      refuses("grace must not be negative", { "true" }, { port = 1, grace = 0 / 0 })
    end)
  end)
end)

describe("free_port", function()
  it("is one that a server can have", function()
    local port = testing.free_port()
    testing.run(nil, function()
      local server <close> = assert(lh.start_server(print, "127.0.0.1", port))
      assert.is_truthy(server)
    end)
  end)
end)
