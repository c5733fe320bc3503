-- A finaliser runs wherever something is made, so also in the middle of a loop's methods.

local lh = require "loophost"

local function nothing() end

-- Calls body(loop), with a new loop, so that what is made first in it begins a collection, whose
-- finaliser calls intrude(loop). Returns the loop, and what pcall does.
local function collect_inside(intrude, body)
  local loop, growing = lh.new_event_loop(), {}
  collectgarbage()
  collectgarbage "stop"
  setmetatable({}, { __gc = function() intrude(loop) end })
  collectgarbage "restart"
  for i = 1, 9 do rawset(growing, i, i) end -- takes memory, for which the next who looks collects
  return loop, pcall(body, loop)
end

local methods = {
  add_signal_handler = function(loop) return loop:add_signal_handler("SIGUSR1", nothing) end,
  call_at = function(loop) return loop:call_at(1, nothing) end,
  call_later = function(loop) return loop:call_later(1, nothing) end,
  call_soon = function(loop) return loop:call_soon(nothing) end,
  call_soon_with_priority = function(loop) return loop:call_soon_with_priority(1, nothing) end,
  create_task = function(loop) return loop:create_task(nothing) end,
  run_forever = function(loop) return loop:run_forever() end,
  run_once = function(loop) return loop:run_once() end,
}

describe("a finaliser in the middle of a method", function()
  before_each(function() collectgarbage "generational" end) -- where each collection is a whole one
  after_each(function() collectgarbage "incremental" end)

  for _, count in ipairs { 1, 16, 17 } do
    it("may call call_soon, " .. count .. " times: each function runs once", function()
      local calls = {}
      local function last() calls.last = (calls.last or 0) + 1 end
      local loop = collect_inside(function(loop)
        for i = 1, count do
          loop:call_soon(function() calls[i] = (calls[i] or 0) + 1 end)
        end
      end, function(loop)
        loop:call_soon(last)
        loop:call_soon(nothing, "with an argument, so with a handle")
        loop:run_once()
        loop:run_once()
      end)
      loop:close()
      assert.equal(1, calls.last)
      for i = 1, count do assert.equal(1, calls[i]) end
    end)
  end

  for name, method in pairs(methods) do
    it("may close the loop: " .. name .. " fails then", function()
      local place
      local loop, ok, message = collect_inside(function(loop)
        loop:close()
        place = debug.traceback()
      end, method)
      assert.matches("[C]: in", place, 1, true)
      assert.is_false(ok)
      assert.matches("Event loop is closed$", message)
      assert.is_true(loop:is_closed())
    end)
  end
end)
