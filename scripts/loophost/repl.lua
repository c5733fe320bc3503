-- repl.lua -- the prompt, as `lua5.4 -i` has it, where one may wait: what was started in
-- the background goes on while it runs, and while the prompt waits for a line.
--
-- SIGINT cancels the line that runs, or the one that is being typed; not the session.

local core = require "loophost.core"

local input = io.stdin

-- ---- reading a line ----

-- The next line from a file of which nothing more than that may be read ahead, for the
-- lines themselves may read stdin, too.
local function read_waiting(loop)
  local line, future = {}, loop:create_future()
  local function readable()
    local char = input:read(1)
    if char ~= nil and char ~= "\n" then
      line[#line + 1] = char
    elseif not future:done() then
      future:set_result((char ~= nil or line[1]) and table.concat(line) or nil)
    end
  end
  if not core.rawpcall(loop.add_reader, loop, 0, readable) then
    return input:read("l") -- a regular file, say: always readable
  end
  local ok, result = core.rawpcall(core.await, future)
  loop:remove_reader(0)
  if not ok then error(result, 0) end
  return result
end

local function prompt_text(name, default)
  local value = _G[name]
  if value == nil then return default end
  return tostring(value)
end

-- Returns the line, or nil at the end, or false if it was interrupted.
local function read_line(name, default, echoes)
  io.stdout:write(prompt_text(name, default)):flush()
  local ok, line = core.rawpcall(read_waiting, require("loophost.policy").get_event_loop())
  if ok then
    if line and echoes then io.stdout:write(line, "\n"):flush() end
    return line
  end
  if not core.take_interrupt() then error(line, 0) end
  io.stdout:write("\n")
  return false
end

-- ---- from lines to results ----

-- Returns a chunk, or nil and what is wrong; or nothing at the end, or if interrupted.
local function read_chunk(echoes)
  local line = read_line("_PROMPT", "> ", echoes)
  if not line then return line end
  line = line:gsub("^=", "return ", 1)
  local chunk, message = load("return " .. line .. ";", "=stdin")
  while not chunk do
    chunk, message = load(line, "=stdin")
    if chunk or not message:find("<eof>$") then break end
    local more = read_line("_PROMPT2", ">> ", echoes)
    if more == false then return false end
    if more == nil then break end
    line = line .. "\n" .. more
  end
  return chunk, message
end

local function print_results(ok, ...)
  if not ok then
    local err = ...
    if core.iserror(err, core.errors.CancelledError) and core.take_interrupt() then
      io.stderr:write("interrupted!\n")
    else
      local task = core.current_task()
      core.print_main_error(err, core.story(task, core.take_traceback(), core.take_cause(err)))
    end
  elseif select("#", ...) > 0 then
    local printed, message = core.rawpcall(print, ...)
    if not printed then
      io.stderr:write(("error calling 'print' (%s)\n"):format(message))
    end
  end
end

---@param run fun(chunk: function): boolean, ... calls it in the main task
---@param options { stdin_is_terminal: boolean }
return function(run, options)
  local echoes = not options.stdin_is_terminal
  input:setvbuf("no")
  while true do
    local chunk, message = read_chunk(echoes)
    if chunk then
      print_results(run(chunk))
    elseif message then
      io.stderr:write(message, "\n")
    elseif chunk == nil then
      break
    end
  end
  io.stdout:write("\n"):flush()
end
