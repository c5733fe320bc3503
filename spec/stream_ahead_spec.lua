-- What comes for a task that waits in a read is read before the task runs, where little comes at a
-- time (bindings/stream_read.c): nobody can tell, but for the time that it takes.

local lh = require "loophost"
local support = require "spec.support"

-- Opens n connections to a server within the test; the streams of both ends.
local function open(n)
  local accepted = lh.Queue()
  local server <close> = assert(lh.start_server(function(stream)
    accepted:put(stream)
  end, "127.0.0.1", 0))
  local port = select(2, server:getsockname())
  local streams, peers = {}, {}
  for i = 1, n do
    streams[i] = assert(lh.open_connection("127.0.0.1", port))
    peers[i] = accepted:get()
  end
  return streams, peers
end

-- Has a task wait in stream:method(...), who has had little before.
local function waiting(stream, peer, method, ...)
  peer:write "little"
  assert.equal("little", stream:read())
  local task = lh.create_task(stream[method], stream, ...)
  lh.sleep(0)
  return task
end

-- Returns between the turn in which the loop hears of what was written and the next one's steps: it
-- looks when 100 us are over.
local function until_read_ahead()
  local loop = lh.get_running_loop()
  local late = loop:time() + 0.0005
  while loop:time() < late do collectgarbage "count" end
  lh.sleep(0)
  lh.sleep(0)
end

-- A test body fn(stream, peer, streams, peers) of so many connections.
local function connected(fn, n)
  return function()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        local held <close> = lh.timeout(20)
        local streams, peers = open(n or 1)
        fn(streams[1], peers[1], streams, peers)
        for i = 1, n or 1 do
          streams[i]:close()
          peers[i]:close()
        end
      end)
    end, { clock = "monotonic" })
  end
end

describe("bytes that are read ahead", function()
  for _, case in ipairs {
    { "read(n)", { "read", 100 }, "bytes", "bytes", "" },
    { "read(n) that wants less", { "read", 3 }, "bytes", "byt", "es" },
    { "read('a')", { "read", "a" }, "bytes", "bytesrest", nil },
    { "readline()", { "readline" }, "a line\nand\n", "a line", "and\n" },
    { "readline() that has a part", { "readline" }, "a line", "a linerest", nil },
    { "readexactly(n)", { "readexactly", 5 }, "bytes", "bytes", "" },
    { "readexactly(n) that has a part", { "readexactly", 9 }, "bytes", "bytesrest", "" },
    { "readuntil(s)", { "readuntil", ";;" }, "a;b;;c", "a;b;;", "c" },
  } do
    local name, call, sent, result, left = table.unpack(case, 1, 5)
    it("are those that a " .. name .. " gets", connected(function(stream, peer)
      local task = waiting(stream, peer, table.unpack(call))
      peer:write(sent)
      until_read_ahead()
      peer:write "rest"
      peer:write_eof()
      assert.equal(result, lh.await(task))
      assert.equal(left and left .. (result:find "rest" and "" or "rest") or "", stream:read "a")
    end))
  end

  it("are kept when the task is cancelled before it has them", connected(function(stream, peer)
    local task = waiting(stream, peer, "read", 100)
    peer:write "bytes"
    until_read_ahead()
    assert.is_false(task:done())
    task:cancel()
    assert.is_false((lh.rawpcall(lh.await, task)))
    assert.equal("by", stream:read(2))
    peer:write " and more"
    peer:write_eof()
    assert.equal("tes and more", stream:read "a")
  end))

  it("go with the stream that is closed", connected(function(stream, peer)
    local task = waiting(stream, peer, "read", 100)
    peer:write "bytes"
    until_read_ahead()
    stream:close()
    assert.equal("ECANCELED", select(3, lh.await(task)))
  end))

  it("may be more than there is room for", connected(function(_, _, streams, peers)
    local function text(i, round) return (i * round .. " "):rep(1000):sub(1, 2000) end
    for round = 1, 3 do
      local tasks = {}
      for i, stream in ipairs(streams) do
        tasks[i] = waiting(stream, peers[i], "readexactly", 2000)
      end
      for i, peer in ipairs(peers) do peer:write(text(i, round)) end
      until_read_ahead()
      for i, task in ipairs(tasks) do assert.equal(text(i, round), lh.await(task)) end
    end
  end, 20))

  it("do not hide the end", connected(function(stream, peer)
    local task = waiting(stream, peer, "read", 100)
    peer:write_eof()
    until_read_ahead()
    assert.same({ n = 1 }, table.pack(lh.await(task)))
  end))
end)
