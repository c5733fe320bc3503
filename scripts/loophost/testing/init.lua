-- testing -- what people who write scenarios need: `local testing = require "loophost.testing"`.
--
--   describe("retry", function()
--     testing.scenario("gives up after three tries", { seeds = 20 }, function()
--       local log = testing.log()
--       local task = lh.create_task(retry, function() log "try" error "down" end)
--       testing.eventually(function() return task:done() end, { within = 60 })
--       log:is { "try", "try", "try" }
--     end)
--   end)
--
-- A scenario is an `it` of busted in a loop of its own, in virtual time. It works in
-- `loophost test`, in `busted --lua=loophost`, and in busted under lua5.4 with loophost.so.

local core = require "loophost.core"
local argument = require "loophost.argument"
require "loophost"

local testing = {}

local FROM_MODULES = {
  scenario = "scenario run",
  eventually = "eventually",
  log = "log assert_order",
  servers = "spawn_server free_port",
  streams = "stream_pair fake_stream fake_clock",
}

for module, names in pairs(FROM_MODULES) do
  for name in names:gmatch "%S+" do
    testing[name] = require("loophost.testing." .. module)[name]
  end
end

-- Chooses the clock for the tests of this block (in a `describe`), or for the rest of this
-- test; as the tags #virtual and #real do. Only in `loophost test`.
---@param clock "virtual"|"monotonic"
function testing.use_clock(clock)
  if clock ~= "virtual" and clock ~= "monotonic" then
    argument.fail(1, "use_clock", ("no such clock: %s"):format(tostring(clock)), 2)
  end
  if not core.use_clock then error("use_clock: only `loophost test` has a choice of clocks", 2) end
  core.use_clock(clock)
end

require("loophost.testing.assertions").register()

core.testing = testing
return testing
