-- Servers: where they listen, how many they serve, and what their handlers' ends mean.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local raises = expect.raises

local in_task = support.in_real_task

local function port_of(server)
  return select(2, server:getsockname())
end

-- A connection to the server, by the host if its address is not to be taken.
local function connect(server, host)
  return assert(lh.open_connection(host or "127.0.0.1", port_of(server)))
end

local function temporary_path()
  local path = os.tmpname()
  os.remove(path)
  return path
end

local function exists(path)
  return os.rename(path, path) == true
end

local function has_ipv6()
  local found = io.open("/proc/net/if_inet6")
  if found then found:close() end
  return found ~= nil
end

describe("a server", function()
  it("serves many connections at once, and ends when their handlers have", in_task(function()
    local server = assert(lh.start_server(function(stream)
      for line in stream:lines() do stream:write(line:upper(), "\n") end
      stream:close()
    end, "127.0.0.1", 0, { backlog = 7 }))
    local port = port_of(server)
    local tasks = {}
    for i = 1, 30 do
      tasks[i] = lh.create_task(function()
        local stream <close> = assert(lh.open_connection("127.0.0.1", port))
        stream:write("line ", i, "\n")
        return stream:readline()
      end)
    end
    for i = 1, 30 do assert.equal("LINE " .. i, lh.await(tasks[i])) end
    assert.is_true(server:is_serving())
    server:close()
    server:close()
    assert.is_false(server:is_serving())
    assert.equal("EBADF", select(3, server:getsockname()))
    assert.is_true(server:wait_closed())
  end))

  it("reports a handler's error, and closes its connection", in_task(function(loop)
    local reports = support.reports(loop)
    local server <close> = assert(lh.start_server(function() error("oops") end, "127.0.0.1", 0))
    local stream <close> = connect(server)
    assert.is_nil(stream:read())
    assert.equal(1, #reports)
    assert.is_truthy(tostring(reports[1].exception):find("oops", 1, true))
    assert.is_truthy(tostring(reports[1].traceback):find("server_spec", 1, true))
  end))

  it("closes the connection of a handler that is cancelled", in_task(function()
    local task
    local server <close> = assert(lh.start_server(function()
      task = lh.current_task()
      lh.sleep(60)
    end, "127.0.0.1", 0))
    local stream <close> = connect(server)
    lh.sleep(0.01)
    task:cancel()
    assert.is_nil(stream:read())
  end))

  it("serves until it is closed, or cancelled", in_task(function()
    for _, way in ipairs { "close", "cancel" } do
      local server = assert(lh.start_server(function() end, "127.0.0.1", 0))
      local task = lh.create_task(server.serve_forever, server)
      lh.sleep(0)
      if way == "close" then
        server:close()
        lh.await(task)
      else
        task:cancel()
        expect.cancelled(task)
      end
      assert.is_false(server:is_serving())
    end
  end))

  it("listens at the path of a Unix socket, with the mode, again after its end", in_task(function()
    local path = os.tmpname()
    os.remove(path)
    for _ = 1, 2 do
      local server <close> = assert(lh.start_unix_server(function(stream)
        stream:write("hello")
        stream:close()
      end, path, { mode = 384 }))
      assert.equal(path, server:getsockname())
      local stream <close> = assert(lh.open_unix_connection(path))
      assert.equal(path, stream:getpeername())
      assert.equal("hello", stream:read("a"))
      assert.equal("EADDRINUSE", select(3, lh.start_unix_server(function() end, path)))
    end
    os.remove(path)
  end))
end)

describe("where a server listens:", function()
  it("at all the addresses of a name, under one port", in_task(function()
    local server <close> = assert(lh.start_server(function(stream)
      stream:write((stream:getsockname()))
      stream:close()
    end, "localhost", 0))
    local places = server:addresses()
    assert.equal(has_ipv6() and 2 or 1, #places)
    assert.same({ server:getsockname() }, places[1])
    for _, place in ipairs(places) do
      assert.equal(port_of(server), place[2])
      assert.equal(place[1], connect(server, place[1]):read("a"))
    end
    server:close()
    assert.same({}, server:addresses())
  end))

  it("everywhere, if the host is nil, empty or *", in_task(function()
    for _, host in ipairs { false, "", "*" } do
      local server <close> = assert(lh.start_server(function() end, host or nil, 0))
      local hosts = {}
      for i, place in ipairs(server:addresses()) do hosts[i] = place[1] end
      assert.same(has_ipv6() and { "0.0.0.0", "::" } or { "0.0.0.0" }, hosts)
      connect(server):close()
    end
  end))

  it("at each host of a list, at the same one once", in_task(function()
    local server <close> = assert(lh.start_server(function() end,
      { "127.0.0.1", "127.0.0.2", "127.0.0.1" }, 0))
    assert.equal(2, #server:addresses())
    connect(server, "127.0.0.2"):close()
    assert.equal("EAI_NONAME", select(3, lh.start_server(function() end,
      { "127.0.0.1", "no.such.name.invalid" }, 0)))
  end))

  it("not where another does, and then nowhere", in_task(function()
    local other <close> = assert(lh.start_server(function() end, "127.0.0.2", 0))
    local port = port_of(other)
    local hosts = { "127.0.0.1", "127.0.0.2" }
    local server, message, code = lh.start_server(function() end, hosts, port)
    assert.is_nil(server)
    assert.equal("EADDRINUSE: address already in use", message)
    assert.equal("EADDRINUSE", code)
    local _, _, refused = lh.open_connection("127.0.0.1", port)
    assert.equal("ECONNREFUSED", refused)
    assert.equal("EADDRNOTAVAIL", select(3, lh.start_server(function() end, "192.0.2.1", 0)))
  end))

  it("where another does, if both say reuse_port", in_task(function()
    local served = { 0, 0 }
    local function handler(i)
      return function(stream)
        served[i] = served[i] + 1
        stream:close()
      end
    end
    local shared = { reuse_port = true }
    local one <close> = assert(lh.start_server(handler(1), "127.0.0.1", 0, shared))
    assert.equal("EADDRINUSE",
      select(3, lh.start_server(handler(2), "127.0.0.1", port_of(one))))
    local two <close> = assert(lh.start_server(handler(2), "127.0.0.1", port_of(one), shared))
    assert.equal(port_of(one), port_of(two))
    for _ = 1, 100 do assert.is_nil(connect(one):read()) end
    assert.equal(100, served[1] + served[2])
    assert.is_true(served[1] > 0 and served[2] > 0, served[1] .. " and " .. served[2])
  end))

  it("refuses wrong arguments, and says where", in_task(function()
    local function fn() end
    raises("bad argument #1 to 'start_server' (function expected, got no value)", lh.start_server,
      nil, "127.0.0.1", 0)
    raises("bad argument #2 to 'start_server'", lh.start_server, fn, 7, 0)
    raises("no host in the list", lh.start_server, fn, {}, 0)
    raises("bad argument #2 (element 2)", lh.start_server, fn, { "127.0.0.1", 5 }, 0)
    raises("port out of range", lh.start_server, fn, "127.0.0.1", -1)
    raises("bad argument #3 to 'start_server'", lh.start_server, fn, "127.0.0.1", 0 / 0)
    raises("option 'max_connections'", lh.start_server, fn, nil, 0, { max_connections = 0 })
    raises("option 'backlog'", lh.start_server, fn, nil, 0, { backlog = 1.5 })
    raises("no such option: mode", lh.start_server, fn, nil, 0, { mode = 1 })
    raises("option 'mode'", lh.start_unix_server, fn, "/tmp/x", { mode = 4096 })
    raises("1 to 107 bytes", lh.start_unix_server, fn, ("x"):rep(108))
  end))
end)

describe("a server at the path of a Unix socket", function()
  it("removes the file at its end, but not another's", in_task(function()
    local path = temporary_path()
    local first = assert(lh.start_unix_server(function() end, path))
    assert.is_true(exists(path))
    first:close()
    assert.is_false(exists(path))
    first = assert(lh.start_unix_server(function() end, path))
    os.remove(path)
    local second = assert(lh.start_unix_server(function() end, path))
    first:close()
    assert.is_true(exists(path))
    assert(lh.open_unix_connection(path)):close()
    second:close()
    assert.is_false(exists(path))
  end))

  it("leaves it there with cleanup_socket = false, and the next one replaces it", in_task(function()
    local path = temporary_path()
    assert(lh.start_unix_server(function() end, path, { cleanup_socket = false })):close()
    assert.is_true(exists(path))
    assert.equal("ECONNREFUSED", select(3, lh.open_unix_connection(path)))
    local server = assert(lh.start_unix_server(function() end, path))
    assert(lh.open_unix_connection(path)):close()
    server:close()
  end))

  it("does not take the place of a file that is no socket", in_task(function()
    local path = os.tmpname()
    assert.equal("EADDRINUSE", select(3, lh.start_unix_server(function() end, path)))
    assert.is_true(exists(path))
    os.remove(path)
  end))

  it("has no file if its path is abstract", in_task(function()
    local path = "\0loophost-spec-" .. tostring({}):match "0x%x+"
    local server <close> = assert(lh.start_unix_server(function(stream)
      stream:write("abstract")
      stream:close()
    end, path, { mode = 384 }))
    assert.equal(path, server:getsockname())
    assert.equal("abstract", assert(lh.open_unix_connection(path)):read("a"))
  end))
end)

describe("max_connections", function()
  it("lets that many handlers run, and the others wait", in_task(function()
    local running, most = 0, 0
    local gate = lh.Event()
    local server <close> = assert(lh.start_server(function(stream)
      running = running + 1
      most = math.max(most, running)
      gate:wait()
      lh.sleep(0.001)
      running = running - 1
      stream:write("served")
      stream:close()
    end, "127.0.0.1", 0, { max_connections = 3 }))
    local clients = {}
    for i = 1, 10 do clients[i] = connect(server) end
    while running < 3 do lh.sleep(0.001) end
    lh.sleep(0.01)
    assert.equal(3, running)
    gate:set()
    for i = 1, 10 do assert.equal("served", clients[i]:read("a")) end
    assert.equal(3, most)
  end))
end)

describe("the end of a handler", function()
  it("leaves the connection open if all went well", in_task(function()
    local kept
    local server <close> = assert(lh.start_server(function(stream) kept = stream end,
      "127.0.0.1", 0))
    local client <close> = connect(server)
    while not kept do lh.sleep(0.001) end
    lh.sleep(0)
    server:close()
    assert.is_true(server:wait_closed())
    kept:write("still here")
    kept:close()
    assert.equal("still here", client:read("a"))
  end))

  it("closes the connection even if it was cancelled before it began", in_task(function(loop)
    local began = false
    local server <close> = assert(lh.start_server(function() began = true end, "127.0.0.1", 0))
    local before = {}
    for _, task in ipairs(lh.all_tasks()) do before[task] = true end
    local found
    local function look() -- in the turn in which the task is made
      for _, task in ipairs(lh.all_tasks()) do
        if not before[task] then found = task end
      end
      if found then return found:cancel() end
      loop:call_soon(look)
    end
    loop:call_soon(look)
    local client <close> = connect(server)
    assert.is_nil(client:read())
    assert.is_false(began)
    server:close()
    assert.is_true(server:wait_closed())
  end))

  it("is waited for by wait_closed, which can time out", in_task(function()
    local gate = lh.Event()
    local server = assert(lh.start_server(function(stream)
      gate:wait()
      stream:close()
    end, "127.0.0.1", 0))
    local client <close> = connect(server)
    lh.sleep(0.01)
    server:close()
    raises(lh.TimeoutError, lh.wait_for, function() server:wait_closed() end, 0.01)
    gate:set()
    assert.is_true(server:wait_closed())
    assert.is_nil(client:read())
  end))

  it("goes through what the loop's class overrides", function()
    local made, reported = 0, nil
    local Loop = lh.EventLoop:subclass {
      create_task = function(self, ...)
        made = made + 1
        return lh.EventLoop.create_task(self, ...)
      end,
      call_exception_handler = function(_, context) reported = context end,
    }
    local loop = Loop {}
    loop:run_until_complete(function()
      local server <close> = assert(lh.start_server(function() error("oops") end, "127.0.0.1", 0))
      local before = made
      local client <close> = connect(server)
      assert.is_nil(client:read())
      assert.equal(before + 1, made)
    end)
    loop:close()
    assert.is_truthy(tostring(reported.exception):find("oops", 1, true))
  end)

  it("is reported, too, if create_task does not make a task", function()
    local reported
    local Loop = lh.EventLoop:subclass { create_task = function() return "nothing" end }
    local loop = Loop {}
    loop:set_exception_handler(function(_, context) reported = context end)
    local server, client
    loop:call_soon(function()
      server = assert(lh.start_server(function() end, "127.0.0.1", 0))
      client = require "socket".tcp()
      client:connect("127.0.0.1", port_of(server))
      loop:call_later(0.05, loop.stop, loop)
    end)
    loop:run_forever()
    assert.is_truthy(tostring(reported.exception):find("must return a Task", 1, true))
    assert.equal("closed", select(2, client:receive()))
    server:close()
    client:close()
    loop:close()
  end)
end)

describe("a server whose loop was closed", function()
  it("can be closed, and gives its port back", function()
    local server, port
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        server = assert(lh.start_server(function(stream) stream:read() end, "127.0.0.1", 0))
        port = port_of(server)
        connect(server)
        lh.sleep(0.01)
      end)
    end, { clock = "monotonic" })
    server:close()
    server:close()
    collectgarbage()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        assert(lh.start_server(function() end, "127.0.0.1", port)):close()
      end)
    end, { clock = "monotonic" })
  end)

  it("is closed when it is collected", function()
    local path = temporary_path()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        assert(lh.start_unix_server(function() end, path))
      end)
    end, { clock = "monotonic" })
    collectgarbage()
    collectgarbage()
    assert.is_false(exists(path))
  end)
end)
