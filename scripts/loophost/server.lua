-- server.lua -- servers: where they listen, and what becomes of their handlers' errors.
--
-- Accepting, and the task of each connection, are C's (bindings/listener.c, service.c).

local core = require "loophost.core"
local argument = require "loophost.argument"
local names = require "loophost.names"
require "loophost.streammethods"

local EventLoop = require("loophost.eventloop").EventLoop

local server = {}

local PAUSE = 0.1 -- seconds without accepting when that has failed
local PORT_ATTEMPTS = 10 -- to find a port that is free at all of the addresses
local EVERYWHERE = { "0.0.0.0", "::" }
-- What a host without IPv6 says of an IPv6 address, and the other way round.
local NO_SUCH_FAMILY = { EAFNOSUPPORT = true, EADDRNOTAVAIL = true }

local OPTIONS = {
  limit = "integer", backlog = "integer", max_connections = "integer", reuse_port = "boolean",
  ssl = "any",
}
local UNIX_OPTIONS = {
  limit = "integer", backlog = "integer", max_connections = "integer", mode = "integer",
  cleanup_socket = "boolean", ssl = "any",
}

---@class loophost.ServerOptions
---@field limit? integer the longest line of a connection's stream, in bytes (64 KiB)
---@field backlog? integer how many connections the kernel keeps until they are accepted (100)
---@field max_connections? integer handlers at a time; more connections wait in the backlog
---@field reuse_port? boolean others, with the same option, may listen at the same port
---@field mode? integer of the socket file
---@field cleanup_socket? boolean remove the socket file at the close (true)
---@field ssl? loophost.TLSOptions speak TLS, with this certificate

---@class loophost.Listener: userdata
---@field start fun(self: loophost.Listener, service: loophost.Service): true?, string?, string?
---@field resume fun(self: loophost.Listener)
---@field close fun(self: loophost.Listener)
---@field getsockname fun(self: loophost.Listener): string?, integer|string?, string?

---@class loophost.Service: userdata
---@field active fun(self: loophost.Service): integer
---@field is_idle fun(self: loophost.Service): boolean
---@field close fun(self: loophost.Service)

---@class loophost.Server
---@field private loop loophost.EventLoop
---@field private listeners loophost.Listener[]
---@field package service loophost.Service
---@field private open boolean
---@field private closed loophost.Event
---@field private finished loophost.Event closed, and of no connection goes anything on
local Server = { __name = "loophost.Server" }
Server.__index = Server

local function resume(self)
  for _, listener in ipairs(self.listeners) do listener:resume() end
end

-- Tries again after a while; by hand of a timer, as nothing else might come.
local function resume_later(self)
  self.loop:call_later(PAUSE, function()
    if self.open then resume(self) end
  end)
end

-- What C tells of, by name.
local told = {}

-- A handler has ended with an error, or one of as many as may be, or all is over.
function told.ended(self, task)
  if not self.open and self.service:is_idle() then self.finished:set() end
  resume(self)
  if not task then return end
  self.loop:call_exception_handler {
    message = "Unhandled exception in the handler of a connection",
    exception = task:exception(), traceback = task:traceback(), task = task,
  }
end

-- There are no descriptors left. It is said once; accepting goes on as soon as a stream
-- has been closed, or later.
function told.starved(self, message, _, already)
  resume_later(self)
  if already then return end
  self.loop:call_exception_handler { message = "accept failed, and is put off: " .. message }
end

function told.broken(self, message)
  resume_later(self)
  self.loop:call_exception_handler { message = "accept failed, and is put off: " .. message }
end

told.freed = resume

local function close_all(listeners)
  for _, listener in ipairs(listeners) do listener:close() end
end

-- Has all of them accept: true, or nil, message, code.
local function start_all(listeners, service)
  for _, listener in ipairs(listeners) do
    local started, message, code = listener:start(service)
    if not started then return nil, message, code end
  end
  return true
end

-- A server of the listeners, or the three results of a failure. One that accepts is held by
-- the loop: where an error is raised, for want of memory, none must stay behind.
local function new_server(fn, listeners, opts, from)
  local loop = core.running_loop() or core.get_event_loop()
  local self = setmetatable({
    loop = loop, listeners = listeners, open = true,
    closed = core.Event(), finished = core.Event(),
  }, Server)
  local function tell(what, ...) told[what](self, ...) end
  self.service = core.service(loop, fn, tell, from, opts.limit, opts.max_connections,
    math.max(opts.backlog or 100, 1))
  local ok, started, message, code = core.rawpcall(start_all, listeners, self.service)
  if ok and started then return self end
  self:close()
  if not ok then error(started, 0) end
  return nil, message, code
end

-- The addresses of the host or hosts, each once; or the three results of a failure.
local function all_addresses(host)
  if host == nil or host == "" or host == "*" then return EVERYWHERE end
  local list, seen = {}, {}
  for _, name in ipairs(type(host) == "table" and host or { host }) do
    local addresses, message, code = names.addresses(name)
    if not addresses then return nil, message, code end
    for _, address in ipairs(addresses) do
      if not seen[address] then list[#list + 1] = address end
      seen[address] = true
    end
  end
  return list
end

-- Listens at each of the addresses that this machine has. Port 0 becomes the same number
-- for all of them; "EADDRINUSE" may then mean that it was free at the first one only.
local function listen_at_all(addresses, port, opts)
  local listeners, message, code = {}, nil, nil
  for _, address in ipairs(addresses) do
    local listener, text, name = core.socket_listen(address, port, opts.backlog, opts.reuse_port)
    if listener then
      listeners[#listeners + 1] = listener
      if port == 0 then port = select(2, listener:getsockname()) end
    elseif NO_SUCH_FAMILY[name] and #addresses > 1 then
      message, code = message or text, code or name
    else
      close_all(listeners)
      return nil, text, name
    end
  end
  if #listeners == 0 then return nil, message, code end
  return listeners
end

local function check_host(host)
  if host == nil or type(host) == "string" then return end
  if type(host) ~= "table" then argument.mismatch(2, "start_server", "string", host, 3) end
  if #host == 0 then argument.fail(2, "start_server", "no host in the list", 3) end
  for i, name in ipairs(host) do
    argument.text(name, ("2 (element %d)"):format(i), "start_server", 3)
  end
end

local function check_connections(opts, arg, who)
  if opts.max_connections == 0 then
    argument.fail(arg, who, "invalid value of option 'max_connections'", 3)
  end
end

-- The handler as `opts.ssl` wants it, which begins with the handshake; or nil and the
-- results of a failure.
local function serving(fn, opts, arg, who)
  if not opts.ssl then return fn end
  local tls = require "loophost.tls"
  local checked = tls.check(opts.ssl, true, arg, who, 3)
  local context, message, code = tls.context(checked, true)
  if not context then return nil, message, code end
  return tls.serving(fn, context, checked)
end

-- Listens at all addresses of the host, and runs fn(stream) as a task for each connection.
-- If that task fails or is cancelled, the connection is closed. As asyncio.start_server.
---@param fn fun(stream: loophost.Stream)
---@param host? string|string[] nil, "" or "*": all addresses of this machine
---@param port integer 0: any that is free, the same for all addresses; getsockname tells
---@param opts? loophost.ServerOptions
---@return loophost.Server? server
---@return string? message
---@return string? code
function server.start_server(fn, host, port, opts)
  argument.body(fn, 1, "start_server", 2)
  check_host(host)
  argument.port(port, 3, "start_server", 2)
  opts = argument.options(opts, OPTIONS, 4, "start_server", 2)
  check_connections(opts, 4, "start_server")
  local from = argument.place(2)
  local handler, message, code = serving(fn, opts, 4, "start_server")
  if not handler then return nil, message, code end
  local addresses
  addresses, message, code = all_addresses(host)
  if not addresses then return nil, message, code end
  for _ = 1, port == 0 and PORT_ATTEMPTS or 1 do
    local listeners
    listeners, message, code = listen_at_all(addresses, port, opts)
    if listeners then return new_server(handler, listeners, opts, from) end
    if code ~= "EADDRINUSE" then break end
  end
  return nil, message, code
end

-- The same at the path of a Unix socket. A socket file there that nobody serves is replaced;
-- the server's own is removed when it is closed.
---@param fn fun(stream: loophost.Stream)
---@param path string abstract if it begins with a zero byte
---@param opts? loophost.ServerOptions
---@return loophost.Server? server
---@return string? message
---@return string? code
function server.start_unix_server(fn, path, opts)
  argument.body(fn, 1, "start_unix_server", 2)
  argument.socket_path(path, 2, "start_unix_server", 2)
  opts = argument.options(opts, UNIX_OPTIONS, 3, "start_unix_server", 2)
  check_connections(opts, 3, "start_unix_server")
  if opts.mode and opts.mode > 4095 then
    argument.fail(3, "start_unix_server", "invalid value of option 'mode'", 2)
  end
  local handler, message, code = serving(fn, opts, 3, "start_unix_server")
  if not handler then return nil, message, code end
  local listener
  listener, message, code =
    core.socket_listen_unix(path, opts.backlog, opts.mode, opts.cleanup_socket == false)
  if not listener then return nil, message, code end
  return new_server(handler, { listener }, opts, argument.place(2))
end

-- Accepts no more. The connections that are there go on.
function Server:close()
  if not self.open then return end
  close_all(self.listeners)
  self.service:close()
  if not EventLoop.is_closed(self.loop) then
    self.closed:set()
    if self.service:is_idle() then self.finished:set() end
  end
  self.open = false -- at last: a close that failed, for want of memory, can be repeated
end

-- Waits until it is closed and the handlers of all its connections have ended, and what TLS
-- still had to say then (for at most ssl.shutdown_timeout, 30 seconds); or its loop is closed.
---@return boolean true
function Server:wait_closed()
  if not EventLoop.is_closed(self.loop) then self.finished:wait() end
  return true
end

-- Waits until somebody closes it; closes it when it is cancelled.
function Server:serve_forever()
  local _ <close> = self
  if not EventLoop.is_closed(self.loop) then self.closed:wait() end
end

---@return boolean
function Server:is_serving()
  return self.open
end

-- Where it listens first: host and port, or the path. nil, message, code once it is closed.
---@return string? host or path
---@return integer|string? port or message
---@return string? code
function Server:getsockname()
  if not self.open then return nil, "EBADF: the server is closed", "EBADF" end
  return self.listeners[1]:getsockname()
end

-- All places where it listens, each a list { host, port } or { path }; none once it is closed.
---@return table[]
function Server:addresses()
  local list = {}
  for i, listener in ipairs(self.open and self.listeners or {}) do
    list[i] = { listener:getsockname() }
  end
  return list
end

function Server:__close()
  self:close()
end

function Server:__tostring()
  return ("<Server%s connections=%d>"):format(self.open and "" or " closed",
    self.service:active())
end

argument.methods("Server", Server)

return server
