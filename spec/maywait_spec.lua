-- Where Lua does not let a coroutine be suspended, a wait says so and names what is in its way.

local lh = require "loophost"
local expect = require "spec.expect"

local coroutine = lh.coroutine

-- What lh.sleep(0) says in the function that `call` is given, which calls it.
local function complaint(call)
  local said
  lh.rawpcall(call, function()
    local _, err = lh.rawpcall(lh.sleep, 0)
    said = said or err
  end)
  return said
end

local cases = {
  { "function 'table.sort'", function(wait) table.sort({ 2, 1 }, wait) end },
  { "function 'string.gsub'", function(wait) string.gsub("abc", ".", wait) end },
  { "metamethod '__gc'", function(wait)
    setmetatable({}, { __gc = wait })
    collectgarbage()
  end },
  { "function 'tostring'", function(wait) tostring(setmetatable({}, { __tostring = wait })) end },
  { "a hook", function(wait)
    debug.sethook(function()
      debug.sethook()
      wait()
    end, "l")
    local _ = 1
  end },
  { "the message handler of xpcall", function(wait) lh.xpcall(error, wait) end },
  { "the message handler of xpcall", function(wait)
    lh.xpcall(function() return nil + 1 end, wait)
  end },
  { "a coroutine that is being closed", function(wait)
    local closer = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = wait })
      coroutine.yield()
    end)
    coroutine.resume(closer)
    coroutine.close(closer)
  end },
  { "a coroutine that is being closed", function(wait)
    coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = wait })
      error "away"
    end)()
  end },
}

describe("A wait where Lua does not let a coroutine be suspended", function()
  for i, case in ipairs(cases) do
    local culprit, call = case[1], case[2]
    it(("names %s (%d)"):format(culprit, i), expect.in_task(function()
      expect.contains(complaint(call), "sleep: cannot wait inside " .. culprit .. ",")
    end))
  end
end)
