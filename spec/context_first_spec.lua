-- The first setting of a context variable in the whole program is not seen by callbacks that were
-- scheduled before, when nobody had a context yet.  One test: there is only one first time.

local lh = require "loophost"
local support = require "spec.support"

describe("the very first setting of a context variable", function()
  it("is not seen outside of its callback and what that makes", support.on_loop(function(loop)
    local var, seen = lh.ContextVar("var", "nope"), {}
    local function look(name) return function() seen[name] = var:get() end end
    local kept = loop:call_soon(look "kept")
    loop:call_soon(function()
      var:set("first")
      loop:call_soon(look "behind it")
    end)
    loop:call_soon(look "a statement")
    loop:call_soon(look "with an argument", 1)
    loop:call_later(0, look "a timer")
    local file <close> = assert(io.popen("cat", "w"))
    loop:add_writer(file, function()
      seen["a writer"] = var:get()
      loop:remove_writer(file)
    end)
    while not seen["a writer"] do loop:run_once() end
    support.turns(loop, 2)
    assert.is_false(kept:cancelled())
    assert.equal("nope", var:get())
    assert.same({
      kept = "nope", ["behind it"] = "first", ["a statement"] = "nope",
      ["with an argument"] = "nope", ["a timer"] = "nope", ["a writer"] = "nope",
    }, seen)
  end))
end)
