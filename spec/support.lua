-- A loop of its own for each test, in virtual time, closed whatever happens.
-- Works inside the host and under stock lua5.4, as long as no loop is running.

local lh = require "loophost"

local support = {}

-- In the host a CancelledError passes through busted's own pcall, too, and would end it:
-- one that leaves a test is made an ordinary failure here.
local function finish(loop, ok, ...)
  if not loop:is_running() then loop:close() end
  if ok then return ... end
  local err = ...
  if lh.iserror(err, lh.CancelledError) then err = "the test was left by " .. tostring(err) end
  error(err, 0)
end

-- fn(loop), with a loop made from `opts` (default: virtual time).
function support.with_loop(fn, opts)
  local loop = lh.new_event_loop(opts or { clock = "virtual" })
  return finish(loop, lh.rawpcall(fn, loop))
end

-- A test body that gets a loop: it("...", support.on_loop(function(loop) ... end)).
function support.on_loop(fn, opts)
  return function() support.with_loop(fn, opts) end
end

-- Runs fn(...) as a task to its end, and returns what it returns.
function support.run(fn, ...)
  local args = table.pack(...)
  return support.with_loop(function(loop)
    return loop:run_until_complete(function()
      return fn(table.unpack(args, 1, args.n))
    end)
  end)
end

-- A test body that runs fn(loop) as a task by the real clock (or opts.clock), for real I/O; it
-- must be over within `opts.within` seconds of the loop's time (60).
function support.in_real_task(fn, opts)
  opts = opts or {}
  return function()
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        local held <close> = lh.timeout(opts.within or 60)
        fn(loop)
      end)
    end, { clock = opts.clock or "monotonic" })
  end
end

-- How many descriptors below 1024 this process has open. No child is asked: popen's own pipe
-- would be counted with one end or with both.
function support.descriptors()
  local n = 0
  for fd = 0, 1023 do
    local file = io.open("/proc/self/fdinfo/" .. fd)
    if file then
      n = n + 1
      file:close()
    end
  end
  return n
end

local strings = {}

-- Lua's table of short strings is memory, too. It doubles when it is full, be it of garbage, and
-- halves when less than a quarter is in use: 32 or 64 KiB at once. These make it large for good.
local function grow_string_table()
  collectgarbage "stop"
  for i = 1, 32768 do
    local text = "short string " .. i
    if i <= 8192 then strings[i] = text end
  end
  collectgarbage "restart"
  for _ = 1, 4 do collectgarbage() end
end

-- How many KiB are in use that are no garbage.
function support.memory()
  if not strings[1] then grow_string_table() end
  collectgarbage()
  collectgarbage() -- what finalisers let go of
  return collectgarbage "count"
end

-- Lets exactly `n` turns (default 1) of a loop that is not running pass.
function support.turns(loop, n)
  for _ = 1, n or 1 do
    loop:call_soon(loop.stop, loop)
    loop:run_forever()
  end
end

-- Collects what is reported to the loop's exception handler, instead of printing it.
function support.reports(loop)
  local contexts = {}
  loop:set_exception_handler(function(_, context)
    contexts[#contexts + 1] = context
  end)
  return contexts
end

-- Calls fn() and returns what was written to io.stderr meanwhile.
function support.stderr_of(fn)
  local stderr, written = io.stderr, {}
  rawset(io, "stderr", {
    write = function(self, ...)
      for _, text in ipairs { ... } do written[#written + 1] = tostring(text) end
      return self
    end,
  })
  local ok, err = lh.rawpcall(fn)
  rawset(io, "stderr", stderr)
  if not ok then error(err, 0) end
  return table.concat(written)
end

-- fn(note) runs as a task beside a ticker that counts the turns; note(word) logs
-- "word@turn". Returns the log as a line, to be held against asyncio's.
function support.turn_log(fn)
  return support.with_loop(function(loop)
    local turn, log = 0, {}
    local function tick()
      turn = turn + 1
      if turn < 60 then loop:call_soon(tick) end
    end
    loop:run_until_complete(function()
      loop:call_soon(tick)
      fn(function(word) log[#log + 1] = word .. "@" .. turn end)
    end)
    return table.concat(log, " ")
  end)
end

-- Runs fn() and puts the current loop and the policy back as they were.
function support.keep_current(fn)
  local policy = lh.get_event_loop_policy()
  local loop = lh.get_event_loop()
  local result = table.pack(lh.rawpcall(fn))
  lh.set_event_loop_policy(policy)
  lh.set_event_loop(loop)
  if not result[1] then error(result[2], 0) end
  return table.unpack(result, 2, result.n)
end

-- The bytes of the file.
function support.contents(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- For a variable with <close>: fn(err) runs when the block is left, in whatever way.
function support.finally(fn)
  return setmetatable({}, { __close = function(_, err) fn(err) end })
end

-- The line of the caller, as "file.lua:12", for a look into a traceback.
function support.here(offset)
  local info = debug.getinfo(2, "Sl")
  return ("%s:%d"):format(info.short_src, info.currentline + (offset or 0))
end

return support
