-- The first use of threads, where memory runs out at each allocation in turn: what was made by half
-- then is garbage, and whoever uses the threads when that is collected does not suffer.
-- preload: scarce

local lh = require "loophost"

local FIRST = {
  thread = function() return lh.to_thread "return 1" end,
  file = function() return assert(lh.open_file "/dev/null"):close() end,
}

-- One that is at work for a while.
local LATER = {
  thread = function()
    return lh.to_thread [[
      local start = os.clock()
      while os.clock() - start < 0.02 do end
      return "done"]]
  end,
  file = function() -- the FIFO is written to when this waits for that
    local file <close> = assert(lh.open_file(arg[3]))
    return file:read()
  end,
}

if arg[1] then -- what runs out of memory at the N-th allocation
  local kind, n, fifo = arg[1], math.tointeger(arg[2]), arg[3]
  local held <close> = lh.timeout(30)
  local library = os.getenv("LOOPHOST"):gsub("[^/]*$", "tests/preload/scarce.so")
  local starve = assert(package.loadlib(library, "starve"))
  assert(lh.to_thread and lh.open_file) -- what Lua they need is loaded
  lh.sleep(0)
  starve(n)
  local ok, err = pcall(FIRST[kind])
  local count = starve(0)
  err = tostring(err)
  assert(ok or err:find "not enough memory" or err:find "EAGAIN" or err:find "start a thread", err)
  local task = lh.create_task(LATER[kind])
  lh.sleep(0.005)
  collectgarbage()
  collectgarbage()
  if kind == "file" then
    local file <close> = assert(io.open(fifo, "w"))
    file:write "done\n"
  end
  assert(lh.await(task) == "done")
  os.exit(count < n and 7 or 0, true)
end

local fifo = os.tmpname()
os.remove(fifo)
assert(os.execute("mkfifo " .. fifo))
for kind in pairs(FIRST) do
  local n = 0
  repeat
    n = n + (n < 60 and 1 or 7) -- those of a worker's libraries are many
    local child = assert(lh.create_subprocess_exec(os.getenv "LOOPHOST", arg[0], kind, n, fifo))
    local status = child:wait()
    assert(status == 0 or status == 7, ("%s, allocation %d: %d"):format(kind, n, status))
  until status == 7
  print(("%s: %d allocations"):format(kind, n))
  assert(n > 5)
end
os.remove(fifo)
