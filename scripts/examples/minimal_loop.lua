-- MinimalEventLoop: handles that cancel, timers, readers and writers of any descriptor,
-- futures, and the states of a loop.
local lh = require "loophost"
local socket = require "socket"
local loop = lh.new_event_loop()

-- Handles and timers
loop:call_soon(print, "soon", 1)
loop:call_soon(print, "never"):cancel()
local late = loop:call_later(3600, print, "in an hour")
loop:call_later(0.002, print, "later")
loop:call_at(loop:time() + 0.004, print, "at")
print(late:when() > loop:time(), late:cancelled())
late:cancel()
print(late:cancelled())

-- run_until_complete on a future that a timer sets
local future = loop:create_future()
loop:call_later(0.006, future.set_result, future, "several", "values")
print(loop:run_until_complete(future))

-- A reader and a writer of the same descriptor, which is LuaSocket's: independent.
local server = assert(socket.bind("127.0.0.1", 0))
local host, port = server:getsockname()
local client = assert(socket.connect(host, port))
local peer = assert(server:accept())
client:settimeout(0)
loop:add_writer(client, function()
  client:send("hello\n")
  print("writable; removed:", loop:remove_writer(client), loop:remove_writer(client))
end)
loop:add_reader(client, function()
  print("received:", client:receive("*l"))
  loop:remove_reader(client)
  loop:stop()
end)
loop:add_reader(peer:getfd(), function()
  peer:send(peer:receive("*l"):upper() .. "\n")
  loop:remove_reader(peer:getfd())
end)
loop:run_forever()

-- A pipe: any Lua file has a descriptor.
local pipe = assert(io.popen("echo from a child", "r"))
loop:add_reader(pipe, function()
  print("pipe:", pipe:read("l"))
  loop:remove_reader(pipe)
  loop:stop()
end)
loop:run_forever()
pipe:close()

-- States
loop:call_soon(function()
  print(loop:is_running(), loop:is_closed())
  print(pcall(loop.run_forever, loop))
  print(pcall(loop.close, loop))
  loop:stop()
end)
loop:run_forever()
loop:close()
print(loop:is_running(), loop:is_closed())
print(pcall(loop.call_soon, loop, print))
for _, s in ipairs { client, peer, server } do s:close() end
