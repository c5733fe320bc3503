local fiber = require "fiber"

local ops = tonumber(arg[1])

local function resident()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then return tonumber(kib) * 1024 end
  end
end

local function sleeper() fiber.sleep(3600) end

collectgarbage()
local before = resident()
for _ = 1, ops do fiber.new(sleeper) end
fiber.yield()
print(("ops=%d bytes=%d"):format(ops, resident() - before))
os.exit(0)
