-- supervisor.lua -- keeps programs running: one that ends is started again, after a pause that
-- doubles as long as it keeps failing.
--
--   loophost supervisor.lua COMMAND ...     supervises shell commands until SIGTERM or SIGINT
--   loophost supervisor.lua                 supervises some of its own for a moment

local lh = require "loophost"

local LONG_ENOUGH = 10  -- seconds that a program must have run so as not to have failed
local FIRST_PAUSE = 0.1 -- seconds before a new start; doubles, up to
local LONGEST_PAUSE = 10
local GRACE = 5         -- seconds between SIGTERM and SIGKILL

local function say(name, form, ...)
  print(("%-8s %s"):format(name, form:format(...)))
  io.stdout:flush()
end

-- "exit 3", "signal 15"
local function ending(code)
  return code < 0 and "signal " .. -code or "exit " .. code
end

-- Ends the child: gently, if it lets itself be asked.
local function stop(child)
  child:terminate()
  if not pcall(lh.wait_for, function() child:wait() end, GRACE) then child:kill() end
  return child:wait()
end

-- Starts the command, passes on what it says, and waits for its end; returns its code. When
-- this is cancelled the child is stopped on the way out.
local function run_once(name, command, heard)
  local child <close> = assert(lh.create_subprocess_shell(command, {
    stdin = "devnull", stdout = "pipe", stderr = "stdout",
    process_group = 0, -- a Ctrl-C at the terminal is for us; we stop the children
    pdeathsig = "SIGKILL", -- should we be killed ourselves
  }))
  local held <close> = setmetatable({}, {
    __close = function()
      if child.returncode == nil then say(name, "stopped: %s", ending(stop(child))) end
    end,
  })
  say(name, "started")
  for line in child.stdout:lines() do
    say(name, "| %s", line)
    if heard then heard:set() end
  end
  return child:wait()
end

-- Runs the command again and again; with `patience`, until it has failed that often in a row.
-- The event is set whenever the command has said something.
local function supervise(name, command, patience, heard)
  local loop = lh.get_event_loop()
  local pause, failures = FIRST_PAUSE, 0
  while true do
    local began = loop:time()
    local code = run_once(name, command, heard)
    if loop:time() - began >= LONG_ENOUGH then
      pause, failures = FIRST_PAUSE, 0
    else
      failures = failures + 1
      if failures == patience then return say(name, "%s; given up", ending(code)) end
    end
    say(name, "%s; again in %.1f s", ending(code), pause)
    lh.sleep(pause)
    pause = math.min(pause * 2, LONGEST_PAUSE)
  end
end

-- Supervises all the commands until the task is cancelled.
local function supervise_all(commands)
  local group <close> = lh.TaskGroup()
  for i, command in ipairs(commands) do group:create_task(supervise, "#" .. i, command) end
end

-- One after another, so that it prints the same every time.
local function demonstrate()
  supervise("failing", "echo about to fail; exit 3", 3)
  supervise("killed", "kill -KILL $$", 2)
  local heard = lh.Event()
  local serving = lh.create_task(supervise, "serving", [[
    trap 'exit 0' TERM
    echo here I am
    while :; do sleep 0.05; done]], nil, heard)
  heard:wait()
  serving:cancel()
  lh.wait { serving }
end

if #arg == 0 then
  demonstrate()
else
  local task = lh.create_task(supervise_all, arg)
  lh.get_event_loop():add_signal_handler("SIGTERM", task.cancel, task)
  lh.wait { task } -- SIGINT cancels us, and so ends the program, which cancels the task
  lh.get_event_loop():remove_signal_handler("SIGTERM")
end
