-- Datagrams for which the receiver has no room: who sends waits, in order.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local paths = require "spec.paths"
local raises = expect.raises

local open = lh.create_datagram_endpoint

-- Sends until there is no room; how many went.
local function fill(endpoint, data, address)
  local count = 0
  while true do
    local sender = lh.create_task(endpoint.sendto, endpoint, data, address)
    lh.sleep(0)
    lh.sleep(0)
    lh.sleep(0)
    if not sender:done() then
      sender:cancel()
      expect.cancelled(sender)
      return count
    end
    assert.is_true(sender:result())
    count = count + 1
  end
end

for _, way in ipairs { "connected", "unconnected" } do
  local function with_full(fn)
    return paths.free(1, function(path, loop)
      local receiver <close> = assert(open { local_addr = path })
      local to = way == "unconnected" and path or nil
      local sender <close> = assert(open(to and { family = "unix" } or { remote_addr = path }))
      local queued = fill(sender, "fill", to)
      assert.is_true(queued > 0)
      local function drain()
        for _ = 1, queued do assert.equal("fill", (receiver:recvfrom())) end
      end
      fn(sender, to, receiver, drain, loop)
    end)
  end

  describe("sending where there is no room, " .. way, function()
    it("waits, and goes out in order", with_full(function(sender, to, receiver, drain)
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = lh.create_task(sender.sendto, sender, tostring(i), to)
      end
      lh.sleep(0.02)
      for i = 1, 20 do assert.is_false(tasks[i]:done()) end
      drain()
      for i = 1, 20 do
        assert.equal(tostring(i), (receiver:recvfrom()))
        assert.is_true(lh.await(tasks[i]))
      end
    end))

    it("goes on for all who have room, without anybody receiving", with_full(
      function(sender, to, _, drain)
        local tasks = {}
        for i = 1, 5 do
          tasks[i] = lh.create_task(sender.sendto, sender, tostring(i), to)
        end
        lh.sleep(0.02)
        drain()
        for i = 1, 5 do assert.is_true(lh.await(tasks[i])) end
      end))

    it("can be cancelled or time out, and the next goes on", with_full(
      function(sender, to, receiver, drain)
        local before = support.descriptors()
        for offset = 0, 4 do
          local first = lh.create_task(sender.sendto, sender, "first", to)
          local victim = lh.create_task(sender.sendto, sender, "victim", to)
          expect.turns(offset)
          first:cancel()
          victim:cancel()
          expect.cancelled(first)
          expect.cancelled(victim)
          assert.equal(before, support.descriptors())
        end
        raises(lh.TimeoutError, lh.wait_for, function() sender:sendto("x", to) end, 0.01)
        local first = lh.create_task(sender.sendto, sender, "first", to)
        local victim = lh.create_task(sender.sendto, sender, "victim", to)
        local second = lh.create_task(sender.sendto, sender, "second", to)
        lh.sleep(0.01)
        victim:cancel()
        expect.cancelled(victim)
        local nxt = lh.create_task(drain)
        lh.sleep(0)
        first:cancel() -- perhaps woken already
        lh.wait { first }
        lh.await(nxt)
        assert.is_true(lh.await(second))
        local data = receiver:recvfrom()
        if not first:cancelled() then
          assert.equal("first", data)
          data = receiver:recvfrom()
        end
        assert.equal("second", data)
        assert.equal(before, support.descriptors())
      end))

    it("ends when the receiver goes, or the sender", with_full(function(sender, to, receiver)
      local before = support.descriptors()
      local tasks = {}
      for i = 1, 3 do tasks[i] = lh.create_task(sender.sendto, sender, "x", to) end
      lh.sleep(0.01)
      receiver:close()
      for i = 1, 3 do
        local code = select(3, lh.await(tasks[i]))
        assert.is_true(code == "ECONNREFUSED" or code == "ENOTCONN", code)
      end
      assert.equal(before - 1, support.descriptors())
    end))

    it("ends when the sender is closed", with_full(function(sender, to)
      local before = support.descriptors()
      local tasks = {}
      for i = 1, 3 do tasks[i] = lh.create_task(sender.sendto, sender, "x", to) end
      lh.sleep(0.01)
      sender:close()
      for i = 1, 3 do assert.equal("ECANCELED", select(3, lh.await(tasks[i]))) end
      assert.equal(before - 1, support.descriptors())
    end))

    it("does not spin", with_full(function(sender, to, _, drain, loop)
      local task = lh.create_task(sender.sendto, sender, "x", to)
      lh.sleep(0.01)
      local before = loop:get_metrics().callbacks_executed
      lh.sleep(0.1)
      assert.is_true(loop:get_metrics().callbacks_executed - before < 10)
      drain()
      assert.is_true(lh.await(task))
    end))

    it("outlives its loop, whoever waits", with_full(function(sender, to)
      lh.create_task(sender.sendto, sender, "x", to)
      lh.sleep(0.01)
    end))
  end)
end

describe("a receiver that others have filled", function()
  it("has room again for who waits, whoever gave up behind", paths.free(1, function(path)
    local receiver <close> = assert(open { local_addr = path })
    local other <close> = assert(open { family = "unix" })
    local queued = fill(other, "fill", path)
    local sender <close> = assert(open { family = "unix" })
    local first = lh.create_task(sender.sendto, sender, "first", path)
    local victim = lh.create_task(sender.sendto, sender, "victim", path)
    lh.sleep(0.01)
    victim:cancel()
    expect.cancelled(victim)
    lh.sleep(0.01)
    assert.is_false(first:done())
    for _ = 1, queued do assert.equal("fill", (receiver:recvfrom())) end
    assert.is_true(lh.await(first))
    assert.equal("first", (receiver:recvfrom()))
  end))
end)

describe("two receivers", function()
  it("of which one is full: who sends to the other is not stuck behind a cancelled one", paths.free(
    2, function(full, free)
      local a <close> = assert(open { local_addr = full })
      local b <close> = assert(open { local_addr = free })
      local sender <close> = assert(open { family = "unix" })
      assert.is_true(fill(sender, "x", full) > 0)
      local first = lh.create_task(sender.sendto, sender, "x", full)
      local second = lh.create_task(sender.sendto, sender, "y", free)
      lh.sleep(0.01)
      assert.is_false(second:done()) -- the order of one socket's datagrams
      first:cancel()
      assert.is_true(lh.await(second))
      assert.equal("y", (b:recvfrom()))
      assert.is_false(a:is_closed())
    end))
end)
