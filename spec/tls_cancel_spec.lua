-- The beginning and the end of TLS, cancelled and timed out at every turn: the other side hears of
-- it, and nothing leaks. What lies between is in stream_cancel_spec.

local lh = require "loophost"
local certificates = require "spec.certificates"
local ending = require "spec.ending"
local support = require "spec.support"

setup(certificates.make)
teardown(certificates.remove)

local function at_every_turn(name, prepare, fn)
  describe(name .. " #slow", function()
    for title, body in pairs(ending.cases(prepare, fn)) do it(title, body) end
  end)
end

-- A server whose handler is the `handler` of the world, and both sides' options.
local function served(ssl)
  return function(world)
    world.client = certificates.client_options { server_hostname = "localhost" }
    world.server = certificates.server_options { server_side = true }
    local server = assert(lh.start_server(function(stream)
      local _ <close> = stream
      world.handler(stream)
      stream:close()
      stream:wait_closed()
    end, "127.0.0.1", 0, { ssl = ssl and certificates.server_options() }))
    world.port = select(2, server:getsockname())
    world.tasks = #lh.all_tasks()
    world.handler = certificates.echo
    lh.open_connection("localhost", world.port, { ssl = ssl and world.client }):close()
    while #lh.all_tasks() > world.tasks do lh.sleep(0.001) end
    world.descriptors = support.descriptors() -- with those that are opened once
    return server
  end
end

-- Waits until nothing is left of any connection, here and there.
local function settle(world)
  local deadline = lh.get_running_loop():time() + 20
  while #lh.all_tasks() > world.tasks or support.descriptors() > world.descriptors do
    assert.is_true(lh.get_running_loop():time() < deadline)
    lh.sleep(0.001)
  end
end

local function finish(world, stream)
  stream:close()
  stream:wait_closed()
  settle(world)
end

local function check(stream)
  assert(stream:write "x")
  assert.equal("x", stream:read())
end

local function plain(world) return assert(lh.open_connection("127.0.0.1", world.port)) end

at_every_turn("a client's start_tls()", served(false), function(world, ends)
  function world.handler(stream)
    if stream:start_tls(world.server) then certificates.echo(stream) end
  end
  local client = plain(world)
  local began
  local done, ok, value = ends(function()
    began = true
    return client:start_tls(world.client)
  end)
  if ok then
    assert.equal(client, value)
    check(client)
  else
    assert.equal(began or false, client:is_closed())
  end
  finish(world, client)
  return done
end)

at_every_turn("a server's start_tls()", served(false), function(world, ends)
  local came = lh.get_running_loop():create_future()
  function world.handler(stream)
    local began
    local done, ok, value = ends(function()
      began = true
      return stream:start_tls(world.server)
    end)
    came:set_result(done, ok)
    if not ok then return assert.equal(began or false, stream:is_closed()) end
    assert.equal(stream, value)
    certificates.echo(stream)
  end
  local client = plain(world)
  local agreed, message = client:start_tls(world.client)
  local done, ok = lh.wait_for(came, 20)
  if agreed and not ok then -- with the last words of the server, who did not hear the answer
    agreed, message = client:read()
  end
  assert.equal(ok, agreed ~= nil)
  assert.equal(ok, message == nil)
  if ok then check(client) end
  finish(world, client)
  return done
end)

at_every_turn("open_connection()", served(true), function(world, ends)
  local done, ok, stream = ends(function()
    return lh.open_connection("localhost", world.port, { ssl = world.client })
  end)
  if ok then
    check(stream)
    stream:close()
    stream:wait_closed()
  end
  settle(world)
  return done
end)

at_every_turn("a wait_closed()", served(true), function(world, ends)
  function world.handler(stream)
    for _ = 1, 5 do lh.sleep(0) end
    assert.is_nil(stream:read())
  end
  local stream = assert(lh.open_connection("127.0.0.1", world.port, { ssl = world.client }))
  local done, ok, value = ends(function()
    stream:close()
    return stream:wait_closed()
  end)
  if ok then assert.is_true(value) end
  finish(world, stream)
  return done
end)
