-- watch.lua -- `loophost test --watch`: runs the tests again whenever a file has changed.
--
-- Each run is a process of its own, so that nothing is left of the one before. The directories
-- below the current one, and below the specs', are watched; what comes in a burst (an editor
-- that writes a file by moving another) is one change, and a run that is under way when a file
-- changes is ended.

local core = require "loophost.core"
local lh = require "loophost"

local watch = {}

local lfs -- loaded when it is needed: busted has brought it

local QUIET = 0.1 -- seconds without a change that end a burst
local GRACE = 2 -- seconds that a run may take to end; what it has started ends with it
local MAX_NAMES = 5 -- of files that have changed
local ENDINGS = { lua = true, moon = true, fnl = true, so = true, json = true, txt = true }

-- Whether a change of the file may change what the tests say.
local function matters(name)
  if name:find "^%." and name ~= ".busted" then return false end
  return name == ".busted" or ENDINGS[name:match "%.(%w+)$"] or false
end

-- The current directory, and those of the paths among the arguments.
local function roots_of(arguments)
  local list = { "." }
  for _, word in ipairs(arguments) do
    local mode = lfs.attributes(word, "mode")
    if mode == "file" then word = word:match "^(.*)/" or "." end
    if mode then list[#list + 1] = word end
  end
  return list
end

-- The directories and every one below them, but for hidden ones and what is built.
local function directories(roots)
  local list = table.move(roots, 1, #roots, 1, {})
  local at = 0
  while list[at + 1] do
    at = at + 1
    local ok, entries, state = core.rawpcall(lfs.dir, list[at])
    if ok then
      for name in entries, state do
        local path = list[at] .. "/" .. name
        local hidden = name:sub(1, 1) == "." or name == "node_modules"
        if not hidden and lfs.symlinkattributes(path, "mode") == "directory" then
          list[#list + 1] = path
        end
      end
    end
  end
  return list
end

---@class loophost.testing.Watcher
---@field inotify any
---@field paths table<integer, string> watched directories
---@field roots string[]
local Watcher = { __name = "loophost.testing.Watcher" }
Watcher.__index = Watcher

local function new_watcher(roots)
  local inotify, message = core.inotify()
  if not inotify then error("--watch: " .. message, 0) end
  local self = setmetatable({ inotify = inotify, paths = {}, roots = roots }, Watcher)
  self:look_everywhere()
  return self
end

-- Watches directories that it does not watch yet.
function Watcher:look_everywhere()
  for _, path in ipairs(directories(self.roots)) do
    local number, message, code = self.inotify:add(path)
    if number then
      self.paths[number] = path
    elseif code == "ENOSPC" then
      error(("--watch: %s: too many directories (fs.inotify.max_user_watches)"):format(message), 0)
    end
  end
end

-- The files that have changed since it was asked last, as a set; whether any has.
function Watcher:take(changed)
  local any = false
  while true do
    local events = self.inotify:read()
    if not events or not events[1] then return any end
    for _, event in ipairs(events) do
      local number, name, is_directory = table.unpack(event)
      -- in a new directory there may be files before it is watched
      if is_directory then self:look_everywhere() end
      if is_directory or matters(name) then
        changed[(self.paths[number] or "?") .. "/" .. name] = true
        any = true
      end
    end
  end
end

-- Waits for a change, and for the end of its burst.
---@return string[] paths
function Watcher:wait()
  local loop = core.get_running_loop()
  local changed = {}
  local event = core.Event()
  loop:add_reader(self.inotify, function()
    if self:take(changed) then event:set() end
  end)
  local _ <close> = setmetatable({}, { __close = function() loop:remove_reader(self.inotify) end })
  repeat
    event:wait()
    repeat
      event:clear()
      core.sleep(QUIET)
    until not event:is_set()
  until next(changed) ~= nil
  local list = {}
  for path in pairs(changed) do list[#list + 1] = path:gsub("^%./", "") end
  table.sort(list)
  return list
end

function Watcher:__close()
  self.inotify:close()
end

-- The arguments without --watch.
local function without_watch(arguments)
  local list = {}
  for _, word in ipairs(arguments) do
    if word ~= "--watch" then list[#list + 1] = word end
  end
  return list
end

-- Interrupts the run, so that it cleans up.
local function end_run(child, ending)
  child:send_signal "SIGINT"
  if #lh.wait({ ending }, { timeout = GRACE }) == 0 then child:kill() end
  core.await(ending)
end

local function summary(paths)
  if #paths <= MAX_NAMES then return table.concat(paths, " ") end
  return ("%s and %d more"):format(table.concat(paths, " ", 1, MAX_NAMES), #paths - MAX_NAMES)
end

-- Runs the tests, with these arguments, again and again, until it is interrupted.
---@param arguments string[]
function watch.run(arguments)
  core.sleep(0) -- on the loop from here on
  lfs = require "lfs"
  local list = without_watch(arguments)
  local watcher <close> = new_watcher(roots_of(list))
  while true do
    local words = { "/proc/self/exe", "test", table.unpack(list) }
    local child = assert(lh.create_subprocess_exec(table.unpack(words)))
    local loop = core.get_running_loop()
    local ending = loop:create_task(child.wait, child)
    local changed = watcher:wait()
    if not ending:done() then end_run(child, ending) end
    io.stdout:write(("\n---- %s\n"):format(summary(changed)))
    io.stdout:flush()
  end
end

return watch
