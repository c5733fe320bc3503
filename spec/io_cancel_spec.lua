-- Waits for children, datagrams, names and threads, cancelled and timed out at every turn, while
-- others are at work and when they are through: nothing is lost that can be had again, and
-- nothing leaks.

local lh = require "loophost"
local ending = require "spec.ending"

local function at_every_turn(name, setup, fn)
  describe(name, function()
    for title, body in pairs(ending.cases(setup, fn)) do it(title, body) end
  end)
end

-- ---- children ----

local function child_of(options, ...)
  return assert(lh.create_subprocess_exec(...,
    options or { stdin = "pipe", stdout = "pipe", stderr = "devnull" }))
end

at_every_turn("a child's wait() #child", nil, function(_, ends)
  local child <close> = child_of({ stdin = "pipe", stdout = "devnull" }, "cat")
  local done, ok, status = ends(function()
    child.stdin:close()
    return child:wait()
  end)
  child.stdin:close()
  assert.equal(0, child:wait())
  if ok then assert.equal(0, status) end
  return done
end)

at_every_turn("a child's communicate() #child", nil, function(_, ends)
  local child <close> = child_of(nil, "cat")
  local text = ("word "):rep(30000)
  local done, ok, out = ends(function() return child:communicate(text) end)
  if ok then assert.is_true(out == text) end
  if not ok then
    child:kill()
    child:wait()
  end
  return done
end)

at_every_turn("a line of a child #child", nil, function(_, ends)
  local child <close> = child_of(nil, "cat")
  local done, ok, line = ends(function()
    child.stdin:write "one\ntwo\n"
    return child.stdout:readline()
  end)
  local written = ok or child.stdin:write "three\n"
  child.stdin:close()
  local rest = child.stdout:read "a"
  assert.truthy(written)
  local all = (ok and line .. "\n" or "") .. rest
  assert.is_true(all == "one\ntwo\n" or not ok and (all == "three\n" or all == "one\ntwo\nthree\n"),
    all)
  child:wait()
  return done
end)

-- ---- streams; more of them in stream_cancel_spec ----

at_every_turn("a read of who never says anything", function(world)
  world.ended = 0
  world.server = assert(lh.start_server(function(stream)
    stream:read()
    stream:close()
    world.ended = world.ended + 1
  end, "127.0.0.1", 0))
  return world.server
end, function(world, ends)
  local _, port = world.server:getsockname()
  local before = world.ended
  local stream = assert(lh.open_connection("127.0.0.1", port))
  local done = ends(function() return stream:read() end)
  stream:close()
  while world.ended == before do lh.sleep(0.001) end
  return done
end)

-- ---- datagrams ----

at_every_turn("a datagram's recvfrom()", function(world)
  world.server = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
  local _, port = world.server:getsockname()
  world.client = assert(lh.create_datagram_endpoint { remote_addr = { "127.0.0.1", port } })
  return setmetatable({}, { __close = function()
    world.server:close()
    world.client:close()
  end })
end, function(world, ends)
  local sending = lh.create_task(function()
    lh.sleep(0)
    lh.sleep(0)
    assert(world.client:sendto "packet")
  end)
  local done, ok, packet = ends(function() return world.server:recvfrom() end)
  lh.await(sending)
  if ok then
    assert.equal("packet", packet)
  else
    assert.equal("packet", (world.server:recvfrom())) -- it has not gone with the one who waited
  end
  return done
end)

at_every_turn("a datagram's sendto() to one who is slow", nil, function(_, ends)
  local path = os.tmpname()
  os.remove(path)
  local server <close> = assert(lh.create_datagram_endpoint { local_addr = path, family = "unix" })
  local client <close> = assert(lh.create_datagram_endpoint { remote_addr = path, family = "unix" })
  local sent = 0
  local filling = lh.create_task(function()
    while true do
      client:sendto("n" .. sent + 1)
      sent = sent + 1
    end
  end)
  repeat
    local before = sent
    lh.sleep(0)
    lh.sleep(0)
  until sent == before
  filling:cancel()
  lh.wait { filling }
  local receiving = lh.create_task(function()
    for _ = 1, 3 do lh.sleep(0) end
    for i = 1, sent do assert.equal("n" .. i, (server:recvfrom())) end
  end)
  local done, ok = ends(function() return client:sendto "mine" end)
  lh.await(receiving)
  client:sendto "last"
  local next_one = server:recvfrom()
  assert.is_true(next_one == "mine" or not ok and next_one == "last", next_one)
  os.remove(path)
  return done
end)

-- ---- names ----

at_every_turn("getaddrinfo()", nil, function(_, ends)
  local done, ok, list = ends(function() return lh.getaddrinfo("localhost", 80) end)
  if ok then assert.equal(80, list[1].port) end
  return done
end)

at_every_turn("open_connection() to a name", function(world)
  world.server = assert(lh.start_server(function(stream) stream:close() end, "127.0.0.1", 0))
  return world.server
end, function(world, ends)
  local _, port = world.server:getsockname()
  local done, ok, stream = ends(function() return lh.open_connection("localhost", port) end)
  if ok then
    assert.is_nil(stream:read())
    stream:close()
  end
  lh.sleep(0.002) -- what was connected and given up is over on the other side, too
  return done
end)

-- ---- threads ----

at_every_turn("to_thread()", nil, function(_, ends)
  local done, ok, sum = ends(function()
    return lh.to_thread("local a, b = ... for _ = 1, 20000 do end return a + b", 1, 2)
  end)
  if ok then assert.equal(3, sum) end
  assert.equal("next", lh.to_thread("return ...", "next"))
  return done
end)

at_every_turn("to_thread() behind others", nil, function(_, ends)
  local busy = {}
  for i = 1, 40 do
    busy[i] = lh.create_task(lh.to_thread, "for _ = 1, 2000 do end return ...", i)
  end
  local done, ok, sum = ends(function() return lh.to_thread("return 1 + ...", 1) end)
  if ok then assert.equal(2, sum) end
  for i, task in ipairs(busy) do assert.equal(i, lh.await(task)) end
  return done
end)
