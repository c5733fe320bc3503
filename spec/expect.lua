-- What a spec expects of a call that fails, and of the turns that pass meanwhile.
-- `raises` looks through rawpcall, so that it sees a CancelledError too.

local lh = require "loophost"
local assert = require "luassert"
local support = require "spec.support"

local expect = {}

-- A test body that runs as a task on a loop of its own, in virtual time.
function expect.in_task(fn)
  return function() return support.run(fn) end
end

-- Lets `n` turns of the loop pass.
function expect.turns(n)
  for _ = 1, n or 1 do lh.sleep(0) end
end

-- fn(...) must raise `what`: a class of error values, or, for a caller's
-- mistake, a part of Lua's plain message. Returns the error value.
function expect.raises(what, fn, ...)
  local ok, err = lh.rawpcall(fn, ...)
  assert.is_false(ok, "an error was expected, but the call returned")
  if type(what) == "string" then
    assert.equal("string", type(err), "a plain message was expected: " .. tostring(err))
    assert.is_truthy(err:find(what, 1, true), ("%q does not say %q"):format(err, what))
  else
    assert.is_true(lh.iserror(err, what), "another error came: " .. tostring(err))
  end
  return err
end

-- fn(...) must fail, as a test or a scenario does: what it says.
function expect.failure_of(fn, ...)
  local ok, err = lh.rawpcall(fn, ...)
  assert.is_false(ok, "a failure was expected, but the call returned")
  return type(err) == "table" and err.message or tostring(err)
end

-- The text must have each of the parts in it.
function expect.contains(text, ...)
  for _, part in ipairs { ... } do
    assert(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
  end
end

-- Awaiting the task must raise CancelledError, and the task must say so too.
function expect.cancelled(task)
  local err = expect.raises(lh.CancelledError, lh.await, task)
  assert.is_true(task:cancelled())
  return err
end

-- Awaits with CancelledError caught, as `except CancelledError` does.
function expect.caught(fn, ...)
  local ok, err = lh.rawpcall(fn, ...)
  if ok then return nil end
  assert(lh.iserror(err, lh.CancelledError), "not a CancelledError: " .. tostring(err))
  return err
end

-- A list that grows by a call: log(entry) adds one, log.n is how many there are.
function expect.log()
  local log = { n = 0 }
  return setmetatable(log, {
    __call = function(self, entry)
      self.n = self.n + 1
      self[self.n] = entry
    end,
  })
end

-- The entries of a log as one string, for a comparison at a glance.
function expect.line(log)
  local words = {}
  for i = 1, log.n or #log do words[i] = tostring(log[i]) end
  return table.concat(words, " ")
end

return expect
