-- Every wait of streams and servers, cancelled and timed out at every turn: nothing is lost,
-- and nothing leaks.

local lh = require "loophost"
local certificates = require "spec.certificates"
local ending = require "spec.ending"

setup(certificates.make)
teardown(certificates.remove)

local TEXT = "one\ntwo three;four\n" -- what the peer says, a byte a turn
local MUCH = ("0123456789abcdef"):rep(256 * 1024)

-- Two ends of a connection of the server, which passes its ends on.
local function pair(world)
  world.accepted = lh.get_running_loop():create_future()
  local client = assert(lh.open_connection("127.0.0.1", world.port, world.options))
  return client, lh.await(world.accepted)
end

local function talk(peer)
  for byte in TEXT:gmatch "." do
    peer:write(byte)
    lh.sleep(0)
  end
  peer:write_eof()
end

-- What was read and what is still to be read are all that the peer said.
local function reading(run, restore)
  return {
    run = run, peer = talk,
    check = function(client, ok, value)
      local rest = client:read "a"
      assert.equal(TEXT, (ok and restore(value) or "") .. rest)
    end,
  }
end

local function as_it_is(value) return value end

local OPERATIONS = {
  ["read(n)"] = reading(function(client) return client:read(1) end, as_it_is),
  ["read('a')"] = reading(function(client) return client:read "a" end, as_it_is),
  ["readline()"] = reading(function(client) return client:readline() end,
    function(line) return line .. "\n" end),
  ["readexactly(n)"] = reading(function(client) return client:readexactly(9) end, as_it_is),
  ["readuntil(s)"] = reading(function(client) return client:readuntil "three;" end, as_it_is),
  ["lines()"] = reading(function(client)
    local following = client:lines "L"
    return following()
  end, as_it_is),
  ["write()"] = {
    run = function(client) return client:write(MUCH, "!") end,
    peer = function(peer)
      for _ = 1, 30 do lh.sleep(0) end
      peer:readexactly(#MUCH + 1)
    end,
    check = function() end,
  },
  ["write() behind another"] = {
    run = function(client, first)
      first.task = lh.create_task(client.write, client, MUCH)
      lh.sleep(0)
      return client:write "second"
    end,
    peer = function(peer, said)
      for _ = 1, 10 do lh.sleep(0) end
      said.text = peer:read "a"
    end,
    check = function(client, ok, _, first, said, helper)
      if first.task then assert.is_true(lh.await(first.task)) end
      client:write_eof()
      lh.await(helper)
      local sent = (first.task and MUCH or "") .. (ok and "second" or "")
      assert.is_true(sent == said.text, #said.text .. " bytes")
    end,
  },
  ["wait_closed()"] = {
    run = function(client, first)
      first.task = lh.create_task(function()
        for _ = 1, 4 do lh.sleep(0) end
        client:close()
      end)
      return client:wait_closed()
    end,
    peer = function() end,
    check = function(_, _, _, first) return first.task and lh.await(first.task) end,
  },
  ["write_eof() behind a write"] = {
    run = function(client, first)
      first.task = lh.create_task(client.write, client, MUCH)
      lh.sleep(0)
      return client:write_eof()
    end,
    peer = function(peer, said)
      for _ = 1, 10 do lh.sleep(0) end
      said.text = peer:read "a"
    end,
    check = function(client, _, _, first, said, helper)
      if first.task then assert.is_true(lh.await(first.task)) end
      client:write_eof()
      lh.await(helper)
      assert.equal(first.task and #MUCH or 0, #said.text)
    end,
  },
}

-- One run, which is ended after so many turns. Whether it had come to its own end before.
local function run_once(world, operation, way, turns)
  local client, peer = pair(world)
  local first, said = {}, {}
  local helper = lh.create_task(operation.peer, peer, said)
  local done, ok, value = ending.after(turns, way, function()
    return operation.run(client, first)
  end)
  operation.check(client, ok, value, first, said, helper)
  client:close()
  helper:cancel()
  lh.rawpcall(lh.await, helper)
  peer:close()
  client:wait_closed()
  peer:wait_closed()
  return done
end

-- A server that passes on what it accepts.
local function serve(world, options)
  local server = assert(lh.start_server(function(stream)
    world.accepted:set_result(stream)
  end, "127.0.0.1", 0, options))
  world.port = select(2, server:getsockname())
  return server
end

local TRANSPORTS = {
  [""] = serve,
  [" over TLS #slow"] = function(world)
    world.options = { ssl = certificates.client_options() }
    return serve(world, { ssl = certificates.server_options() })
  end,
}

for name, operation in pairs(OPERATIONS) do
  for over, setup_transport in pairs(TRANSPORTS) do
    describe(name .. over, function()
      for way in pairs(ending.WAYS) do
        it(way .. " at every turn, and loses nothing", function()
          ending.leaves_nothing(function(world)
            ending.at_every_turn(function(turns)
              return run_once(world, operation, way, turns)
            end)
          end, setup_transport)
        end)
      end
    end)
  end
end

-- run(world) opens or waits for something; `drop` takes back what it has got.
local function ends_anywhere(run, drop)
  for way in pairs(ending.WAYS) do
    it(way .. " at every turn, and leaves nothing", function()
      ending.leaves_nothing(function(world)
        for turns = 0, 12 do
          local _, ok, value = ending.after(turns, way, function() return run(world) end)
          drop(world, ok and value or nil)
        end
      end, serve)
    end)
  end
end

describe("open_connection", function()
  ends_anywhere(function(world)
    world.accepted = lh.get_running_loop():create_future()
    return lh.open_connection("127.0.0.1", world.port)
  end, function(world, stream)
    if stream then stream:close() end
    -- the kernel may have made the connection all the same
    local ok, peer = lh.rawpcall(lh.wait_for, world.accepted or lh.sleep, 0.02)
    if ok and peer then peer:close() end
  end)
end)

describe("a server's wait_closed", function()
  ends_anywhere(function(world)
    world.gate = lh.Event()
    local path = os.tmpname()
    os.remove(path)
    world.server = assert(lh.start_unix_server(function(stream)
      world.gate:wait()
      stream:close()
    end, path))
    world.stream = assert(lh.open_unix_connection(path))
    lh.sleep(0)
    lh.sleep(0)
    world.server:close()
    world.server:wait_closed()
  end, function(world)
    if not world.server then return end
    world.server:close()
    if world.gate then world.gate:set() end
    assert.is_true(world.server:wait_closed())
    if world.stream then world.stream:close() end
    world.server, world.stream, world.gate = nil, nil, nil
  end)
end)

describe("serve_forever", function()
  ends_anywhere(function(world)
    world.server = assert(lh.start_server(function() end, "127.0.0.1", 0))
    world.server:serve_forever()
  end, function(world)
    if not world.server then return end
    world.server:close()
    assert.is_false(world.server:is_serving())
  end)
end)

describe("a handler", function()
  ends_anywhere(function(world)
    world.accepted = lh.get_running_loop():create_future()
    local _ <close> = assert(lh.open_connection("127.0.0.1", world.port))
    local peer <close> = lh.await(world.accepted)
    world.accepted = nil
    peer:readline()
  end, function(world)
    if not world.accepted then return end
    local ok, peer = lh.rawpcall(lh.wait_for, world.accepted, 0.02)
    if ok and peer then peer:close() end
    world.accepted = nil
  end)
end)
