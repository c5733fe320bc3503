-- A server whose loop has been closed: nothing is waited for that cannot come any more.

local lh = require "loophost"
local support = require "spec.support"

describe("a server whose loop is closed", function()
  local server, connection

  before_each(function()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        server = assert(lh.start_server(function() lh.sleep(1000) end, "127.0.0.1", 0))
        connection = assert(lh.open_connection(server:getsockname()))
        lh.sleep(0)
      end)
    end, { clock = "monotonic" })
  end)

  after_each(function()
    server:close()
    connection:close()
  end)

  local function within_a_second(fn)
    support.with_loop(function(loop)
      loop:run_until_complete(function() lh.wait_for(fn, 1) end)
    end)
  end

  it("has nothing to wait for once it is closed", function()
    server:close()
    within_a_second(function() assert.is_true(server:wait_closed()) end)
  end)

  it("is not served for ever by another loop", function()
    within_a_second(function() server:serve_forever() end)
    assert.is_false(server:is_serving())
  end)
end)
