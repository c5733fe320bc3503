-- streams.lua -- connections and servers: what is tried in which order, who runs the
-- handlers, and what becomes of their errors.
--
-- The sockets themselves are C's (bindings/socket.c) and know numeric addresses only.

local core = require "loophost.core"
local argument = require "loophost.argument"

local EventLoop = require("loophost.eventloop").EventLoop

local PAUSE = 0.1 -- seconds without accepting when descriptors have run out
local OUT_OF_RESOURCES = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }

local streams = {}

-- ---- arguments ----

local CONNECTION_OPTIONS = { limit = true }
local SERVER_OPTIONS = { limit = true, backlog = true, reuse_port = true }
local UNIX_SERVER_OPTIONS = { limit = true, backlog = true, mode = true }

-- The options, checked; those that are numbers are not negative.
local function check_options(opts, known, arg, who)
  if opts == nil then return {} end
  argument.optional(opts, "table", arg, who, 3)
  for name, value in pairs(opts) do
    if not known[name] then
      argument.fail(arg, who, ("no such option: %s"):format(tostring(name)), 3)
    end
    local number = math.tointeger(value)
    if name ~= "reuse_port" and not (number and number >= 0) then
      argument.fail(arg, who, ("invalid value of option '%s'"):format(name), 3)
    end
  end
  return opts
end

local function check_text(value, arg, who)
  if type(value) ~= "string" then argument.mismatch(arg, who, "string", value, 3) end
end

local function check_port(value, arg, who)
  local port = type(value) == "number" and math.tointeger(value)
  if not port then argument.mismatch(arg, who, "integer", value, 3) end
  if port < 0 or port > 65535 then argument.fail(arg, who, "port out of range", 3) end
end

-- The numeric addresses of the host, or the three results of a failure.
local function addresses(host)
  if host == "localhost" then return { "127.0.0.1", "::1" } end
  if core.is_numeric_address(host) then return { host } end
  return nil, ("EAI_NONAME: %s: name not known"):format(host), "EAI_NONAME"
end

-- "file:line" of the script that opens a stream, for the warning when it leaks.
local function place(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and info.currentline > 0 and ("%s:%d"):format(info.short_src, info.currentline) or nil
end

-- ---- connections ----

-- Connects to the Unix socket. As asyncio.open_unix_connection.
---@param path string abstract if it begins with a zero byte
---@param opts? { limit?: integer }
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function streams.open_unix_connection(path, opts)
  check_text(path, 1, "open_unix_connection")
  opts = check_options(opts, CONNECTION_OPTIONS, 2, "open_unix_connection")
  return core.socket_connect_unix(path, opts.limit, place(2))
end

-- Connects to the host: to the first of its addresses that answers. As asyncio.open_connection.
---@param host string
---@param port integer
---@param opts? { limit?: integer }
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function streams.open_connection(host, port, opts)
  check_text(host, 1, "open_connection")
  check_port(port, 2, "open_connection")
  opts = check_options(opts, CONNECTION_OPTIONS, 3, "open_connection")
  local list, message, code = addresses(host)
  if not list then return nil, message, code end
  local from = place(2)
  for _, address in ipairs(list) do
    local stream, text, name = core.socket_connect(address, port, opts.limit, from)
    if stream then return stream end
    if not message then message, code = text, name end -- the first address's failure
  end
  return nil, message, code
end

-- Goes through the lines of the stream, as io.lines does; raises what readline fails with.
---@param format? "l"|"L"
---@return fun(): string?
function core.stream_methods.lines(stream, format)
  return function()
    local line, message = stream:readline(format)
    if line == nil and message ~= nil then error(message, 2) end
    return line
  end
end

-- ---- servers ----

---@class loophost.Server
---@field private loop loophost.EventLoop
---@field private listener? userdata nil once closed
---@field private fn fun(stream: loophost.Stream)
---@field private limit? integer
---@field private batch integer
---@field private place? string
---@field private active integer handlers that run
---@field private closed loophost.Event
---@field private finished loophost.Event closed, and no handler runs
local Server = { __name = "loophost.Server" }
Server.__index = Server

-- The task of a connection has ended.
local function handler_done(self, stream, task)
  self.active = self.active - 1
  if self.active == 0 and not self.listener then self.finished:set() end
  if task:cancelled() then
    stream:close()
  elseif core.failed(task) then
    stream:close()
    self.loop:call_exception_handler {
      message = "Unhandled exception in the handler of a connection",
      exception = task:exception(), traceback = task:traceback(), task = task,
    }
  end
end

local function serve(self, stream)
  self.active = self.active + 1
  local task = self.loop:create_task(self.fn, stream)
  task:add_done_callback(function() handler_done(self, stream, task) end)
end

local accept_batch

local function start_accepting(self)
  if self.listener then self.loop:add_reader(self.listener, accept_batch, self) end
end

-- Accepting would fail again and again: it is put off, and said.
local function pause(self, message)
  self.loop:remove_reader(self.listener)
  self.loop:call_later(PAUSE, start_accepting, self)
  self.loop:call_exception_handler { message = "accept failed, and is put off: " .. message }
end

-- The listener is readable: takes the connections that wait, but not without end.
function accept_batch(self)
  for _ = 1, self.batch do
    if not self.listener then return end
    local stream, message, code = self.listener:accept(self.limit, self.place)
    if stream then
      serve(self, stream)
    elseif code == "EAGAIN" then
      return
    elseif OUT_OF_RESOURCES[code] then
      return pause(self, message)
    else
      return self.loop:call_exception_handler { message = "accept failed: " .. message }
    end
  end
end

local function new_server(fn, listener, opts, from)
  local self = setmetatable({
    loop = core.running_loop() or core.get_event_loop(), listener = listener, fn = fn,
    limit = opts.limit, batch = math.max(opts.backlog or 100, 1), place = from,
    active = 0, closed = core.Event(), finished = core.Event(),
  }, Server)
  start_accepting(self)
  return self
end

-- Listens at the address, and runs fn(stream) as a task for each connection. As
-- asyncio.start_server.
---@param fn fun(stream: loophost.Stream)
---@param host string
---@param port integer 0: any that is free; getsockname tells
---@param opts? { limit?: integer, backlog?: integer, reuse_port?: boolean }
---@return loophost.Server? server
---@return string? message
---@return string? code
function streams.start_server(fn, host, port, opts)
  argument.body(fn, 1, "start_server", 2)
  check_text(host, 2, "start_server")
  check_port(port, 3, "start_server")
  opts = check_options(opts, SERVER_OPTIONS, 4, "start_server")
  local list, message, code = addresses(host)
  if not list then return nil, message, code end
  local listener
  listener, message, code = core.socket_listen(list[1], port, opts.backlog, opts.reuse_port)
  if not listener then return nil, message, code end
  return new_server(fn, listener, opts, place(2))
end

-- The same at the path of a Unix socket; a socket file there that nobody serves is replaced.
---@param fn fun(stream: loophost.Stream)
---@param path string abstract if it begins with a zero byte
---@param opts? { limit?: integer, backlog?: integer, mode?: integer } mode of the file
---@return loophost.Server? server
---@return string? message
---@return string? code
function streams.start_unix_server(fn, path, opts)
  argument.body(fn, 1, "start_unix_server", 2)
  check_text(path, 2, "start_unix_server")
  opts = check_options(opts, UNIX_SERVER_OPTIONS, 3, "start_unix_server")
  local listener, message, code = core.socket_listen_unix(path, opts.backlog, opts.mode)
  if not listener then return nil, message, code end
  return new_server(fn, listener, opts, place(2))
end

-- Accepts no more. The connections that are there go on.
function Server:close()
  local listener = self.listener
  if not listener then return end
  self.listener = nil
  if not EventLoop.is_closed(self.loop) then self.loop:remove_reader(listener) end
  listener:close()
  self.closed:set()
  if self.active == 0 then self.finished:set() end
end

-- Waits until it is closed and the handlers of all its connections have ended.
---@return boolean true
function Server:wait_closed()
  self.finished:wait()
  return true
end

-- Waits until somebody closes it; closes it when it is cancelled.
function Server:serve_forever()
  local _ <close> = self
  self.closed:wait()
end

---@return boolean
function Server:is_serving()
  return self.listener ~= nil
end

-- Where it listens: host and port, or the path. nil, message, code once it is closed.
function Server:getsockname()
  if not self.listener then return nil, "EBADF: the server is closed", "EBADF" end
  return self.listener:getsockname()
end

function Server:__close()
  self:close()
end

function Server:__tostring()
  return ("<Server%s connections=%d>"):format(self.listener and "" or " closed", self.active)
end

return streams
