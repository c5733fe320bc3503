-- redis.lua -- a client of Redis that sends commands in a pipeline.
--
-- Planted bug (BUG=redis): an error among the replies leaves those behind it unread, and the
-- next command gets the answers of the last ones.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "redis"

local Client = {}
Client.__index = Client

-- Connects to the server's Unix socket.
---@param path string
local function connect(path)
  return setmetatable({ stream = assert(lh.open_unix_connection(path)) }, Client)
end

local function encode(command)
  local parts = { ("*%d\r\n"):format(#command) }
  for _, argument in ipairs(command) do
    argument = tostring(argument)
    parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#argument, argument)
  end
  return table.concat(parts)
end

-- One reply: a string, an integer, a list, nil; or nil and what the server complains of.
local function read_reply(stream)
  local line = assert(stream:readline())
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then return rest end
  if kind == "-" then return nil, rest end
  if kind == ":" then return math.tointeger(rest) end
  local length = math.tointeger(rest)
  if length < 0 then return nil end
  if kind == "$" then
    return (assert(stream:readexactly(length + 2)):sub(1, -3))
  end
  local list = { n = length }
  for i = 1, length do list[i] = read_reply(stream) end
  return list
end

-- Sends the commands at once; their replies in the same order. Raises the first error
-- among them.
---@param commands any[][]
---@return table replies with its `n`
function Client:pipeline(commands)
  local encoded = {}
  for i, command in ipairs(commands) do encoded[i] = encode(command) end
  assert(self.stream:write(table.concat(encoded)))
  local replies, first_error = { n = #commands }, nil
  for i = 1, #commands do
    local reply, complaint = read_reply(self.stream)
    replies[i] = reply
    if complaint and BUG then error(complaint, 2) end
    first_error = first_error or complaint
  end
  if first_error then error(first_error, 2) end
  return replies
end

-- One command.
function Client:call(...)
  return self:pipeline({ { ... } })[1]
end

function Client:close()
  self.stream:close()
end
Client.__close = Client.close

return connect
