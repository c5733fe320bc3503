local uv, tasks = require "luv", require "luvtasks"

local ops = tonumber(arg[1])

local function sleeper() tasks.sleep(3600) end

collectgarbage()
local before = tasks.resident()
for _ = 1, ops do tasks.spawn(sleeper) end
uv.run "nowait"
print(("ops=%d bytes=%d"):format(ops, tasks.resident() - before))
io.stdout:flush()
os.exit(0, false)
