-- class.lua -- classes that are called to make an object, and that can be subclassed.
--
-- A class is the table of its methods. What a subclass does not define is looked up in
-- its parent, so a method that is added to a class later is seen by all below it.

local argument = require "loophost.argument"

local class = {}

---@class loophost.Class
---@field subclass fun(parent: loophost.Class, methods: table): loophost.Class
---@field init? fun(self: any, ...) called with the arguments that made the object

---@param parent loophost.Class
---@param methods table what the new class adds and overrides; copied
---@return loophost.Class
local function subclass(parent, methods)
  if type(methods) ~= "table" then argument.mismatch(1, "subclass", "table", methods, 2) end
  local meta = getmetatable(parent)
  local child = {}
  for name, value in pairs(methods) do child[name] = value end
  return setmetatable(child, { __index = parent, __call = meta.__call, __name = meta.__name })
end

-- Makes a class of the table of methods.
---@param name string for messages, as "loophost.EventLoop"
---@param methods table
---@param construct fun(class: loophost.Class, ...): any makes an object of the class
---@return loophost.Class
function class.new(name, methods, construct)
  methods.subclass = subclass
  return setmetatable(methods, { __call = construct, __name = name .. "Class" })
end

return class
