-- require in the host: stock Lua's, but that a module's top level may wait, and that two
-- tasks that require the same module at once load it once.

local lh = require "loophost"
local expect = require "spec.expect"

local in_task, raises, line = expect.in_task, expect.raises, expect.line

-- Under stock lua5.4 `require` is left alone.
local is_host = pcall ~= lh.rawpcall

describe("require", is_host and function()
  local preload, names

  -- Gives the module a loader for the time of a test, under a name of its own.
  local function module(loader)
    local name = "require_spec." .. #names + 1
    names[#names + 1] = name
    preload[name] = loader
    return name
  end

  before_each(function()
    preload, names = package.preload, {}
  end)

  after_each(function()
    for _, name in ipairs(names) do
      preload[name], package.loaded[name] = nil, nil
    end
  end)

  describe("as stock Lua's", function()
    it("returns the module and the loader's data", function()
      local name = module(function(...) return { ... } end)
      local value, data = require(name)
      assert.same({ name, ":preload:" }, value)
      assert.equal(":preload:", data)
      assert.equal(1, select("#", require(name)))
      assert.equal(value, require(name))
    end)

    it("returns true for a module without a result", function()
      local name = module(function() end)
      assert.is_true((require(name)))
      assert.is_true(package.loaded[name])
    end)

    it("takes what the module has put into package.loaded itself", function()
      local own = {}
      local name = module(function(name) package.loaded[name] = own end)
      assert.equal(own, (require(name)))
    end)

    it("prefers what the module returns", function()
      local name = module(function(name)
        package.loaded[name] = 1
        return 2
      end)
      assert.equal(2, (require(name)))
    end)

    it("loads a module again that returned false", function()
      local loads = 0
      local name = module(function()
        loads = loads + 1
        return false
      end)
      assert.is_false((require(name)))
      assert.is_false((require(name)))
      assert.equal(2, loads)
    end)

    it("accepts a number as a name", function()
      preload["12"] = function(...) return ... end
      names[1] = "12"
      assert.equal("12", (require(12)))
    end)

    it("says what it has tried", function()
      local err = raises("module 'no.such.module' not found:", require, "no.such.module")
      assert.is_truthy(err:find("\n\tno field package.preload['no.such.module']", 1, true))
      assert.is_truthy(err:find("\n\tno file './no/such/module.lua'", 1, true))
    end)

    it("says where it was called", function()
      local _, err = lh.rawpcall(function() return (require "no.such.module") end)
      assert.is_truthy(err:find "^[^\n]*require_spec%.lua:%d+: module 'no%.such%.module' not")
    end)

    it("refuses what is no name", function()
      raises("bad argument #1 to 'require' (string expected, got table)", require, {})
      raises("bad argument #1 to 'require' (string expected, got no value)", require)
    end)

    it("passes on the error of the module unchanged", function()
      local object = {}
      local name = module(function() error(object) end)
      assert.equal(object, select(2, lh.rawpcall(require, name)))
      assert.is_nil(package.loaded[name])
    end)

    it("asks the searchers of the moment, in their order, with the name", function()
      local searchers = package.searchers
      package.searchers = {
        function(name) return "first " .. name end,
        function() return nil end,
        function() return 3 end,
        function(name) return name == "found" and table.pack, "data" end,
      }
      names[1] = "found"
      local ok, err = lh.rawpcall(require, "lost")
      local found, data = require "found"
      package.searchers = "none"
      local _, none = lh.rawpcall(require, "lost")
      package.searchers = searchers
      assert.is_false(ok)
      assert.equal("module 'lost' not found:\n\tfirst lost\n\t3", err)
      assert.same({ "found", "data", n = 2 }, found)
      assert.equal("data", data)
      assert.is_truthy(none:find("'package.searchers' must be a table", 1, true))
    end)

    it("works where nothing can wait", function()
      local name = module(function() return 5 end)
      local values = { 2, 1 }
      table.sort(values, function(a, b) return require(name) == 5 and a < b end)
      assert.same({ 1, 2 }, values)
    end)
  end)

  describe("waits", function()
    it("at the top level of a module, and of one that it requires", in_task(function()
      local inner = module(function()
        lh.sleep(1)
        return "inner"
      end)
      local outer = module(function() return "outer of " .. require(inner) end)
      local began = lh.get_running_loop():time()
      assert.equal("outer of inner", (require(outer)))
      assert.equal(1.0, lh.get_running_loop():time() - began)
    end))

    it("in a searcher", in_task(function()
      local searchers = package.searchers
      package.searchers = { function()
        lh.sleep(1)
        return function() return "found" end
      end }
      names[1] = "late"
      local ok, value = lh.rawpcall(require, "late")
      package.searchers = searchers
      assert.is_true(ok)
      assert.equal("found", value)
    end))

    it("inside a coroutine of the script's own", in_task(function()
      local name = module(function()
        lh.sleep(1)
        return 7
      end)
      local generator = coroutine.wrap(function()
        coroutine.yield((require(name)))
        coroutine.yield "done"
      end)
      assert.equal(7, generator())
      assert.equal("done", generator())
    end))
  end)

  describe("by two tasks at once", function()
    it("loads the module once", in_task(function()
      local log = expect.log()
      local name = module(function()
        log "begin"
        lh.sleep(1)
        log "end"
        return {}
      end)
      local function load(who)
        local value = require(name)
        log(who)
        return value
      end
      local values = lh.gather(function() return load "a" end, function() return load "b" end,
        function() return load "c" end)
      assert.equal("begin end a b c", line(log))
      assert.equal(values[1], values[2])
      assert.equal(values[1], values[3])
    end))

    it("lets the second try itself when the first one fails", in_task(function()
      local loads = 0
      local name = module(function()
        loads = loads + 1
        local mine = loads
        lh.sleep(1)
        if mine == 1 then error "first" end
        return "load " .. mine
      end)
      local results = lh.gather({ function() return (require(name)) end,
        function() return (require(name)) end, function() return (require(name)) end },
        { return_exceptions = true })
      assert.is_truthy(results[1]:find "first")
      assert.equal("load 2", results[2])
      assert.equal("load 2", results[3])
      assert.equal(2, loads)
    end))

    it("lets the second try itself when the first one is cancelled", in_task(function()
      local loads = 0
      local name = module(function()
        loads = loads + 1
        lh.sleep(1)
        return loads
      end)
      local first, second = lh.create_task(require, name), lh.create_task(require, name)
      lh.sleep(0.5)
      first:cancel()
      expect.cancelled(first)
      assert.equal(2, (lh.await(second)))
    end))

    it("can be cancelled while it waits, and harms nobody", in_task(function()
      local name = module(function()
        lh.sleep(1)
        return 1
      end)
      local first, second, third = lh.create_task(require, name), lh.create_task(require, name),
        lh.create_task(require, name)
      lh.sleep(0.5)
      second:cancel()
      expect.cancelled(second)
      assert.equal(1, (lh.await(first)))
      assert.equal(1, (lh.await(third)))
    end))

    it("does not wait for a module that is in package.loaded already", in_task(function()
      local name = module(function(name)
        package.loaded[name] = "early"
        lh.sleep(1)
        return "late"
      end)
      local first = lh.create_task(require, name)
      lh.sleep(0)
      assert.equal("early", (require(name)))
      assert.equal("late", (lh.await(first)))
    end))

    it("does not wait for itself: a module that requires itself is loaded again", in_task(function()
      local depth = 0
      local name
      name = module(function()
        depth = depth + 1
        local mine = depth
        lh.sleep(0)
        return mine < 3 and require(name) + 1 or 1
      end)
      assert.equal(3, (require(name)))
    end))

    it("does not wait in a circle", in_task(function()
      local loads = 0
      local a, b
      local function circular(other)
        return function(name)
          loads = loads + 1
          lh.sleep(0.1)
          if loads > 10 then return name end
          return (require(other()))
        end
      end
      a = module(circular(function() return b end))
      b = module(circular(function() return a end))
      local done = lh.gather(function() return (require(a)) end, function() return (require(b)) end)
      assert.equal("string", type(done[1]))
      assert.equal("string", type(done[2]))
    end))

    it("loads for itself what cannot wait", in_task(function()
      local loads = 0
      local name = module(function()
        loads = loads + 1
        if loads == 1 then lh.sleep(1) end
        return loads
      end)
      local first = lh.create_task(require, name)
      lh.sleep(0)
      local seen
      lh.get_running_loop():call_soon(function() seen = require(name) end)
      lh.sleep(0)
      lh.sleep(0)
      assert.equal(2, seen)
      assert.equal(2, (lh.await(first)))
    end))
  end)
end or function() end)
