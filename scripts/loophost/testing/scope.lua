-- scope.lua -- what a test leaves behind: found, named with the line that made it, and done
-- away with.
--
-- A scope remembers what was there when it began. At its end, what has come is given a
-- moment to go by itself: a task that is cancelled, a connection that is closed, end in one
-- of the next turns.

local core = require "loophost.core"
local policy = require "loophost.policy"
local reports = require "loophost.reports"
local runner = require "loophost.runner"
local failure = require "loophost.testing.failure"
local limit = require "loophost.testing.limit"
local waitgraph = require "loophost.waitgraph"

local methods = core.methods

local scope = {}

local TURNS, SETTLE_SECONDS = 50, 0.02 -- the moment: so many turns, and as long in real time
local MAX_LINES, MAX_ERRORS = 50, 10 -- that are told of

---@class loophost.testing.Scope
---@field before table<any, integer|true> what was there
---@field was_tracking boolean
---@field uncaught string[] what the loops have reported, first
---@field uncaught_count integer
---@field place string
---@field outer? loophost.testing.Scope
---@field finishers { finish: fun(self): string? }[]
---@field notes string[] what is to be said of the test
local Scope = { __name = "loophost.testing.Scope" }
Scope.__index = Scope

local innermost -- the scope that was entered last and not left

-- A thread's call has no object of its own: the worker may make another one later.
local function identity(entry)
  return entry.number or true
end

---@param place string "file:line" of the test, or the file
---@return loophost.testing.Scope
function scope.enter(place)
  local self = setmetatable({
    before = {}, was_tracking = core.track(true), uncaught = {}, uncaught_count = 0,
    finishers = {}, outer = innermost, place = place, notes = {},
  }, Scope)
  innermost = self
  core.note_wait = waitgraph.note_wait
  for _, entry in ipairs(core.inventory()) do self.before[entry.object] = identity(entry) end
  return self
end

-- The loop is not the test's to close.
---@param loop loophost.EventLoop
function scope.excuse(loop)
  core.unlist_object(loop)
end

-- Has the loop's errors that nobody catches collected instead of printed; a handler of the
-- test's own gets them all the same.
---@param loop loophost.EventLoop
function Scope:collect_errors(loop)
  loop.errors_collected = true
  function loop.default_exception_handler(_, context)
    local lines = { tostring(context.message) }
    if context.exception ~= nil then lines[2] = failure.text(context.exception) end
    if context.traceback ~= nil then lines[#lines + 1] = tostring(context.traceback) end
    self.uncaught_count = self.uncaught_count + 1
    if self.uncaught_count <= MAX_ERRORS then
      table.insert(self.uncaught, table.concat(lines, "\n"))
    end
  end
end

-- Has object:finish() called at the end of the innermost scope, as a task on the loop that
-- runs now: what it returns is said of the test.
---@param object { finish: fun(self): string? }
function scope.at_end(object)
  if not innermost then return end
  table.insert(innermost.finishers, { object = object, loop = core.running_loop() })
end

-- It has been finished already.
function scope.forget(object)
  local at = innermost
  while at do
    for i = #at.finishers, 1, -1 do
      if at.finishers[i].object == object then table.remove(at.finishers, i) end
    end
    at = at.outer
  end
end

-- Runs fn(...), which runs loops of the test; a note is made if it does not end by itself.
---@return boolean ok
function Scope:within_limit(fn, ...)
  local ok, verdict = limit.after("what the test has left behind", self.place, fn, ...)
  table.insert(self.notes, verdict)
  return ok
end

-- Finishes what is to be finished, the last one first.
local function finish(self)
  while #self.finishers > 0 do
    local finisher = table.remove(self.finishers)
    local loop, object = finisher.loop, finisher.object
    if loop and not methods.is_closed(loop) then
      local ok, note = core.rawpcall(methods.run_until_complete, loop,
        function() return object:finish() end)
      if not ok or note then table.insert(self.notes, tostring(note)) end
    end
  end
end

local function earlier(first, second)
  return first.number < second.number
end

-- What has come since: what loops have, and then what is open, in the order in which it was
-- made.
local function left_behind(self)
  local entries, open = {}, {}
  for _, entry in ipairs(core.inventory()) do
    if self.before[entry.object] ~= identity(entry) then
      table.insert(entry.number and open or entries, entry)
    end
  end
  table.sort(open, earlier)
  return table.move(open, 1, #open, #entries + 1, entries)
end

local VERBS = {
  ["child process"] = "started", ["call in a thread"] = "begun", stream = "opened",
  server = "opened", file = "opened", ["datagram endpoint"] = "opened",
  ["pipe of a child process"] = "opened", inotify = "opened",
}

local function describe(entry)
  local text, object = entry.kind, entry.object
  if entry.detail then text = ("%s %s"):format(text, entry.detail) end
  if entry.kind == "task" then
    local what, where = core.task_waits(object)
    local created = waitgraph.created(object)
    if created then text = ("%s, created at %s"):format(text, created) end
    if where then text = ("%s, waits for %s at %s"):format(text, what, where) end
    return text
  end
  if entry.kind == "server" then
    local host, port = object:getsockname()
    text = port and ("server at %s, port %d"):format(host, port) or ("server at %s"):format(host)
  end
  local place = entry.place or core.place_of(object)
  return place and ("%s, %s at %s"):format(text, VERBS[entry.kind] or "made", place) or text
end

-- The loops of the entries that can be run.
local function loops_of(entries)
  local loops, seen = {}, {}
  local function add(loop)
    if loop == nil or seen[loop] then return end
    seen[loop] = true
    local can_run = not methods.is_closed(loop) and not methods.is_running(loop)
    if can_run then loops[#loops + 1] = loop end
  end
  for _, entry in ipairs(entries) do add(entry.loop) end
  add(policy.current_loop_or_nil())
  return loops
end

-- One turn of the loop, without waiting for anything.
local function turn(loop)
  methods.call_soon(loop, methods.stop, loop)
  core.rawpcall(methods.run_forever, loop)
end

local function settle(self)
  local began, turns = core.monotonic(), 0
  local entries = left_behind(self)
  while entries[1] and (turns < TURNS or core.monotonic() - began < SETTLE_SECONDS) do
    local loops = loops_of(entries)
    if not loops[1] then break end
    for _, loop in ipairs(loops) do turn(loop) end
    turns = turns + 1
    if turns <= TURNS or turns % 64 == 0 then entries = left_behind(self) end
  end
end

-- ---- doing away with it ----

local function end_tasks(self, entries)
  local lists, loops = {}, {}
  for _, entry in ipairs(entries) do
    if entry.kind == "task" then
      if not lists[entry.loop] then
        lists[entry.loop], loops[#loops + 1] = {}, entry.loop
      end
      table.insert(lists[entry.loop], entry.object)
    end
  end
  for _, loop in ipairs(loops) do
    if not self:within_limit(runner.cancel, loop, lists[loop]) then -- or wait in vain
      for _, task in ipairs(lists[loop]) do
        if not task:done() then core.detach(task) end
      end
    end
  end
end

local function discard(entry)
  local object, loop = entry.object, entry.loop
  if entry.kind == "timer" or entry.kind == "callback" then
    object:cancel()
  elseif entry.kind == "reader" then
    methods.remove_reader(loop, entry.fd)
  elseif entry.kind == "writer" then
    methods.remove_writer(loop, entry.fd)
  elseif entry.kind == "signal handler" then
    methods.remove_signal_handler(loop, entry.signal)
  elseif entry.kind == "child process" then
    object:close()
    methods.run_until_complete(loop, function() object:wait() end)
  elseif entry.kind == "event loop" then
    methods.close(object)
  elseif entry.kind ~= "task" and entry.kind ~= "call in a thread" then -- that goes on
    object:close()
  end
end

local function clean(self, entries)
  end_tasks(self, entries)
  for _, entry in ipairs(entries) do
    core.rawpcall(discard, entry) -- what has gone with its task already complains here
    core.leave_loop() -- closing a file is a wait
  end
end

-- What could not be undone has been told of: it is no news to the scopes around.
local function forgive(self, entries)
  local outer = self.outer
  while outer do
    for _, entry in ipairs(entries) do outer.before[entry.object] = identity(entry) end
    outer = outer.outer
  end
end

-- Ends the scope, which must be the innermost: no loop may be running. Returns what is to be
-- said about it, or nil.
---@param opts? { tasks: boolean } tasks: false: that tasks were left is known already
---@return string? note several lines
function Scope:leave(opts)
  require("loophost.clock").clock.unbind_os()
  local notes = self.notes
  self:within_limit(finish, self)
  innermost = self.outer
  self:within_limit(settle, self)
  local entries = left_behind(self)
  local lines, counts = {}, {}
  for _, entry in ipairs(entries) do
    if entry.kind ~= "task" or not opts or opts.tasks then
      local line = "  " .. describe(entry)
      if not counts[line] then lines[#lines + 1] = line end
      counts[line] = (counts[line] or 0) + 1
    end
  end
  for i, line in ipairs(lines) do
    if counts[line] > 1 then lines[i] = ("%s (%d of them)"):format(line, counts[line]) end
  end
  local more = #lines - MAX_LINES
  if more > 0 then lines[MAX_LINES + 1] = ("  and %d more lines as these"):format(more) end
  for _ = 1, 3 do -- cleanup may make something, too
    if not entries[1] then break end
    self:within_limit(clean, self, entries)
    entries = left_behind(self)
  end
  forgive(self, entries)
  self:within_limit(function()
    for _, loop in ipairs(loops_of(entries)) do turn(loop) end
  end)
  if not self.was_tracking then core.track(false) end
  if lines[1] then
    local text = table.concat(lines, "\n", 1, math.min(#lines, MAX_LINES + 1))
    table.insert(notes, 1, "something was left behind:\n" .. text)
  end
  return notes[1] and table.concat(notes, "\n") or nil
end

-- What was reported of errors that nobody caught, in the loops and in their futures.
---@param loops loophost.EventLoop[]
---@return string? note several lines
function Scope:take_uncaught(loops)
  for _, loop in ipairs(loops) do reports.report_unretrieved_of(loop) end
  local uncaught, count = self.uncaught, self.uncaught_count
  self.uncaught, self.uncaught_count = {}, 0
  if not uncaught[1] then return nil end
  if count > #uncaught then
    table.insert(uncaught, ("and %d more"):format(count - #uncaught))
  end
  return "an error that nobody caught:\n" .. table.concat(uncaught, "\n")
end

return scope
