-- servers.lua -- real programs that a scenario talks to: started, waited for until they
-- answer, and ended for sure.
--
-- While a program is being waited for, real time passes: a wait for its end is under way, and
-- virtual time waits for that. Afterwards only the scenario's own connections hold it.

local core = require "loophost.core"
local argument = require "loophost.argument"
local lh = require "loophost"
local failure = require "loophost.testing.failure"
local scope = require "loophost.testing.scope"
local waitgraph = require "loophost.waitgraph"

local servers = {}

local OPTIONS = {
  port = "integer", host = "string", path = "string", within = "number", grace = "number",
  cwd = "string", env = "table", may_end = "boolean",
}
local TRY_AGAIN = 0.02 -- seconds

---@class loophost.testing.ServerOptions
---@field port? integer where it will listen; or
---@field path? string of its Unix socket
---@field host? string default: 127.0.0.1
---@field within? number seconds of real time until it answers; default 10
---@field grace? number seconds that it may take to end; default 2
---@field cwd? string
---@field env? table<string, string>
---@field may_end? boolean it may end by itself

---@class loophost.testing.Server
---@field process loophost.Process
---@field port? integer
---@field path? string
---@field host string
---@field name string of the program
---@field package grace number seconds
---@field package may_end? boolean
---@field package place string "file:line"
---@field package output file* what the program has written
---@field package stopped? boolean
local Server = { __name = "loophost.testing.Server" }
Server.__index = Server

-- A port of 127.0.0.1 that nobody listens on at this moment.
---@return integer
function servers.free_port()
  local listener, message = core.socket_listen("127.0.0.1", 0, 1)
  if not listener then error(message, 2) end
  local _, port = listener:getsockname()
  listener:close()
  return port
end

-- The last lines of what the program has written.
local function last_output(self)
  self.output:seek("set")
  local lines = {}
  for line in self.output:lines() do lines[#lines + 1] = "  | " .. line end
  if not lines[1] then return "" end
  return "; it wrote:\n" .. table.concat(lines, "\n", math.max(#lines - 9, 1))
end

local function ended_text(self)
  local code = self.process.returncode
  local how = code and code < 0 and ("by signal %d"):format(-code)
    or ("with status %s"):format(tostring(code))
  return ("%s has ended %s"):format(self.name, how)
end

-- A connection to the program.
---@param opts? table as of lh.open_connection
---@return loophost.Stream? stream
---@return string? message
---@return string? code
function Server:connect(opts)
  if self.path then return lh.open_unix_connection(self.path, opts) end
  return lh.open_connection(self.host, self.port, opts)
end

-- An answer before the program is there would be taken for its own.
local function check_that_nobody_answers(self)
  local stream = self:connect()
  if not stream then return end
  stream:close()
  error(failure.new(("%s: something answers already where %s shall"):format(self.place, self.name)),
    0)
end

local function wait_until_it_answers(self, within)
  local child = self.process
  local watcher = core.get_running_loop():create_task(child.wait, child) -- makes time real
  local _ <close> = setmetatable({}, { __close = function() watcher:cancel() end })
  local message, block
  local ok, err = core.pcall(function()
    local in_time <close> = lh.timeout(within)
    block = in_time
    repeat
      if watcher:done() then
        error(failure.new(("%s: %s before it answered%s"):format(self.place, ended_text(self),
          last_output(self))), 0)
      end
      local stream
      stream, message = self:connect()
      if stream then
        stream:close()
        return
      end
      core.sleep(TRY_AGAIN)
    until false
  end)
  if ok then return end
  if block:expired() and core.iserror(err, core.errors.TimeoutError) then
    err = failure.new(("%s: %s does not answer within %g s (%s)%s"):format(self.place, self.name,
      within, tostring(message), last_output(self)))
  end
  error(err, 0)
end

-- Ends the program: SIGTERM, after a grace period (2 s of real time) SIGKILL; and what it has
-- started and left. Harmless if it has ended.
---@return integer returncode
function Server:stop()
  if self.stopped then return self.process.returncode end
  self.stopped = true
  scope.forget(self)
  local child = self.process
  if not child.returncode then
    child:terminate()
    local ok = core.pcall(lh.wait_for, function() child:wait() end, self.grace)
    if not ok then child:close() end
    child:wait()
  end
  core.kill_group(child)
  child:close()
  self.output:close()
  return child.returncode
end

Server.__close = Server.stop

-- For the end of the test's scope: what is wrong with the program, or nil.
function Server:finish()
  local note
  if self.process.returncode and not self.may_end then
    note = ("%s, started at %s%s"):format(ended_text(self), self.place, last_output(self))
  end
  self:stop()
  return note
end

local function check_command(command, level)
  local ok = type(command) == "table" and type(command[1]) == "string"
  for i = 2, ok and #command or 0 do
    ok = ok and (type(command[i]) == "string" or type(command[i]) == "number")
  end
  if not ok then argument.mismatch(1, "spawn_server", "list of strings", command, level + 1) end
end

local function check_options(opts, level)
  opts = argument.options(opts, OPTIONS, 2, "spawn_server", level + 1)
  local function fail(text) argument.fail(2, "spawn_server", text, level + 2) end
  if not opts.port and not opts.path then fail "option 'port' or 'path' is needed" end
  if opts.port and (opts.port < 1 or opts.port > 65535) then fail "port out of range" end
  for _, name in ipairs { "within", "grace" } do
    local seconds = opts[name] or 0
    if seconds < 0 or seconds ~= seconds then fail(name .. " must not be negative") end
  end
  return opts
end

-- Starts it, in a process group of its own; it does not outlive us.
local function start(self, command, opts)
  local arguments = table.pack(table.unpack(command))
  arguments[arguments.n + 1] = {
    stdin = "devnull", stdout = self.output, stderr = "stdout", cwd = opts.cwd, env = opts.env,
    process_group = 0, pdeathsig = "SIGKILL",
  }
  local message
  self.process, message = lh.create_subprocess_exec(table.unpack(arguments, 1, arguments.n + 1))
  if not self.process then error(failure.new(("%s: %s"):format(self.place, message)), 0) end
end

-- Starts a program and waits until its port, or the socket at its path, takes connections;
-- fails if it ends before, or is too slow. It is ended with the block, or with the test,
-- which fails if it has ended by itself before that.
---@param command string[] the program and its arguments
---@param opts loophost.testing.ServerOptions
---@return loophost.testing.Server
function servers.spawn_server(command, opts)
  check_command(command, 2)
  opts = check_options(opts, 2)
  local self = setmetatable({
    name = command[1], port = opts.port, path = opts.path, host = opts.host or "127.0.0.1",
    grace = opts.grace or 2, may_end = opts.may_end, place = waitgraph.here() or "?",
  }, Server)
  core.sleep(0) -- a main task is on a loop from here on
  check_that_nobody_answers(self)
  self.output = assert(io.tmpfile())
  local ok, err = core.rawpcall(start, self, command, opts)
  if not ok then
    self.output:close()
    error(err, 0)
  end
  ok, err = core.rawpcall(wait_until_it_answers, self, opts.within or 10)
  if not ok then
    self:stop()
    error(err, 0)
  end
  scope.at_end(self)
  return self
end

argument.methods("Server", Server)

return servers
