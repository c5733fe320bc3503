-- failure.lua -- the errors by which a test fails, and how more is said about them.
--
-- busted tells a failure from an error by the metatable of what is raised, and puts a place
-- in front of a message that has none: so what is raised here keeps that metatable, and
-- begins with the place in the test.

local core = require "loophost.core"

local failure = {}

local function kind_of(err)
  local meta = debug.getmetatable(err)
  return type(meta) == "table" and rawget(meta, "__type") or nil
end

-- A failure with this message, as assert would raise it; without busted, the message.
---@param message string
---@return any
function failure.new(message)
  local busted = package.loaded.busted
  if not busted or not busted.fail then return message end
  local _, err = core.rawpcall(busted.fail, message, 0)
  return err
end

-- Whether it only says that the test is pending.
---@return boolean
function failure.is_pending(err)
  return kind_of(err) == "pending"
end

-- What the error says, as one text.
---@return string
function failure.text(err)
  if kind_of(err) == "failure" then err = err.message end
  if type(err) == "string" then return err end
  local meta = debug.getmetatable(err)
  if type(meta) == "table" and meta.__tostring then
    local ok, text = core.rawpcall(tostring, err)
    return ok and text or "?"
  end
  local ok, pretty = core.rawpcall(require, "pl.pretty")
  return ok and pretty.write(err) or tostring(err)
end

-- The same error, of the same kind, with a text before and one after its own.
---@param err any
---@param place? string for a message that does not begin with one
---@param note? string
---@return any
function failure.with(err, place, note)
  local text = failure.text(err)
  local placed = text:match "^[^\n]-:%d+: "
  if not placed and place then text = place .. ": " .. text end
  if note then text = text .. "\n" .. note end
  if kind_of(err) == "failure" then return setmetatable({ message = text }, getmetatable(err)) end
  return text
end

return failure
