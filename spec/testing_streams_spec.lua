-- testing.stream_pair, fake_stream, fake_clock: what a test puts in place of the real ones.

local lh = require "loophost"
local testing = require "loophost.testing"
local expect = require "spec.expect"

local scenario = testing.scenario

local function error_with(text, fn, ...)
  expect.contains(expect.failure_of(fn, ...), text)
end

describe("a pair of streams in memory", function()
  scenario("reads as streams do", function()
    local a, b = testing.stream_pair()
    a:write("hello")
    assert.equal("he", b:read(2))
    assert.equal("llo", b:read())
    assert.equal("", b:read(0))
    a:write("one\r\ntwo\n\n", 3)
    a:write_eof()
    assert.equal("one", b:readline())
    assert.equal("two\n", b:readline("L"))
    assert.equal("", b:readline())
    assert.equal("3", b:readline())
    assert.same({ n = 1 }, table.pack(b:readline()))
    assert.same({ n = 1 }, table.pack(b:read()))
    assert.equal("", b:read("a"))
  end)

  scenario("exactly, until, by lines, and with partial bytes at the end", function()
    local a, b = testing.stream_pair()
    a:write("12345;678")
    a:write_eof()
    assert.equal("123", b:readexactly(3))
    assert.equal("45;", b:readuntil(";"))
    local _, message, code, partial = b:readuntil(";")
    assert.same({ "EOF", "678" }, { code, partial })
    assert.equal("EOF: ", message:sub(1, 5))
    assert.equal("", select(4, b:readexactly(1)))
    b:write("a\nb")
    b:write_eof()
    local lines = {}
    for line in a:lines() do lines[#lines + 1] = line end
    assert.same({ "a", "b" }, lines)
  end)

  scenario("consumes nothing when the limit is passed", function()
    local a, b = testing.stream_pair { limit = 10 }
    a:write(("x"):rep(11), "\n")
    assert.equal("EMSGSIZE", select(3, b:readline()))
    assert.equal(("x"):rep(11) .. "\n", b:read())
  end)

  scenario("is as slow as it is told, in order, and exactly", function()
    local loop = lh.get_running_loop()
    local a, b = testing.stream_pair { latency = 30 }
    local began = loop:time()
    a:write("x")
    a:write("y")
    a:close()
    assert.equal("xy", b:read("a"))
    assert.equal(30.0, loop:time() - began)
  end)

  scenario("closes in order, in a callback, too", function()
    local a, b = testing.stream_pair { latency = 30 }
    lh.get_running_loop():call_soon(function()
      lh.create_task(a.write, a, "x")
      lh.get_running_loop():call_later(1, a.close, a)
    end)
    assert.equal("x", b:read("a"))
  end)

  scenario("comes in pieces", function()
    local a, b = testing.stream_pair { chunk = 2 }
    a:write("abcde")
    assert.same({ "ab", "cd", "e" }, { b:read(), b:read(), b:read() })
  end)

  scenario("makes a writer wait for a slow reader", function()
    local a, b = testing.stream_pair { window = 3 }
    local writer = lh.create_task(a.write, a, "abcdef")
    lh.sleep(100)
    assert.is_false(writer:done())
    assert.equal("abc", b:readexactly(3))
    assert.is_true(lh.await(writer))
    assert.equal("def", b:readexactly(3))
  end)

  scenario("says when the other end has gone", function()
    local a, b = testing.stream_pair()
    b:close()
    assert.equal("EPIPE", select(3, a:write("x")))
    assert.is_nil(a:read())
  end)

  scenario("ends the waits of who reads and writes when it is closed", function()
    local a, b = testing.stream_pair { window = 1 }
    local reader, writer = lh.create_task(a.read, a), lh.create_task(a.write, a, "xyz")
    lh.sleep(1)
    a:close()
    assert.equal("ECANCELED", select(3, lh.await(reader)))
    assert.equal("ECANCELED", select(3, lh.await(writer)))
    error_with("the stream is closed", a.read, a)
    assert.is_true(a:is_closed())
    assert.is_false(b:is_closed())
  end)

  scenario("can be broken off", function()
    local a, b = testing.stream_pair()
    a:break_off("ECONNRESET")
    assert.equal("ECONNRESET", select(3, b:read()))
  end)

  scenario("loses nothing when a read is cancelled", function()
    local a, b = testing.stream_pair()
    local reader = lh.create_task(b.read, b)
    lh.sleep(1)
    reader:cancel()
    a:write("kept")
    lh.wait { reader }
    assert.is_cancelled(reader)
    assert.equal("kept", b:read())
  end)

  scenario("is read by one task at a time", function()
    local _, b = testing.stream_pair()
    local reader = lh.create_task(b.read, b)
    lh.sleep(0)
    error_with("another task is reading from the stream", b.read, b)
    reader:cancel()
  end)

  scenario("refuses what a stream refuses", function()
    local a = testing.stream_pair()
    error_with("string expected, got table", a.write, a, {})
    a:write_eof()
    error_with("cannot write after write_eof()", a.write, a, "x")
    error_with("chunk must be at least 1", testing.stream_pair, { chunk = 0 })
    error_with("latency must not be negative", testing.stream_pair, { latency = -1 })
    error_with("no such option", testing.stream_pair, { speed = 1 })
  end)
end)

describe("a stream that follows a script", function()
  scenario("gives texts, with time between them, then its end", function()
    local loop = lh.get_running_loop()
    local began = loop:time()
    local stream = testing.fake_stream { "a", 5, "b\nc", 0.5 }
    assert.equal("a", stream:read())
    assert.equal(0.0, loop:time() - began)
    assert.equal("b", stream:readline())
    assert.equal(5.0, loop:time() - began)
    assert.equal("c", stream:readline())
    assert.equal(5.5, loop:time() - began)
    assert.is_nil(stream:read())
  end)

  scenario("keeps what is written to it, and fails on command", function()
    local stream = testing.fake_stream { { error = "ECONNRESET" } }
    stream:write("GET / ", 1)
    assert.equal("GET / 1", stream.written)
    assert.equal("ECONNRESET", select(3, stream:read()))
  end)

  scenario("can be timed out", function()
    local loop = lh.get_running_loop()
    local stream = testing.fake_stream { 100, "late" }
    local began = loop:time()
    assert.times_out(1, function() stream:read() end)
    assert.equal("late", stream:read())
    assert.equal(101.0, loop:time() - began)
  end)

  it("knows what is in its script", function()
    error_with("entry 2: a string, a number", testing.fake_stream, { "a", true })
  end)
end)

describe("a clock of its own", function()
  it("is moved by hand", function()
    local clock = testing.fake_clock(100)
    clock:advance(1.5)
    assert.equal(101.5, clock())
    assert.equal(101.5, clock:time())
    error_with("time does not go backwards", clock.advance, clock, -1)
  end)
end)
