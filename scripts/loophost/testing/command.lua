-- command.lua -- `loophost test`: busted in this process, with a scope around each test.
--
-- What busted does stays busted's: its options, its output. Ours are taken out of `arg`
-- before it looks, and its core gets our executor of `it` (executor.lua).

local core = require "loophost.core"

local command = {}

local HELP = [[
loophost test [options] [paths]: runs the specs of busted inside the host

  --test-timeout=SECONDS  how long a test, or what runs before and after it, may take
                          in real time (default: 10)
  --clock=virtual         time jumps to the next timer when nothing is ready, also for
                          tests that are not tagged #virtual; #real is the opposite
  --seed=K                also: scenarios are run with this seed only
  --watch                 run again whenever a file changes, until interrupted

and those of busted:

]]

-- The value of `--name=value` or `--name value` at the place in the list, and how many words
-- that takes; nil if it is another option.
local function value_of(list, at, name)
  local word = list[at]
  if word == name then return list[at + 1] or "", 2 end
  if word:sub(1, #name + 1) == name .. "=" then return word:sub(#name + 2), 1 end
end

local setters = {}

setters["--test-timeout"] = function(value, complain)
  local seconds = tonumber(value)
  if not seconds or seconds <= 0 or seconds ~= seconds then
    complain "--test-timeout needs a number of seconds"
  end
  core.defaults.test_timeout = seconds
end

setters["--lua"] = function(_, complain)
  complain "--lua: `loophost test` is itself the interpreter"
end

setters["--clock"] = function(value, complain)
  if value ~= "virtual" and value ~= "monotonic" then
    complain "--clock must be virtual or monotonic"
  end
  core.defaults.clock = value
end

-- Options of busted whose value is the next word, whatever that looks like.
local WITH_VALUE = {}
for name in ([[-p -e -o -C -f -t -m -r -Xoutput -Xhelper --pattern --exclude-pattern --output
    --directory --config-file --coverage-config-file --tags --exclude-tags --filter --filter-out
    --lpath --cpath --run --repeat --lang --loaders --helper]]):gmatch "%S+" do
  WITH_VALUE[name] = true
end

-- Takes our options out of the list; whether --watch was among them.
local function take_options(list, complain)
  local rest, watch, at = { "--ignore-lua" }, false, 1 -- what .busted says of it
  while list[at] and list[at] ~= "--" do
    local taken = 0
    for name, set in pairs(setters) do
      local value, words = value_of(list, at, name)
      if value then
        set(value, complain)
        taken = words
        break
      end
    end
    if list[at] == "--watch" then watch, taken = true, 1 end
    if list[at] == "--help" or list[at] == "-h" then io.stdout:write(HELP):flush() end
    local seed = value_of(list, at, "--seed")
    if seed then
      core.defaults.test_seed = math.tointeger(tonumber(seed))
      if not core.defaults.test_seed then complain "--seed must be an integer" end
    end
    if taken == 0 then
      taken = WITH_VALUE[list[at]] and 2 or 1
      table.move(list, at, at + taken - 1, #rest + 1, rest)
    end
    at = at + taken
  end
  table.move(list, at, #list, #rest + 1, rest)
  for i = 1, math.max(#list, #rest) do list[i] = rest[i] end
  return watch
end

-- What busted's runner shall find: `list` is `arg`. Returns the function that is to be run,
-- or nil for busted's runner.
---@param list string[]
---@param complain fun(message: string) raises it
---@return function?
function command.prepare(list, complain)
  local all = table.move(list, 1, #list, 1, {})
  if take_options(list, complain) then
    return function() return require("loophost.testing.watch").run(all) end
  end
  local ok, new_core = core.rawpcall(require, "busted.core")
  if not ok then complain("busted is not installed: " .. tostring(new_core)) end
  require "loophost.testing"
  local customize = require("loophost.testing.executor").customize
  package.loaded["busted.core"] = function(...) return customize(new_core(...)) end
end

return command
