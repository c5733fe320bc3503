-- A connection that breaks is told to all who read from it, not only to who comes first: else what
-- is missing would look like the end.

local lh = require "loophost"
local support = require "spec.support"

-- fn(client, peer), the two ends of a connection.
local function connected(fn)
  return support.in_real_task(function()
    local arrived = lh.Queue()
    local server <close> = assert(lh.start_server(function(stream) arrived:put(stream) end,
      "127.0.0.1", 0))
    local client <close> = assert(lh.open_connection(server:getsockname()))
    local peer <close> = arrived:get()
    fn(client, peer)
  end, { within = 10 })
end

-- Closes the peer with something unread, which resets the connection, and waits for that.
local function reset(client, peer)
  client:write "unread"
  peer:close()
  while client:getpeername() do lh.sleep(0.001) end
end

local function code_of(_, _, code) return code end

describe("after a reset", function()
  it("every read says so, behind what had come before", connected(function(client, peer)
    peer:write "begun\nnot ended"
    reset(client, peer)
    assert.equal("begun", client:readline())
    assert.equal("ECONNRESET", code_of(client:readline()))
    assert.equal("ECONNRESET", code_of(client:readexactly(10)))
    assert.equal("not ended", client:read())
    for _ = 1, 2 do
      assert.equal("ECONNRESET", code_of(client:read()))
      assert.equal("ECONNRESET", code_of(client:read "a"))
      assert.equal("ECONNRESET", code_of(client:readline()))
      assert.equal("ECONNRESET", code_of(client:readuntil "x"))
    end
  end))

  it("who reads is told although a write was told first", connected(function(client, peer)
    peer:write "some"
    reset(client, peer)
    assert.equal("ECONNRESET", code_of(client:write "x"))
    assert.equal("some", client:read())
    assert.equal("ECONNRESET", code_of(client:read()))
    assert.equal("ECONNRESET", code_of(client:read "a"))
  end))

  it("lines() raises instead of coming to its end", connected(function(client, peer)
    peer:write "one\ntwo"
    reset(client, peer)
    local seen = {}
    local ok, err = lh.pcall(function()
      for line in client:lines() do seen[#seen + 1] = line end
    end, { within = 10 })
    assert.is_false(ok)
    assert.truthy(err:find("ECONNRESET", 1, true), err)
    assert.same({ "one" }, seen)
  end))
end)

describe("after the peer's end", function()
  it("what it had said is still read, and then its end", connected(function(client, peer)
    peer:write "last words"
    peer:close()
    while code_of(client:write "x") ~= "EPIPE" do lh.sleep(0.001) end
    assert.equal("last words", client:read())
    assert.equal(1, select("#", client:read()))
  end))
end)
