-- repl.lua -- the prompt, as `lua5.4 -i` has it, where one may wait: what was started in
-- the background goes on while it runs, and while the prompt waits for a line.
--
-- SIGINT cancels the line that runs, or the one that is being typed; not the session.

local core = require "loophost.core"

local input = io.stdin

-- ---- reading a line ----

-- Calls feed() whenever stdin is readable, until it returns a line, or nil at the end:
-- anything but false.
local function wait_for_line(feed)
  local loop = require("loophost.policy").get_event_loop()
  local future = loop:create_future()
  local function readable()
    local line = feed()
    if line ~= false and not future:done() then future:set_result(line) end
  end
  local ok, result = core.rawpcall(loop.add_reader, loop, 0, readable)
  if ok then
    ok, result = core.rawpcall(core.await, future)
  elseif not core.iserror(result, core.errors.CancelledError) then
    local line -- a regular file, say: always readable
    repeat line = feed() until line ~= false
    return line
  end
  loop:remove_reader(0)
  if not ok then error(result, 0) end
  return result
end

-- A feed that reads no further than to the end of the line, for the line itself may read
-- stdin, too.
local function plain_feed()
  local line = {}
  return function()
    local char = input:read(1)
    if char ~= nil and char ~= "\n" then
      line[#line + 1] = char
      return false
    end
    return (char ~= nil or line[1]) and table.concat(line) or nil
  end
end

local function edit_line()
  local ok, line = core.rawpcall(wait_for_line, core.lineedit_feed)
  core.lineedit_stop()
  if not ok then error(line, 0) end
  return line
end

local function prompt_text(name, default)
  local value = _G[name]
  if value == nil then return default end
  return tostring(value)
end

-- Returns the line, or nil at the end. What is not typed at a terminal is shown, as
-- readline does it.
local function read_line(name, default, is_terminal)
  local prompt = prompt_text(name, default)
  io.stdout:flush()
  if is_terminal and core.lineedit_start(prompt) then return edit_line() end
  io.stdout:write(prompt):flush()
  local line = wait_for_line(plain_feed())
  if line and not is_terminal then io.stdout:write(line, "\n"):flush() end
  return line
end

-- ---- from lines to results ----

-- Returns a chunk, or nil and what is wrong, or nothing at the end.
local function read_chunk(is_terminal)
  local line = read_line("_PROMPT", "> ", is_terminal)
  if not line then return nil end
  line = line:gsub("^=", "return ", 1)
  local chunk, message = load("return " .. line .. ";", "=stdin")
  while not chunk do
    chunk, message = load(line, "=stdin")
    if chunk or not message or not message:find("<eof>$") then break end
    local more = read_line("_PROMPT2", ">> ", is_terminal)
    if not more then break end
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
      local traceback, cause = core.take_traceback(), core.take_cause(err)
      core.print_main_error(err, core.story(task, traceback, cause, true))
    end
  elseif select("#", ...) > 0 then
    local printed, message = core.rawpcall(print, ...)
    if not printed then
      io.stderr:write(("error calling 'print' (%s)\n"):format(message))
    end
  end
end

-- Reads, runs and prints once; whether there is more.
local function turn(run, is_terminal)
  local chunk, message = read_chunk(is_terminal)
  if chunk then
    print_results(run(chunk))
  elseif message then
    io.stderr:write(message, "\n")
  end
  return chunk or message
end

---@param run fun(chunk: function): boolean, ... calls it in the main task
---@param options { stdin_is_terminal: boolean }
return function(run, options)
  input:setvbuf("no")
  while true do
    local ok, result = core.rawpcall(turn, run, options.stdin_is_terminal)
    if ok and not result then break end
    if not ok then -- interrupted while the prompt waited
      if not core.take_interrupt() then error(result, 0) end
      io.stdout:write("\n")
    end
  end
  io.stdout:write("\n"):flush()
end
