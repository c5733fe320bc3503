-- What is wrong with a call of the I/O functions is told by the name of the function that the
-- script called, the number of the argument, and the script's line.

local lh = require "loophost"
local expect = require "spec.expect"
local support = require "spec.support"
local raises = expect.raises

-- Each of the calls must raise the text, and name the line of its function.
local function all_raise(calls)
  for _, call in ipairs(calls) do
    local text, fn = call[1], call[2]
    local err = raises(text, fn)
    local line = debug.getinfo(fn, "S").linedefined
    local where = err:match "io_arguments_spec.lua:(%d+): "
    assert.equal(line, tonumber(where), err)
  end
end

local function ignore() end

describe("a wrong argument of", function()
  it("connecting is the script's", expect.in_task(function()
    local unix, tcp = lh.open_unix_connection, lh.open_connection
    local range = "bad argument #1 to 'open_unix_connection' (path of a Unix socket must have 1 to"
    local own = "bad argument #3 to 'open_connection' (option 'local_addr' must be a list"
    all_raise {
      { range, function() unix "" end },
      { range, function() unix(("x"):rep(108)) end },
      { "'open_unix_connection' (path contains zeros)", function() unix "a\0b" end },
      { own, function() tcp("::1", 1, { local_addr = { "127.0.0.1", 65536 } }) end },
      { own, function() tcp("::1", 1, { local_addr = { "127.0.0.1", -1 } }) end },
      { own, function() tcp("::1", 1, { local_addr = { "127.0.0.1", "1" } }) end },
      { own, function() tcp("::1", 1, { local_addr = { "127.0.0.1", false } }) end },
      { own, function() tcp("::1", 1, { local_addr = { "localhost" } }) end },
    }
  end))

  it("serving is the script's", expect.in_task(function()
    local unix, tcp = lh.start_unix_server, lh.start_server
    local host = "bad argument #2 to 'start_server' (string expected, got "
    all_raise {
      { host .. "number)", function() tcp(ignore, 7, 0) end },
      { host .. "boolean)", function() tcp(ignore, false, 0) end },
      { "#2 (element 2) to 'start_server'", function() tcp(ignore, { "::1", 5 }, 0) end },
      { "#2 to 'start_unix_server' (path of a Unix", function() unix(ignore, "") end },
      { "#2 to 'start_unix_server' (path contains", function() unix(ignore, "a\0b") end },
    }
  end))

  it("names and datagrams is the script's", expect.in_task(function()
    local open = lh.create_datagram_endpoint
    local own = "bad argument #1 to 'create_datagram_endpoint' (option 'local_addr' must be"
    all_raise {
      { "#2 to 'getaddrinfo' (integer expected, got boolean)",
        function() lh.getaddrinfo("::1", false) end },
      { own, function() open { local_addr = { "127.0.0.1", "65536" } } end },
      { own, function() open { local_addr = { "127.0.0.1", "-1" } } end },
    }
  end))

  it("a stream's lines is told before there are any", expect.in_task(function()
    local server <close> = assert(lh.start_server(function(peer) peer:close() end, "127.0.0.1", 0))
    local stream = assert(lh.open_connection(server:getsockname()))
    all_raise {
      { "bad argument #1 to 'lines' (stream expected, got no value)",
        function() stream.lines() end },
      { "(stream expected, got string)", function() stream.lines "l" end },
      { "(stream expected, got FILE*)", function() stream.lines(io.stdout) end },
      { "bad argument #1 to 'lines' (invalid format)", function() stream:lines "n" end },
    }
    local next_line = stream:lines()
    stream:close()
    all_raise {
      { "the stream is closed", function() next_line() end },
      { "the stream is closed", function() stream:lines() end },
    }
  end))
end)

it("a descriptor that is a stream's cannot be watched as well", support.in_real_task(function(loop)
  local server <close> = assert(lh.start_server(function(peer) peer:close() end, "127.0.0.1", 0))
  local stream <close> = assert(lh.open_connection(server:getsockname()))
  all_raise {
    { "bad argument #1 to 'add_reader' (in use by a stream, server or the like",
      function() loop:add_reader(stream, ignore) end },
    { "bad argument #1 to 'add_writer' (in use by a stream, server or the like",
      function() loop:add_writer(stream:fileno(), ignore) end },
  }
end))
