-- I/O where nothing can wait: it says so at the script's line, and leaves nothing behind.

local lh = require "loophost"
local expect = require "spec.expect"
local support = require "spec.support"

-- fn(loop, calls): what has to wait, each by the name that the error gives.
local function each_wait(fn)
  return support.in_real_task(function(loop)
    local server <close> = assert(lh.start_server(function(peer) peer:close() end, "127.0.0.1", 0))
    local _, port = server:getsockname()
    fn(loop, {
      connect = function() lh.open_connection("127.0.0.1", port) end,
      getaddrinfo = function() lh.getaddrinfo("name.invalid", 1) end,
      open_file = function() lh.open_file "/dev/null" end,
      to_thread = function() lh.to_thread "return 1" end,
    })
  end)
end

local function line_of(fn)
  local info = debug.getinfo(fn, "S")
  return info.short_src .. ":" .. info.linedefined .. ": "
end

describe("a call that has to wait", function()
  it("says in a callback that it cannot, and leaves no descriptor", each_wait(function(loop, calls)
    for name, fn in pairs(calls) do
      local before, told = support.descriptors(), loop:create_future()
      loop:call_soon(function() told:set_result(table.pack(lh.pcall(fn))) end)
      local _, err = table.unpack(lh.await(told))
      local expected = line_of(fn) .. name .. ": only a task can wait, and none is running here"
      assert.equal(expected, err)
      assert.equal(before, support.descriptors())
    end
  end))

  it("says in table.sort that it cannot, and leaves no descriptor", each_wait(function(_, calls)
    for name, fn in pairs(calls) do
      local before = support.descriptors()
      local err = expect.raises("inside function 'table.sort'", table.sort, { 1, 2 }, fn)
      assert.equal(line_of(fn) .. name, err:sub(1, #line_of(fn) + #name))
      assert.equal(before, support.descriptors())
    end
  end))
end)
