-- How the handler of a connection may end, and who hears of it.

local lh = require "loophost"
local expect = require "spec.expect"
local support = require "spec.support"

-- fn(loop, reports) in a task of a loop whose create_task makes something else of the handler.
local function with_handler_as(make, fn)
  local loop, reports
  local function handler() end
  local Loop = lh.EventLoop:subclass {
    create_task = function(self, body, ...)
      if body == handler then return make(self) end
      return lh.EventLoop.create_task(self, body, ...)
    end,
  }
  loop = Loop { clock = "monotonic" }
  reports = support.reports(loop)
  loop:run_until_complete(function()
    local limit <close> = lh.timeout(20)
    local server <close> = assert(lh.start_server(handler, "127.0.0.1", 0))
    local stream <close> = assert(lh.open_connection(server:getsockname()))
    fn(server, stream, reports)
    assert.is_false(limit:expired())
  end)
  loop:close()
end

describe("a handler", function()
  it("that is cancelled is not reported", support.in_real_task(function(loop)
    local reports, task = support.reports(loop), nil
    local server <close> = assert(lh.start_server(function(stream)
      task = lh.current_task()
      stream:read()
    end, "127.0.0.1", 0))
    local stream <close> = assert(lh.open_connection(server:getsockname()))
    while not task do lh.sleep(0) end
    task:cancel()
    assert.is_nil(stream:read())
    expect.cancelled(task)
    server:close()
    server:wait_closed()
    assert.same({}, reports)
  end, { within = 20 }))

  it("that is done when it is made is not waited for", function()
    with_handler_as(function(loop)
      local done = loop:create_future()
      done:set_result()
      return done
    end, function(server, stream, reports)
      stream:write "unheard"
      lh.sleep(0.01)
      server:close()
      assert.is_true(server:wait_closed())
      assert.same({}, reports)
    end)
  end)

  it("must be of the server's loop", function()
    local other = lh.new_event_loop()
    with_handler_as(function() return other:create_future() end, function(_, stream, reports)
      assert.is_nil(stream:read())
      assert.equal(1, #reports)
      expect.contains(tostring(reports[1].exception), "must return a Task of the loop")
    end)
    other:close()
  end)
end)

it("a server that nobody closed says so when collected #child", support.in_real_task(function()
  local host = os.getenv "LOOPHOST"
  if not host then return end
  local child = assert(lh.create_subprocess_exec(host, "-W", "-e", [[
    local lh = require "loophost"
    local loop = lh.new_event_loop()
    loop:run_until_complete(function() lh.start_server(print, "127.0.0.1", 0) end)
    loop:close()
    loop = nil
    collectgarbage()
    collectgarbage()]], { stderr = "pipe" }))
  local _, said = child:communicate()
  expect.contains(said, "a server was collected without being closed; opened at (command line):3")
end))
