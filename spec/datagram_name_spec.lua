-- A datagram whose host is looked up meanwhile, by a name server of the test's.

local lh = require "loophost"
local support = require "spec.support"

-- fn(query, answer): a name server is asked, and gives 127.0.0.1 when answer() is called.
local function with_names(fn)
  return support.in_real_task(function()
    local names <close> = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
    local getenv = os.getenv
    local function restore() rawset(os, "getenv", getenv) end
    local restored <close> = setmetatable({}, { __close = restore })
    local address = ("%s:%d"):format(names:getsockname())
    rawset(os, "getenv", function(name)
      return name == "LOOPHOST_NAMESERVERS" and address or getenv(name)
    end)
    local asked, answered = lh.Event(), lh.Event()
    local serving = lh.create_task(function()
      while true do
        local query, host, port = assert(names:recvfrom())
        asked:set()
        answered:wait()
        names:sendto(query:sub(1, 2) .. "\x81\x80\0\1\0\1\0\0\0\0" .. query:sub(13)
          .. "\xc0\x0c\0\1\0\1\0\0\0\1\0\4\127\0\0\1", host, port)
      end
    end)
    fn(asked, answered)
    serving:cancel()
    assert.truthy(restored)
  end, { within = 20 })
end

describe("a datagram to a name", function()
  it("goes to its address", with_names(function(_, answered)
    answered:set()
    local receiver <close> = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
    local sender <close> = assert(lh.create_datagram_endpoint { family = "inet" })
    local _, port = receiver:getsockname()
    assert.is_true(sender:sendto("hello", "name.test.", port))
    assert.equal("hello", (receiver:recvfrom()))
  end))

  it("is not sent by an endpoint that was closed meanwhile", with_names(function(asked, answered)
    local sender = assert(lh.create_datagram_endpoint { family = "inet" })
    local sending = lh.create_task(sender.sendto, sender, "hello", "name.test.", 9)
    asked:wait()
    sender:close()
    answered:set()
    local ok, message, code = lh.await(sending)
    assert.same({ nil, "ECANCELED: the endpoint was closed", "ECANCELED" }, { ok, message, code })
  end))
end)
