local uv = require "luv"
local FIRST = 10

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local turns, polls, began = 0, {}, nil

local function never() error "not readable" end

local function ready()
  turns = turns + 1
  if turns < ops then return end
  print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
  io.stdout:flush()
  os.exit(0, false)
end

for i = 1, size do
  polls[i] = uv.new_poll(FIRST + i - 1)
  polls[i]:start("r", i == 1 and ready or never)
end
began = os.clock()
uv.run()
