-- server.lua -- servers: who runs the handlers, and what becomes of their errors.

local core = require "loophost.core"
local argument = require "loophost.argument"
local names = require "loophost.names"
require "loophost.lines"

local EventLoop = require("loophost.eventloop").EventLoop

local server = {}

local PAUSE = 0.1 -- seconds without accepting when descriptors have run out
local OUT_OF_RESOURCES = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }

local OPTIONS = { limit = "integer", backlog = "integer", reuse_port = "boolean" }
local UNIX_OPTIONS = { limit = "integer", backlog = "integer", mode = "integer" }

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
function server.start_server(fn, host, port, opts)
  argument.body(fn, 1, "start_server", 2)
  argument.text(host, 2, "start_server", 2)
  argument.port(port, 3, "start_server", 2)
  opts = argument.options(opts, OPTIONS, 4, "start_server", 2)
  local list, message, code = names.addresses(host)
  if not list then return nil, message, code end
  local listener
  listener, message, code = core.socket_listen(list[1], port, opts.backlog, opts.reuse_port)
  if not listener then return nil, message, code end
  return new_server(fn, listener, opts, argument.place(2))
end

-- The same at the path of a Unix socket; a socket file there that nobody serves is replaced.
---@param fn fun(stream: loophost.Stream)
---@param path string abstract if it begins with a zero byte
---@param opts? { limit?: integer, backlog?: integer, mode?: integer } mode of the file
---@return loophost.Server? server
---@return string? message
---@return string? code
function server.start_unix_server(fn, path, opts)
  argument.body(fn, 1, "start_unix_server", 2)
  argument.text(path, 2, "start_unix_server", 2)
  opts = argument.options(opts, UNIX_OPTIONS, 3, "start_unix_server", 2)
  local listener, message, code = core.socket_listen_unix(path, opts.backlog, opts.mode)
  if not listener then return nil, message, code end
  return new_server(fn, listener, opts, argument.place(2))
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

return server
