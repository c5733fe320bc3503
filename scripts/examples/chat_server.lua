-- chat_server.lua -- what one says, all others hear.
--
--   loophost chat_server.lua 7008     serves on that port; try:  nc localhost 7008
--   loophost chat_server.lua          three people talk, on a port that is free
--
-- Each person has a queue of what she has yet to hear, and a task that writes it: so one
-- whose connection is slow, or who has fallen asleep, does not keep the others waiting.

local lh = require "loophost"

local BACKLOG = 100 -- lines; who is further behind is shown out

local people = {} -- name -> queue

local function tell(text, except)
  for name, queue in pairs(people) do
    if name ~= except and not pcall(queue.put_nowait, queue, text) then queue:shutdown(true) end
  end
end

local function write_all(stream, queue)
  pcall(function() -- until the queue is shut down
    while stream:write(queue:get(), "\n") do end
  end)
  stream:close()
end

local function chat(stream)
  stream:write("your name? ")
  local name = stream:readline()
  if not name or name == "" or people[name] then
    stream:write("somebody else has that name\n")
    return stream:close()
  end
  local queue = lh.Queue(BACKLOG)
  people[name] = queue
  local _leaves <close> = setmetatable({}, { __close = function()
    people[name] = nil
    queue:shutdown(true)
    tell(name .. " has left")
  end })
  tell(name .. " has come", name)
  local writer = lh.create_task(write_all, stream, queue)
  while true do
    local line = stream:readline()
    if not line then break end
    tell(name .. ": " .. line, name)
  end
  queue:shutdown()
  lh.await(writer)
end

local port = tonumber(arg[1])
local server <close> = assert(lh.start_server(chat, "127.0.0.1", port or 0))

if port then
  print("chat on port " .. port)
  server:serve_forever()
end

-- ---- three people ----

local function join(name)
  local stream = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
  stream:readuntil "? "
  stream:write(name, "\n")
  while not people[name] do lh.sleep(0) end
  return stream
end

local anna, bert = join "Anna", join "Bert"
print("Anna hears: " .. anna:readline())
local carl = join "Carl"
print("Anna hears: " .. anna:readline())
print("Bert hears: " .. bert:readline())
anna:write "Hello, you two!\n"
print("Bert hears: " .. bert:readline())
print("Carl hears: " .. carl:readline())
carl:write "Bye.\n"
print("Anna hears: " .. anna:readline())
carl:close()
print("Anna hears: " .. anna:readline())
print("Bert hears: " .. bert:readline())
print("Bert hears: " .. bert:readline())
anna:close()
bert:close()
server:close()
server:wait_closed()
