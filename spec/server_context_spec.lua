-- A server's handlers, and who is told of their end, run in the context of start_server's caller;
-- whatever else the loop calls does not.

local lh = require "loophost"
local support = require "spec.support"

it("the context of a server is nobody else's", function()
  local var = lh.ContextVar "of the server"
  local outside, told = {}, nil
  -- the loop calls run_once itself: neither a task nor a callback has lent it a context
  local Loop = lh.EventLoop:subclass {
    run_once = function(self)
      outside[var:get "nobody's"] = true
      return lh.EventLoop.run_once(self)
    end,
  }
  local loop = Loop { clock = "monotonic" }
  loop:set_exception_handler(function() told = var:get "nobody's" end)
  loop:run_until_complete(function()
    local limit <close> = lh.timeout(20)
    var:set "the server's"
    local server <close> = assert(lh.start_server(function(stream)
      local line = stream:readline()
      if line == "fail" then error "as it was told to" end
      stream:write(var:get "nobody's", "\n")
      stream:close()
    end, "127.0.0.1", 0))
    for _, line in ipairs { "one", "fail", "two" } do
      local stream <close> = assert(lh.open_connection(server:getsockname()))
      stream:write(line, "\n")
      assert.equal(line ~= "fail" and "the server's" or nil, (stream:readline()))
    end
    assert.is_false(limit:expired())
  end)
  loop:close()
  assert.same({ ["nobody's"] = true }, outside)
  assert.equal("the server's", told)
end)

it("nor that of the code around the loop", function()
  local var = lh.ContextVar "of the server"
  support.run(function()
    var:set "the server's"
    local server <close> = assert(lh.start_server(function(stream) stream:close() end,
      "127.0.0.1", 0))
    local stream <close> = assert(lh.open_connection(server:getsockname()))
    stream:read()
  end)
  assert.equal("nobody's", var:get "nobody's")
end)
