local cqueues = require "cqueues"

local ops = tonumber(arg[1])
local cq = cqueues.new()

local function resident()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then return kib * 1024 end
  end
end

local function sleeper() cqueues.sleep(3600) end

collectgarbage()
local before = resident()
for _ = 1, ops do cq:wrap(sleeper) end
assert(cq:step(0))
print(("ops=%d bytes=%d"):format(ops, resident() - before))
io.stdout:flush()
os.exit(0, false)
