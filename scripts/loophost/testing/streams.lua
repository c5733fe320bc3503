-- streams.lua -- streams without a kernel: two ends in memory, or one that follows a script.
--
-- They have the methods of a stream and answer as one does, but are exact in virtual time,
-- which real descriptors hold back; and they can be slow, cut everything into pieces, or fail
-- on command.

local core = require "loophost.core"
local argument = require "loophost.argument"
local tasks = require "loophost.tasks"
local streammethods = require "loophost.streammethods"

local streams = {}

local DEFAULT_LIMIT, CHUNK = 64 * 1024, 64 * 1024

---@class loophost.testing.Stream
---@field written string all that was written to it, so far
---@field peername? string
---@field sockname? string
---@field package buffer string what was received and not read
---@field package peer? loophost.testing.Stream
---@field package script? any[]
---@field package error? string the code with which the line has broken
---@field package eof boolean
---@field package closed boolean
---@field package sent_eof boolean
---@field package busy boolean somebody reads
---@field package waiters loophost.Future[]
---@field package limit integer
---@field package chunk integer
---@field package window integer
---@field package latency number
local Stream = { __name = "loophost.testing.stream" }
Stream.__index = Stream

local function new(opts)
  return setmetatable({
    buffer = "", eof = false, closed = false, sent_eof = false, waiters = {}, written = "",
    limit = opts.limit or DEFAULT_LIMIT, chunk = opts.chunk or CHUNK, window = opts.window or CHUNK,
    latency = opts.latency or 0, under_way = 0, busy = false,
  }, Stream)
end

-- ---- waiting ----

local function notify(self)
  local waiters = self.waiters
  self.waiters = {}
  for _, waiter in ipairs(waiters) do
    if not waiter:done() then waiter:set_result() end
  end
end

local function wait(self)
  local waiter = tasks.loop():create_future()
  table.insert(self.waiters, waiter)
  core.await(waiter)
end

local function fail(code, text)
  return nil, ("%s: %s"):format(code, text), code
end

-- ---- what comes in ----

local function receive(self, data)
  self.buffer = self.buffer .. data
  notify(self)
end

-- After the latency of the line, in the order of sending.
local function deliver(self, fn, ...)
  local peer = self.peer
  if self.latency <= 0 then return fn(peer, ...) end
  tasks.loop():call_later(self.latency, fn, peer, ...)
end

local function receive_eof(self)
  self.eof = true
  notify(self)
end

local function receive_error(self, code)
  self.error = code
  notify(self)
end

-- The script goes on by one entry: a text comes, a number of seconds passes, an error.
local function follow_script(self)
  local entry = table.remove(self.script, 1)
  if entry == nil then
    self.eof = true
  elseif type(entry) == "number" then
    local ok, err = core.rawpcall(core.sleep, entry)
    if not ok then
      table.insert(self.script, 1, entry) -- who is cancelled has not heard it
      error(err, 0)
    end
  elseif type(entry) == "table" then
    receive_error(self, entry.error)
  else
    self.buffer = self.buffer .. entry
  end
end

-- Waits until there is more to see than before.
local function more(self)
  if self.script then return follow_script(self) end
  wait(self)
end

-- ---- reading ----

local function check(self, level)
  if self.closed then argument.fail(1, "stream", "the stream is closed", level + 1) end
end

-- Takes n bytes and the rest of the separator out of the buffer.
local function take(self, n, skipped)
  local text = self.buffer:sub(1, n)
  self.buffer = self.buffer:sub(n + (skipped or 0) + 1)
  if self.peer then notify(self.peer) end -- there is room again
  return text
end

local function finish(self, ok, ...)
  self.busy = false
  if not ok then error(..., 0) end
  return ...
end

local MORE = {} -- what a try answers that needs more than there is

-- Calls try() until it has something to say; then returns that.
local function read(self, try)
  check(self, 3)
  if self.busy then error("another task is reading from the stream", 3) end
  self.busy = true
  return finish(self, core.rawpcall(function()
    while true do
      local result = table.pack(try())
      if result[1] ~= MORE then return table.unpack(result, 1, result.n) end
      if self.error then return fail(self.error, "by the test") end
      more(self)
      if self.closed then return fail("ECANCELED", "the stream was closed") end
    end
  end))
end

-- Up to n bytes as soon as there are any; "a": all to the end. nil at the end.
---@param n? integer|"a"
---@return string? data
---@return string? message
---@return string? code
function Stream:read(n)
  if n == "a" then
    return read(self, function()
      if self.eof then return take(self, #self.buffer) end
      return MORE
    end)
  end
  n = n or CHUNK ---@cast n integer
  if math.type(n) ~= "integer" or n < 0 then argument.mismatch(1, "read", "size", n, 2) end
  return read(self, function()
    if #self.buffer > 0 or n == 0 then return take(self, math.min(n, self.chunk)) end
    if self.eof then return nil end
    return MORE
  end)
end

---@param n integer
---@return string? data
---@return string? message
---@return string? code EOF: the stream ended before
---@return string? partial then
function Stream:readexactly(n)
  if math.type(n) ~= "integer" or n < 0 then argument.mismatch(1, "readexactly", "size", n, 2) end
  return read(self, function()
    if #self.buffer >= n then return take(self, n) end
    if self.eof then
      local partial = take(self, #self.buffer)
      return nil, "EOF: the stream ended before enough bytes had come", "EOF", partial
    end
    return MORE
  end)
end

local function until_separator(self, separator, on_end, on_found)
  return read(self, function()
    local first, last = self.buffer:find(separator, 1, true)
    local length = first and first - 1 or #self.buffer
    if length > self.limit or not first and length >= self.limit + #separator then
      return fail("EMSGSIZE", ("the limit of %d bytes is reached before the separator"):format(
        self.limit))
    end
    if first then return on_found(first, last) end
    if self.eof then return on_end() end
    return MORE
  end)
end

---@param separator string
---@return string? data with the separator
---@return string? message
---@return string? code EOF, EMSGSIZE
---@return string? partial with EOF
function Stream:readuntil(separator)
  if type(separator) ~= "string" or separator == "" then
    argument.mismatch(1, "readuntil", "separator", separator, 2)
  end
  return until_separator(self, separator, function()
    local partial = take(self, #self.buffer)
    return nil, "EOF: the stream ended before the separator", "EOF", partial
  end, function(_, last) return take(self, last) end)
end

---@param format? "l"|"L" "L": with its end
---@return string? line
---@return string? message
---@return string? code EMSGSIZE: longer than the limit
function Stream:readline(format)
  return until_separator(self, "\n", function()
    if self.buffer == "" then return nil end
    return take(self, #self.buffer)
  end, function(first, last)
    if format == "L" then return take(self, last) end
    local line = self.buffer:sub(1, first - 1):gsub("\r$", "")
    take(self, last)
    return line
  end)
end

Stream.lines = streammethods.lines

-- ---- writing ----

-- Waits while the peer has not read what is under way.
---@param ... string|number
---@return true?
---@return string? message
---@return string? code
function Stream:write(...)
  check(self, 2)
  local parts = { ... }
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) ~= "string" and type(part) ~= "number" then
      argument.mismatch(i, "write", "string", part, 2)
    end
    parts[i] = tostring(part)
  end
  if self.sent_eof then error("cannot write after write_eof()", 2) end
  local data = table.concat(parts)
  self.written = self.written .. data
  if not self.peer then return true end
  if self.peer.closed then return fail("EPIPE", "broken pipe") end
  for at = 1, #data, self.chunk do
    deliver(self, receive, data:sub(at, at + self.chunk - 1))
  end
  while #self.peer.buffer > self.window do
    wait(self)
    if self.closed then return fail("ECANCELED", "the stream was closed") end
    if self.peer.closed then return fail("EPIPE", "broken pipe") end
  end
  return true
end

-- The peer's reads come to an end behind what was written.
---@return true
function Stream:write_eof()
  check(self, 2)
  if not self.sent_eof and self.peer then deliver(self, receive_eof) end
  self.sent_eof = true
  return true
end

-- The next read of the peer, and all after it, fails with this code, as when the line breaks.
---@param code string "ECONNRESET"
function Stream:break_off(code)
  argument.text(code, 1, "break_off", 2)
  if self.peer then deliver(self, receive_error, code) end
  self.sent_eof = true -- there is no orderly end
  self:close()
end

-- ---- the rest of a stream ----

-- Twice is harmless. The peer's reads come to an end, its writes fail with EPIPE.
function Stream:close()
  if self.closed then return end
  self.closed = true
  if self.peer and not self.peer.closed then
    if not self.sent_eof then
      local time_passes = core.running_loop() or core.running_task()
      if time_passes then deliver(self, receive_eof) else receive_eof(self.peer) end
    end
    notify(self.peer) -- who writes to us finds us gone
  end
  notify(self)
end

Stream.__close = Stream.close

---@return boolean
function Stream:is_closed() return self.closed end

-- Waits until it is closed, or the line breaks.
---@return true?
---@return string? message
---@return string? code
function Stream:wait_closed()
  while not self.closed and not self.error do wait(self) end
  if self.error then return fail(self.error, "by the test") end
  return true
end

function Stream:getpeername() return self.peername or "test", 0 end
function Stream:getsockname() return self.sockname or "test", 0 end
function Stream:fileno() return fail("EBADF", "a stream in memory has no descriptor") end

function Stream:__tostring()
  return ("<testing.stream%s buffered=%d>"):format(self.closed and " closed" or "", #self.buffer)
end

argument.methods("stream", Stream)

-- ---- making ----

---@class loophost.testing.StreamOptions
---@field latency? number seconds until what is written arrives
---@field chunk? integer the most bytes that arrive, or are read, at once
---@field window? integer bytes that may lie unread before a write waits; default 64 KiB
---@field limit? integer the longest line

local OPTIONS = { latency = "number", chunk = "integer", window = "integer", limit = "integer" }

local function options(opts, who)
  opts = argument.options(opts, OPTIONS, who == "stream_pair" and 1 or 2, who, 3)
  if opts.chunk == 0 then argument.fail(1, who, "chunk must be at least 1", 3) end
  if opts.latency and (opts.latency < 0 or opts.latency ~= opts.latency) then
    argument.fail(1, who, "latency must not be negative", 3)
  end
  return opts
end

-- Two ends of a line in memory: what is written to one is read from the other.
---@param opts? loophost.testing.StreamOptions
---@return loophost.testing.Stream
---@return loophost.testing.Stream
function streams.stream_pair(opts)
  opts = options(opts, "stream_pair")
  local a, b = new(opts), new(opts)
  a.peer, b.peer = b, a
  return a, b
end

-- A stream from which the entries of the script are read: strings, with numbers of seconds
-- between them, and `{ error = "ECONNRESET" }`; then it ends. What is written to it is in its
-- field `written`.
---@param script (string|number|{ error: string })[]
---@param opts? loophost.testing.StreamOptions
---@return loophost.testing.Stream
function streams.fake_stream(script, opts)
  argument.optional(script, "table", 1, "fake_stream", 2)
  local self = new(options(opts, "fake_stream"))
  self.script = {}
  for i, entry in ipairs(script or {}) do
    local kind = type(entry)
    local known = kind == "string" or kind == "number" and entry >= 0
      or kind == "table" and type(entry.error) == "string"
    if not known then
      argument.fail(1, "fake_stream", ("entry %d: a string, a number of seconds, or "
        .. "{ error = code } expected"):format(i), 2)
    end
    self.script[i] = entry
  end
  return self
end

-- ---- a clock for code that is given one ----

---@class loophost.testing.Clock
---@field now number
---@overload fun(): number
local Clock = { __name = "loophost.testing.clock" }
Clock.__index = Clock

-- A clock that only advance() moves, for code that takes a function or an object to ask for
-- the time: `clock()` and `clock:time()` tell it.
---@param start? number
---@return loophost.testing.Clock
function streams.fake_clock(start)
  argument.seconds(start, 1, "fake_clock", 2)
  return setmetatable({ now = start or 0 }, Clock)
end

function Clock:time() return self.now end
Clock.__call = Clock.time

---@param seconds number
function Clock:advance(seconds)
  argument.seconds(seconds, 1, "advance", 2)
  if not seconds or seconds < 0 then
    argument.fail(1, "advance", "time does not go backwards", 2)
  end
  self.now = self.now + seconds
end

argument.methods("clock", Clock)

return streams
