-- process.lua -- child processes: what the options mean, and talking to a child.
--
-- Starting, signalling and reaping are C's (bindings/process.c).

local core = require "loophost.core"
local argument = require "loophost.argument"
local gather = require("loophost.gather").gather
require "loophost.streammethods"

local process = {}

---@class loophost.Process
---@field pid integer
---@field stdin? loophost.Stream to write to, if it is a pipe
---@field stdout? loophost.Stream to read from
---@field stderr? loophost.Stream to read from
---@field returncode? integer nil while it runs; -15: ended by signal 15
---@field wait fun(self): integer waits for its end; returns the returncode
---@field send_signal fun(self, signal: integer|string): true?, string?, string? "ESRCH" at its end
---@field terminate fun(self): true?, string?, string? SIGTERM
---@field kill fun(self): true?, string?, string? SIGKILL
---@field close fun(self) closes the pipes, kills it if it still runs; as <close> does
local Process = core.process_methods

---@alias loophost.Redirection
---| "inherit" # what we have (the default)
---| "pipe"    # a stream of the process object
---| "devnull"
---| "stdout"  # for stderr: the same as the child's stdout
---| integer   # a descriptor
---| file*     # or what has a method fileno or getfd
---| loophost.Stream # a socket then blocks: it is the child's, and should be closed here

---@class loophost.ProcessOptions
---@field stdin? loophost.Redirection
---@field stdout? loophost.Redirection
---@field stderr? loophost.Redirection
---@field cwd? string
---@field env? table<string, string|number> all of its environment; default: ours
---@field process_group? integer to join; 0: a new one
---@field start_new_session? boolean
---@field pdeathsig? integer|string the signal it gets when we (the thread that started it) end
---@field umask? integer
---@field pass_fds? any[] descriptors that it keeps under their numbers; all others are closed
---@field limit? integer the longest line of its streams, in bytes; default 64 KiB

local OPTIONS = {
  stdin = "any", stdout = "any", stderr = "any", cwd = "string", env = "table",
  process_group = "integer", start_new_session = "boolean", pdeathsig = "any",
  umask = "integer", pass_fds = "table", limit = "integer",
}
local WORDS = { inherit = true, pipe = true, devnull = true }
local INT_MAX = 0x7fffffff

-- ---- the caller's arguments ----

-- A string, or a number as one, without zero bytes: C would end it there. Else nil.
local function c_string(value)
  if type(value) == "number" then value = tostring(value) end
  if type(value) == "string" and not value:find("\0", 1, true) then return value end
end

-- What C makes of the value, or an error about the option.
local function converted(convert, value, name, arg, who, level)
  local ok, result = core.rawpcall(convert, value)
  if ok then return result end
  local reason = tostring(result):match("%((.*)%)$") or tostring(result)
  argument.fail(arg, who, ("option '%s': %s"):format(name, reason), level + 1)
end

local function redirection(opts, name, arg, who)
  local value = opts[name]
  if value == nil then return "inherit" end
  if WORDS[value] or value == "stdout" and name == "stderr" then return value end
  if type(value) == "string" then
    argument.fail(arg, who, ("invalid value of option '%s'"):format(name), 4)
  end
  converted(core.descriptor, value, name, arg, who, 4)
  return value
end

local function environment(env, arg, who)
  if env == nil then return nil end
  local list = {}
  for name, value in pairs(env) do
    local text = c_string(value)
    local usable = type(name) == "string" and name ~= "" and not name:find("[=%z]")
    if not usable or not text then
      argument.fail(arg, who, ("option 'env': invalid variable '%s'"):format(tostring(name)), 4)
    end
    list[#list + 1] = name .. "=" .. text
  end
  return list
end

local function descriptors(values, arg, who)
  if values == nil then return nil end
  local list = {}
  for i, value in ipairs(values) do
    list[i] = converted(core.descriptor, value, "pass_fds", arg, who, 4)
  end
  return list
end

local function in_range(opts, name, largest, arg, who)
  if opts[name] and opts[name] > largest then
    argument.fail(arg, who, ("invalid value of option '%s'"):format(name), 4)
  end
end

-- What process_start wants to know.
local function settings(opts, arg, who)
  opts = argument.options(opts, OPTIONS, arg, who, 3)
  if opts.cwd and not c_string(opts.cwd) then
    argument.fail(arg, who, "invalid value of option 'cwd'", 3)
  end
  in_range(opts, "umask", 511, arg, who) -- 0777
  in_range(opts, "process_group", INT_MAX, arg, who)
  in_range(opts, "limit", INT_MAX, arg, who)
  return {
    stdin = redirection(opts, "stdin", arg, who), stdout = redirection(opts, "stdout", arg, who),
    stderr = redirection(opts, "stderr", arg, who), cwd = opts.cwd,
    env = environment(opts.env, arg, who), pass_fds = descriptors(opts.pass_fds, arg, who),
    process_group = opts.process_group, start_new_session = opts.start_new_session,
    umask = opts.umask, limit = opts.limit,
    death_signal = opts.pdeathsig
      and converted(core.signal_number, opts.pdeathsig, "pdeathsig", arg, who, 3),
  }
end

local OUT_OF_DESCRIPTORS = { EMFILE = true, ENFILE = true }

local function start(file, arguments, chosen, place)
  local child, message, code = core.process_start(file, arguments, chosen, place)
  if not child and OUT_OF_DESCRIPTORS[code] then -- garbage may hold some
    collectgarbage()
    child, message, code = core.process_start(file, arguments, chosen, place)
  end
  return child, message, code
end

-- ---- starting ----

-- Starts the program, which is looked up in PATH, with the arguments; options, if any, come
-- last. As asyncio.create_subprocess_exec. The child is reaped also if nobody waits for it; one
-- that still runs when its loop is closed, or at the end of the script, is killed. os.exit
-- leaves it alone. Where SIGCHLD is ignored, or somebody else reaps, its returncode is 255.
---@param program string
---@param ... string|number|loophost.ProcessOptions
---@return loophost.Process? process
---@return string? message
---@return string? code
function process.create_subprocess_exec(program, ...)
  local who = "create_subprocess_exec"
  local given = table.pack(program, ...)
  local opts = given.n > 1 and type(given[given.n]) == "table" and given[given.n] or nil
  local count = opts and given.n - 1 or given.n
  local arguments = {}
  for i = 1, math.max(count, 1) do
    arguments[i] = c_string(given[i])
    if arguments[i] == nil then
      if type(given[i]) == "string" then argument.fail(i, who, "it contains a zero byte", 2) end
      argument.mismatch(i, who, "string", given[i], 2)
    end
  end
  return start(arguments[1], arguments, settings(opts, given.n, who), argument.place(2))
end

-- Starts the command in a shell. As asyncio.create_subprocess_shell.
---@param command string
---@param opts? loophost.ProcessOptions
---@return loophost.Process? process
---@return string? message
---@return string? code
function process.create_subprocess_shell(command, opts)
  local who = "create_subprocess_shell"
  argument.text(command, 1, who, 2)
  if not c_string(command) then argument.fail(1, who, "it contains a zero byte", 2) end
  return start("/bin/sh", { "/bin/sh", "-c", command }, settings(opts, 2, who), argument.place(2))
end

-- ---- talking to a child ----

-- It may have ended, or closed its stdin, before it has read everything: its choice.
local NOBODY_READS = { EPIPE = true, ECONNRESET = true, ECANCELED = true }

-- Writes the input to the stdin of the process, and ends it.
local function feed(stdin, input)
  if input ~= nil and input ~= "" then
    local ok, message, code = stdin:write(input)
    if not ok and not NOBODY_READS[code] then return nil, message, code end
  end
  stdin:close()
  return true
end

-- All that comes until the end; a pipe that was closed already gives nothing more.
local function drain(stream)
  if stream:is_closed() then return "" end
  return stream:read("a")
end

-- Writes the input to the child's stdin, closes that, reads its stdout and stderr to their
-- ends, all at the same time, and waits for the child. As asyncio's Process.communicate: what
-- is no pipe gives nil. After one that was cancelled or timed out a second call returns what
-- was read by the first, too; how much of the input was written is not known then.
---@param input? string
---@return string? stdout
---@return string? stderr; message of a pipe that failed
---@return string? code
function Process:communicate(input)
  argument.object(self, "Process", "communicate", 2)
  local stdin, stdout, stderr = self.stdin, self.stdout, self.stderr
  if input ~= nil then
    if not c_string(input) and type(input) ~= "string" then
      argument.mismatch(1, "communicate", "string", input, 2)
    end
    if not stdin then argument.fail(1, "communicate", "stdin is not a pipe", 2) end
  end
  local jobs, names = {}, {}
  local function add(name, job, ...)
    local arguments = table.pack(...)
    names[#names + 1] = name
    jobs[#jobs + 1] = function() return table.pack(job(table.unpack(arguments, 1, arguments.n))) end
  end
  if stdin and not stdin:is_closed() then add("stdin", feed, stdin, input) end
  if stdout then add("stdout", drain, stdout) end
  if stderr then add("stderr", drain, stderr) end
  local output = {}
  for i, result in ipairs(gather(jobs)) do
    if result[1] == nil then return nil, result[2], result[3] end
    output[names[i]] = result[1]
  end
  if stdout then stdout:close() end
  if stderr then stderr:close() end
  self:wait()
  return output.stdout, output.stderr
end

return process
