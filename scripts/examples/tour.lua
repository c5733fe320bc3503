-- The tour that `make run` takes: tasks, timers, a timeout, a pipe, a socket and a signal,
-- all in one loop.
local lh = require "loophost"
local loop = lh.get_event_loop()
local began = loop:time()

local function say(...)
  print(("[%3.0f ms]"):format((loop:time() - began) * 1000), ...)
end

-- Any function may wait: no async, no await.
local function count(name, delay, n)
  for i = 1, n do
    lh.sleep(delay)
    say(name, i)
  end
  return name .. " counted to " .. n
end

-- A future turns any callback into something to wait for.
local function readable(descriptor)
  local future = loop:create_future()
  loop:add_reader(descriptor, function()
    loop:remove_reader(descriptor)
    future:set_result()
  end)
  lh.await(future)
end

say("two tasks count at the same time:")
local results = lh.gather(
  function() return count("fast", 0.010, 4) end,
  function() return count("slow", 0.200, 1) end)
say(results[1], "|", results[2])

local ok, err = pcall(lh.wait_for, function() lh.sleep(60) end, 0.02)
say("a minute's sleep, given 20 ms:", ok, err)

local pipe = assert(io.popen("sleep 0.03; echo the child has spoken", "r"))
readable(pipe)
say("from a pipe:", pipe:read("l"))
pipe:close()

local server = assert(lh.start_server(function(stream)
  for line in stream:lines() do stream:write("echo: ", line, "\n") end
  stream:close()
end, "127.0.0.1", 0))
local client = assert(lh.open_connection(server:getsockname()))
client:write "hello\n"
say("from a server:", client:readline())
client:close()
server:close()

local signalled = loop:create_future()
loop:add_signal_handler("SIGUSR1", function() signalled:set_result("SIGUSR1") end)
io.popen("kill -USR1 $PPID"):close()
say("from a child, a signal:", lh.await(signalled))
loop:remove_signal_handler("SIGUSR1")

local metrics = loop:get_metrics()
say(("%d tasks, %d callbacks, %d turns of the loop"):format(
  metrics.tasks_created, metrics.callbacks_executed, metrics.turns))
