local uv = require "luv"

local ops, size = tonumber(arg[1]), tonumber(arg[2])
local others = {}

local function nothing() end

for i = 1, size do
  others[i] = uv.new_timer()
  others[i]:start(10000 + i * 7919 % 40009, 0, nothing)
end
local began = os.clock()
for i = 1, ops do
  local timer = uv.new_timer()
  timer:start(10000 + i * 7907 % 40009, 0, nothing)
  timer:close()
  if i % 1000 == 0 then uv.run "nowait" end -- closing ends in the loop
end
print(("ops=%d cpu_ns=%.0f"):format(ops, (os.clock() - began) * 1e9))
os.exit(0, false)
