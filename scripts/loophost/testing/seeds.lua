-- seeds.lua -- which seeds a scenario is run with.
--
-- Seed 0 is the plain order that loops promise. Any other is an exploration: in each turn,
-- what asyncio leaves open is decided by a generator that begins with the seed.

local core = require "loophost.core"

local seeds = {}

-- The seed that was asked for: by `loophost test --seed=K`, by busted's own --seed=K, or by
-- the environment (LOOPHOST_SEED=K).
---@return integer?
function seeds.asked_for()
  local asked = core.defaults.test_seed or os.getenv "LOOPHOST_SEED"
  for i, word in ipairs(type(arg) == "table" and asked == nil and arg or {}) do
    if word == "--seed" then asked = arg[i + 1] end
    asked = word:match "^%-%-seed=(.*)$" or asked
  end
  return asked and math.tointeger(tonumber(asked))
end

-- The seeds for a scenario that wants so many runs.
---@param count? integer
---@return integer[]
function seeds.list(count)
  local asked = seeds.asked_for()
  if asked then return { asked } end
  local list = {}
  for seed = 1, count or 0 do list[seed] = seed end
  if not count then list[1] = 0 end
  return list
end

return seeds
