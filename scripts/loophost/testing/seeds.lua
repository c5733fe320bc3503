-- seeds.lua -- which seeds a scenario is run with.
--
-- Seed 0 is the plain order that loops promise. Any other is an exploration: in each turn,
-- what asyncio leaves open is decided by a generator that begins with the seed.

local core = require "loophost.core"

local seeds = {}

-- The seed that was asked for: by `loophost test --seed=K`, by busted's own --seed=K, or by
-- the environment (LOOPHOST_SEED=K).
local function asked_for()
  local asked = core.defaults.test_seed or os.getenv "LOOPHOST_SEED"
  for i, word in ipairs(type(arg) == "table" and not asked and arg or {}) do
    if word == "--seed" then asked = arg[i + 1] end
    asked = word:match "^%-%-seed=(.*)$" or asked
  end
  if not asked or asked == "" then return nil end
  local seed = math.tointeger(tonumber(asked))
  if not seed then error(("the seed must be an integer: %s"):format(asked), 0) end
  return seed
end

-- The first and the last seed for a scenario that wants so many runs.
---@param count? integer
---@return integer first
---@return integer last
function seeds.range(count)
  local asked = asked_for()
  if asked then return asked, asked end
  if not count then return 0, 0 end
  return 1, math.tointeger(count) --[[@as integer]]
end

return seeds
