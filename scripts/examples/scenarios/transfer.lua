-- transfer.lua -- accounts in a slow ledger, and transfers between them.
--
-- A transfer reads and writes two accounts, each with a wait: two at a time would work on
-- what is old. A lock an account, taken in the order of the names, keeps them apart.
--
-- Planted bug (BUG=transfer): the locks are taken in the order of the transfer, so that two
-- in opposite directions may wait for each other.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "transfer"

local Bank = {}
Bank.__index = Bank

---@param balances table<string, integer>
local function new(balances)
  local locks = {}
  for name in pairs(balances) do locks[name] = lh.Lock() end
  return setmetatable({ balances = balances, locks = locks }, Bank)
end

local function read(self, name)
  lh.sleep(0)
  return self.balances[name]
end

local function write(self, name, balance)
  lh.sleep(0)
  self.balances[name] = balance
end

-- Moves the amount; raises if there is not enough.
function Bank:transfer(from, to, amount)
  local first, second = from, to
  if not BUG and second < first then first, second = second, first end
  local held_first <close> = self.locks[first]:acquire()
  local held_second <close> = self.locks[second]:acquire()
  local balance = read(self, from)
  if balance < amount then error("not enough", 0) end
  write(self, from, balance - amount)
  write(self, to, read(self, to) + amount)
end

return new
