-- connect.lua -- connections: which address is tried when.
--
-- A host with several addresses is connected to as RFC 8305 ("happy eyeballs") says: the
-- families take turns, the next address is tried when the one before has failed or has not
-- answered for a while, and the first connection that stands is taken.
--
-- The sockets themselves are C's (bindings/socket.c) and know numeric addresses only.

local core = require "loophost.core"
local argument = require "loophost.argument"
local names = require "loophost.names"
local tasks = require "loophost.tasks"
require "loophost.streammethods"

local connect = {}

local UNIX_OPTIONS = { limit = "integer", ssl = "any" }
local OPTIONS = {
  ssl = "any",
  limit = "integer", family = "string", local_addr = "table", happy_eyeballs_delay = "number",
}
local DELAY = 0.25 -- seconds until the next address is tried, RFC 8305 section 5
local BACKLOG_PAUSE = 0.01 -- seconds until one is tried again that has too many waiting

-- What `opts.ssl` says of the connection to the host: options and context; nil without TLS;
-- or nil and the three results of a failure.
local function prepare_tls(opts, host, arg, who)
  if not opts.ssl then return nil end
  local tls = require "loophost.tls"
  local checked = tls.check(opts.ssl, false, arg, who, 3) --[[@as table]]
  checked.server_hostname = checked.server_hostname or host
  if checked.verify and not checked.server_hostname then
    argument.fail(arg, who, "option 'ssl.server_hostname' is needed to verify the peer", 3)
  end
  local context, message, code = tls.context(checked, false)
  if not context then return nil, nil, message, code end
  return checked, context
end

-- The stream, after the handshake if there is to be one.
local function finish(checked, context, stream, message, code)
  if not stream or not checked then return stream, message, code end
  return require("loophost.tls").handshake(stream, context, checked.server_hostname,
    checked)
end

-- Connects to the Unix socket. As asyncio.open_unix_connection.
---@param path string abstract if it begins with a zero byte
---@param opts? { limit?: integer, ssl?: boolean|loophost.TLSOptions }
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function connect.open_unix_connection(path, opts)
  argument.socket_path(path, 1, "open_unix_connection", 2)
  opts = argument.options(opts, UNIX_OPTIONS, 2, "open_unix_connection", 2)
  local checked, context, failure, failure_code = prepare_tls(opts, nil, 2, "open_unix_connection")
  if failure then return nil, failure, failure_code end
  local from = argument.place(2)
  while true do
    local stream, message, code = core.socket_connect_unix(path, opts.limit, from)
    if code ~= "EAGAIN" then return finish(checked, context, stream, message, code) end
    core.sleep(BACKLOG_PAUSE) -- for TCP the kernel does that
  end
end

-- ---- several addresses ----

-- The addresses in the order in which they are tried: the families take turns, beginning
-- with that of the first.
local function interleave(addresses)
  local same, other, order = {}, {}, {}
  local first = core.is_numeric_address(addresses[1])
  for _, address in ipairs(addresses) do
    local list = core.is_numeric_address(address) == first and same or other
    list[#list + 1] = address
  end
  for i = 1, math.max(#same, #other) do
    order[#order + 1] = same[i]
    order[#order + 1] = other[i]
  end
  return order
end

---@class loophost.Race
---@field winner loophost.Stream|false
---@field failures table<integer, { message: string, code: string, address: string }>
---@field failed integer how many have
---@field changed loophost.Event
---@field over boolean nobody waits for it any more
---@field error any what an attempt has raised
---@field attempts loophost.Task[]
local Race = {}
Race.__index = Race

local function try(race, i, attempt, address)
  local stream, message, code = attempt(address)
  if not stream then
    race.failures[i] = { message = message, code = code, address = address }
    race.failed = race.failed + 1
  elseif race.winner or race.over then
    stream:close()
  else
    race.winner = stream
  end
  race.changed:set()
end

-- Waits for the next failure or the winner; at most so many seconds, or for ever.
function Race:wait(seconds)
  if self.error then error(self.error, 0) end
  self.changed:clear()
  if not seconds then return self.changed:wait() end
  local timer = tasks.loop():call_later(seconds, self.changed.set, self.changed)
  local _timer <close> = setmetatable({}, { __close = function() timer:cancel() end })
  self.changed:wait()
end

-- Ends the attempts that are still under way; after an error, what has been won as well.
function Race:__close(err)
  self.over = true -- also for an attempt that memory did not suffice to note
  local running = {}
  for _, task in ipairs(self.attempts) do
    if not task:done() then
      task:cancel()
      running[#running + 1] = task
    end
  end
  if err ~= nil and self.winner then self.winner:close() end
  if running[1] then require("loophost.waits").wait(running) end
end

-- What to say when all have failed: the first failure, and if they differ, the others.
function Race:failure()
  local first, texts, differ = self.failures[1], {}, false
  for i, failure in ipairs(self.failures) do
    texts[i] = ("%s (%s)"):format(failure.message, failure.address)
    differ = differ or failure.message ~= first.message
  end
  return nil, differ and table.concat(texts, "; ") or first.message, first.code
end

-- The first connection that stands.
---@param addresses string[] in the order in which they are tried
---@param delay number seconds
---@param attempt fun(address: string): loophost.Stream?, string?, string?
local function race_to(addresses, delay, attempt)
  local race <close> = setmetatable({
    failures = {}, failed = 0, changed = core.Event(), attempts = {},
    winner = false, over = false, error = false,
  }, Race)
  local loop = tasks.loop()
  local function over(task) -- what raises, for want of memory say, ends the race
    if task:cancelled() or task:exception() == nil then return end
    race.error = task:exception()
    race.changed:set()
  end
  for i, address in ipairs(addresses) do
    race.attempts[i] = loop:create_task(try, race, i, attempt, address)
    race.attempts[i]:add_done_callback(over)
    local deadline, failed = loop:time() + delay, race.failed
    while not race.winner and race.failed == failed and loop:time() < deadline do
      race:wait(deadline - loop:time())
    end
    if race.winner then return race.winner end
  end
  while not race.winner and race.failed < #addresses do race:wait() end
  if race.winner then return race.winner end
  return race:failure()
end

-- ---- connections ----

---@class loophost.ConnectionOptions
---@field limit? integer bytes of the longest line; 64 KiB
---@field family? "inet"|"inet6" only addresses of this kind
---@field local_addr? { [1]: string, [2]: integer? } numeric address and port to connect from
---@field happy_eyeballs_delay? number seconds after which the next address is tried; 0.25
---@field ssl? boolean|loophost.TLSOptions speak TLS: true, or how

local function is_own_address(own)
  local host, port = own[1], own[2]
  if type(host) ~= "string" or not core.is_numeric_address(host) then return false end
  local number = math.type(port) and math.tointeger(port)
  return port == nil or number and number >= 0 and number <= 65535
end

local function check_options(opts)
  opts = argument.options(opts, OPTIONS, 3, "open_connection", 3)
  local family, own, delay = opts.family, opts.local_addr, opts.happy_eyeballs_delay
  if family and family ~= "inet" and family ~= "inet6" then
    argument.fail(3, "open_connection", "invalid value of option 'family'", 3)
  elseif own and not is_own_address(own) then
    argument.fail(3, "open_connection",
      "option 'local_addr' must be a list of a numeric address and a port", 3)
  elseif delay and (delay < 0 or delay ~= delay) then
    argument.fail(3, "open_connection", "invalid value of option 'happy_eyeballs_delay'", 3)
  end
  return opts
end

-- Connects to the host: to the first of its addresses that answers. As asyncio.open_connection.
---@param host string a name or a numeric address
---@param port integer
---@param opts? loophost.ConnectionOptions
---@return loophost.Stream? stream
---@return string? message
---@return string? code that of the first address, where all have failed
function connect.open_connection(host, port, opts)
  argument.text(host, 1, "open_connection", 2)
  argument.port(port, 2, "open_connection", 2)
  opts = check_options(opts)
  local checked, context, failure, failure_code = prepare_tls(opts, host, 3, "open_connection")
  if failure then return nil, failure, failure_code end
  local from = argument.place(2)
  local own = opts.local_addr or {}
  local addresses, message, code = names.addresses(host, opts.family)
  if not addresses then return nil, message, code end

  local function attempt(address)
    return core.socket_connect(address, port, opts.limit, from, own[1], own[2])
  end
  if not addresses[2] then return finish(checked, context, attempt(addresses[1])) end
  return finish(checked, context,
    race_to(interleave(addresses), opts.happy_eyeballs_delay or DELAY, attempt))
end

return connect
