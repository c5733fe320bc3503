-- redis_client.lua -- a client of Redis whose tasks share a connection: what they ask goes
-- out in one stream, and the answers come back in order.
--
--   loophost redis_client.lua PATH|PORT COMMAND ARGUMENT ...     one command
--   loophost redis_client.lua PATH|PORT N     counts to N from 100 tasks, and tells how fast
--   loophost redis_client.lua                 talks to a small part of Redis of its own

local lh = require "loophost"

-- ---- the protocol ----

local function encode(...)
  local parts = { ("*%d\r\n"):format(select("#", ...)) }
  for i, argument in ipairs { ... } do
    argument = tostring(argument)
    parts[i + 1] = ("$%d\r\n%s\r\n"):format(#argument, argument)
  end
  return table.concat(parts)
end

-- A string, an integer, a list or nil; behind nil, what the server complains of.
local function decode(stream)
  local line = assert(stream:readline())
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then return rest end
  if kind == "-" then return nil, rest end
  if kind == ":" then return math.tointeger(rest) end
  local length = math.tointeger(rest)
  if length < 0 then return nil end
  if kind == "$" then return (assert(stream:readexactly(length + 2)):sub(1, -3)) end
  local list = { n = length }
  for i = 1, length do list[i] = decode(stream) end
  return list
end

-- ---- the client ----

local Client = {}
Client.__index = Client

-- Gives each answer to the one who has waited longest.
local function read_answers(self)
  while true do
    local answer, complaint = decode(self.stream)
    local asked = table.remove(self.asked, 1)
    if not asked:done() then -- who asked may have been cancelled
      if complaint then asked:set_exception(complaint) else asked:set_result(answer) end
    end
  end
end

-- Sends what has been asked since the last time, all at once.
local function write_questions(self)
  while true do
    self.something:wait()
    self.something:clear()
    local questions = self.questions
    self.questions = {}
    assert(self.stream:write(table.concat(questions)))
  end
end

local function connect(address)
  local port = math.tointeger(address)
  local stream = port and assert(lh.open_connection("127.0.0.1", port))
    or assert(lh.open_unix_connection(address))
  local self = setmetatable({
    stream = stream, asked = {}, questions = {}, something = lh.Event(),
  }, Client)
  self.tasks = { lh.create_task(read_answers, self), lh.create_task(write_questions, self) }
  return self
end

-- The answer to the command; raises what the server complains of.
function Client:call(...)
  local answer = lh.get_event_loop():create_future()
  table.insert(self.asked, answer)
  table.insert(self.questions, encode(...))
  self.something:set()
  return lh.await(answer)
end

function Client:close()
  for _, task in ipairs(self.tasks) do task:cancel() end
  lh.wait(self.tasks)
  self.stream:close()
end
Client.__close = Client.close

-- ---- what it is used for ----

local function count(client, n)
  client:call("SET", "counter", 0)
  do
    local group <close> = lh.TaskGroup()
    for _ = 1, 100 do
      group:create_task(function()
        for _ = 1, n // 100 do client:call("INCR", "counter") end
      end)
    end
  end
  return client:call("GET", "counter")
end

-- The part of Redis that `count` needs.
local function serve(stream)
  local _ <close> = stream
  local values = {}
  while true do
    local request = stream:readline()
    if not request then return end
    local words = {}
    for i = 1, math.tointeger(request:sub(2)) do
      words[i] = stream:readexactly(math.tointeger(stream:readline():sub(2)) + 2):sub(1, -3)
    end
    local name, key, value = table.unpack(words)
    if name == "SET" then
      values[key] = value
      stream:write "+OK\r\n"
    elseif name == "INCR" then
      values[key] = math.tointeger(values[key]) + 1
      stream:write((":%d\r\n"):format(values[key]))
    elseif name == "GET" then
      stream:write(("$%d\r\n%s\r\n"):format(#tostring(values[key]), values[key]))
    else
      stream:write(("-ERR unknown command '%s'\r\n"):format(name))
    end
  end
end

local address, command = arg[1], arg[2]
local server <close> = not address and assert(lh.start_server(serve, "127.0.0.1", 0)) or nil
local client <close> = connect(server and select(2, server:getsockname()) or address)

if command and not math.tointeger(command) then
  print(client:call(table.unpack(arg, 2)))
else
  local loop = lh.get_event_loop()
  local began, n = loop:time(), math.tointeger(command) or 1000
  print(("counted to %s"):format(count(client, n)))
  if address then print(("%.0f commands/s"):format(n / (loop:time() - began))) end
  print(select(2, pcall(client.call, client, "NONSENSE")))
end
