-- A sender of large datagrams fills its own buffer long before the receiver's queue is full: it
-- waits for that, without asking again and again.

local lh = require "loophost"
local support = require "spec.support"

local LARGE = ("x"):rep(100000)

it("who has filled the buffer of their own waits, and does not spin", support.in_real_task(
  function(loop)
    local path = os.tmpname()
    os.remove(path)
    local receiver <close> = assert(lh.create_datagram_endpoint { local_addr = path })
    local sender <close> = assert(lh.create_datagram_endpoint { family = "unix" })
    local sent = 0
    local sending = lh.create_task(function()
      while sent < 10 do
        assert(sender:sendto(LARGE, path))
        sent = sent + 1
      end
    end)
    lh.sleep(0.01)
    local before, filled = loop:get_metrics().callbacks_executed, sent
    assert.is_true(filled < 10, "the buffer is larger than the test thinks")
    lh.sleep(0.05)
    assert.is_true(loop:get_metrics().callbacks_executed - before < 20)
    assert.equal(filled, sent)
    for _ = 1, 10 do assert.equal(#LARGE, #receiver:recvfrom()) end
    lh.await(sending)
    os.remove(path)
  end, { within = 20 }))
