-- lh.wait, lh.as_completed and lh.shield: waiting for some of them, for each of them, and
-- without harm to them.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local on_loop, turns, raises, in_task =
  support.on_loop, support.turns, expect.raises, expect.in_task

-- A task that sleeps, then fails with `err` if there is one.
local function sleeper(delay, err)
  return lh.create_task(function()
    lh.sleep(delay)
    if err then error(err) end
    return delay
  end)
end

local function elapsed_since(began) return lh.get_running_loop():time() - began end
local function now() return lh.get_running_loop():time() end

describe("lh.wait", function()
  it("returns when all are done, in the order of the list", in_task(function()
    local began = now()
    local a, b = sleeper(0.1), sleeper(0.15)
    local done, pending = lh.wait { b, a }
    assert.equal(2, #done)
    assert.equal(b, done[1])
    assert.equal(a, done[2])
    assert.same({}, pending)
    assert.near(0.15, elapsed_since(began), 1e-9)

    done, pending = lh.wait { b, a }
    assert.equal(2, #done)
    assert.same({}, pending)
    assert.near(0.15, elapsed_since(began), 1e-9)
  end))

  it("waits for futures as for tasks", in_task(function()
    local loop = lh.get_running_loop()
    local fut = loop:create_future()
    loop:call_later(1, fut.set_result, fut, "x")
    local done = lh.wait { fut }
    assert.equal(fut, done[1])
    assert.equal("x", fut:result())
  end))

  it("names a task once that is in the list several times", in_task(function()
    local task = lh.create_task(function() return "test" end)
    local other = lh.create_task(function() return "spam" end)
    local done, pending = lh.wait { task, task, other }
    assert.equal(2, #done)
    assert.equal(task, done[1])
    assert.equal(other, done[2])
    assert.same({}, pending)
  end))

  it("returns at the first that is done, when asked to", in_task(function()
    local began = now()
    local a, b = sleeper(10), sleeper(0.1)
    local done, pending = lh.wait({ b, a }, { return_when = "FIRST_COMPLETED" })
    assert.equal(1, #done)
    assert.equal(b, done[1])
    assert.equal(1, #pending)
    assert.equal(a, pending[1])
    assert.is_false(a:done())
    assert.near(0.1, elapsed_since(began), 1e-9)
    lh.wait { a, b }
    assert.near(10, elapsed_since(began), 1e-9)
  end))

  it("counts those as done that were done in the meantime", in_task(function()
    -- b finishes after a, but before wait goes on.
    local a = lh.create_task(function() lh.sleep(0) end)
    local b = lh.create_task(function()
      lh.sleep(0)
      lh.sleep(0)
    end)
    local waiting = lh.create_task(function()
      local done, pending = lh.wait({ b, a }, { return_when = "FIRST_COMPLETED" })
      return #done, #pending
    end)
    assert.same({ 2, 0 }, { lh.await(waiting) })
  end))

  it("returns at the first failure, when asked to", in_task(function()
    local began = now()
    local a = sleeper(10)
    local b = lh.create_task(function() error { "problem" } end)
    local done, pending = lh.wait({ b, a }, { return_when = "FIRST_EXCEPTION" })
    assert.equal(b, done[1])
    assert.equal(a, pending[1])
    assert.equal(began, now())
    b:exception()
  end))

  it("returns at a failure that comes while it waits, when asked to", in_task(function()
    local began = now()
    local a, b = sleeper(10), sleeper(0.01, { "problem" })
    local done, pending = lh.wait({ b, a }, { return_when = "FIRST_EXCEPTION" })
    assert.equal(b, done[1])
    assert.equal(a, pending[1])
    assert.near(0.01, elapsed_since(began), 1e-9)
    b:exception()
  end))

  it("does not take a cancelled task for a failure", in_task(function()
    local began = now()
    local a, b = sleeper(1), sleeper(10)
    lh.sleep(0)
    b:cancel()
    local done, pending = lh.wait({ a, b }, { return_when = "FIRST_EXCEPTION" })
    assert.equal(2, #done)
    assert.same({}, pending)
    assert.near(1, elapsed_since(began), 1e-9)
  end))

  it("raises no failure, and waits for the others", in_task(function()
    local began = now()
    local a, b = sleeper(0.1), sleeper(0.15, { "problem" })
    for _ = 1, 2 do
      local done, pending = lh.wait { b, a }
      assert.equal(2, #done)
      assert.same({}, pending)
      assert.is_truthy(b:exception())
      assert.is_nil(a:exception())
      assert.near(0.15, elapsed_since(began), 1e-9)
    end
  end))

  it("returns when its time is over, and raises nothing", in_task(function()
    local began = now()
    local a, b = sleeper(0.1), sleeper(0.15)
    local done, pending = lh.wait({ b, a }, { timeout = 0.11 })
    assert.equal(1, #done)
    assert.equal(a, done[1])
    assert.equal(1, #pending)
    assert.equal(b, pending[1])
    assert.near(0.11, elapsed_since(began), 1e-9)
    assert.is_false(b:done())
  end))

  it("finds those done that end at the very moment its time is over", on_loop(function(loop)
    local a, b = loop:create_task(lh.sleep, 0.1), loop:create_task(lh.sleep, 0.15)
    local began = loop:time()
    local done, pending = loop:run_until_complete(function()
      return lh.wait({ b, a }, { timeout = 0.1 })
    end)
    assert.equal(1, #done)
    assert.equal(a, done[1])
    assert.equal(b, pending[1])
    assert.near(0.1, loop:time() - began, 1e-9)
  end))

  it("stops its timer when it needs it no more", on_loop(function(loop)
    loop:run_until_complete(function()
      lh.wait({ sleeper(1) }, { timeout = 1000 })
    end)
    local began = loop:time()
    loop:call_later(1, loop.stop, loop)
    loop:run_forever()
    assert.near(1, loop:time() - began, 1e-9)
  end))

  it("leaves the others running when the one who waits is cancelled", on_loop(function(loop)
    local waiter, proof = loop:create_future(), 0
    local outer = loop:create_task(function()
      lh.wait { lh.create_task(function()
        lh.await(waiter)
        proof = proof + 1
      end) }
      proof = proof + 100
    end)
    turns(loop, 2)
    outer:cancel()
    raises(lh.CancelledError, loop.run_until_complete, loop, outer)
    assert.is_false(waiter:cancelled())
    waiter:set_result()
    turns(loop)
    assert.equal(1, proof)
  end))

  it("refuses an empty list, a single future and an unknown return_when", in_task(function()
    raises("empty", lh.wait, {})
    local fut = lh.get_running_loop():create_future()
    raises("bad argument", lh.wait, fut)
    raises("bad argument", lh.wait, function() end)
    raises("bad argument", lh.wait)
    raises("return_when", lh.wait, { fut }, { return_when = -1 })
    raises("return_when", lh.wait, { fut }, { return_when = "SOMETIMES" })
    raises("bad argument #2 to 'wait' (no such option: when)", lh.wait, { fut }, { when = 1 })
  end))

  it("takes two turns after the last end, and when all are done, too", function()
    assert.equal("c1@2 c3@4 waited@6 again@8", support.turn_log(function(note)
      local function child(n)
        return lh.create_task(function()
          for _ = 1, n do lh.sleep(0) end
          note("c" .. n)
        end)
      end
      local list = { child(1), child(3) }
      lh.wait(list)
      note "waited"
      lh.wait(list)
      note "again"
    end))
  end)
end)

describe("lh.as_completed", function()
  it("gives the tasks in the order in which they end", in_task(function()
    local began = now()
    local a, b, c = sleeper(0.01), sleeper(0.02), sleeper(0.15)
    local order = {}
    for task in lh.as_completed { b, c, a } do
      assert.is_true(task:done())
      order[#order + 1] = task
    end
    assert.equal(3, #order)
    assert.equal(a, order[1])
    assert.equal(b, order[2])
    assert.equal(c, order[3])
    assert.near(0.15, elapsed_since(began), 1e-9)
  end))

  it("makes tasks of functions", in_task(function()
    local got = {}
    for task in lh.as_completed { function() return lh.sleep(2, "b") end,
                                  function() return lh.sleep(1, "a") end } do
      got[#got + 1] = task:result()
    end
    assert.same({ "a", "b" }, got)
  end))

  it("raises TimeoutError when its time is over", in_task(function()
    local began = now()
    local a, b = sleeper(0.1), sleeper(0.15)
    local got = {}
    local err = raises(lh.TimeoutError, function()
      for task in lh.as_completed({ a, b }, 0.12) do got[#got + 1] = task end
    end)
    assert.is_truthy(err)
    assert.equal(1, #got)
    assert.equal(a, got[1])
    assert.near(0.12, elapsed_since(began), 1e-9)
    assert.is_false(b:done())
    assert.equal(0.15, lh.await(b))
  end))

  it("raises it for each of those that are left", in_task(function()
    local first = sleeper(0.1)
    local next_task = lh.as_completed({ sleeper(1), first, sleeper(2) }, 0.12)
    assert.equal(first, next_task())
    raises(lh.TimeoutError, next_task)
    raises(lh.TimeoutError, next_task)
    assert.is_nil(next_task())
  end))

  it("does not mind a time limit that is not reached", on_loop(function(loop)
    local began = loop:time()
    loop:run_until_complete(function()
      for task in lh.as_completed({ sleeper(0.01) }, 1) do
        assert.equal(0.01, task:result())
      end
    end)
    assert.near(0.01, loop:time() - began, 1e-9)
  end))

  it("starts waiting when it is called, not when it is asked", in_task(function()
    local began = now()
    local next_task = lh.as_completed {
      function() return lh.sleep(0.05, "a") end,
      function() return lh.sleep(0.10, "b") end,
    }
    lh.sleep(0.05)
    assert.equal("a", next_task():result())
    assert.near(0.05, elapsed_since(began), 1e-9)
    assert.equal("b", next_task():result())
    assert.near(0.10, elapsed_since(began), 1e-9)
    assert.is_nil(next_task())
  end))

  it("gives those of the same moment one after another", in_task(function()
    local began = now()
    local a, b = sleeper(0.05), sleeper(0.05)
    local order = {}
    for task in lh.as_completed { b, a } do order[#order + 1] = task end
    assert.equal(2, #order)
    assert.equal(a, order[1])
    assert.equal(b, order[2])
    assert.near(0.05, elapsed_since(began), 1e-9)
  end))

  it("gives a task once that is in the list several times", in_task(function()
    local ham = lh.create_task(function() return "ham" end)
    local spam = lh.create_task(function() return "spam" end)
    local count, seen = 0, {}
    for task in lh.as_completed { ham, ham, spam } do
      count = count + 1
      seen[task:result()] = true
    end
    assert.equal(2, count)
    assert.same({ ham = true, spam = true }, seen)
  end))

  it("gives failed and cancelled tasks as it gives the others", in_task(function()
    local failed, cancelled = sleeper(1, { "problem" }), sleeper(10)
    lh.sleep(0)
    cancelled:cancel()
    local order = {}
    for task in lh.as_completed { failed, cancelled } do order[#order + 1] = task end
    assert.equal(cancelled, order[1])
    assert.equal(failed, order[2])
    assert.is_true(cancelled:cancelled())
    assert.same({ "problem" }, failed:exception())
  end))

  it("gives nothing for an empty list", in_task(function()
    for _ in lh.as_completed {} do error "one too many" end
  end))

  it("refuses what is not a list", in_task(function()
    raises("bad argument", lh.as_completed, lh.get_running_loop():create_future())
    raises("bad argument", lh.as_completed, function() end)
    raises("bad argument", lh.as_completed)
  end))

  it("takes two turns after the end of each", function()
    assert.equal("c1@2 c3@4 got1@4 got3@6", support.turn_log(function(note)
      local function child(n)
        return lh.create_task(function()
          for _ = 1, n do lh.sleep(0) end
          note("c" .. n)
          return n
        end)
      end
      for task in lh.as_completed { child(3), child(1) } do note("got" .. task:result()) end
    end))
  end)
end)

describe("lh.shield", function()
  -- A task that waits behind a shield, in a loop that is turned by hand.
  local function behind_shield(loop, inner)
    local outer = loop:create_task(function() return lh.shield(inner) end)
    turns(loop)
    return outer
  end

  it("gives what is behind it", on_loop(function(loop)
    local inner = loop:create_future()
    local outer = behind_shield(loop, inner)
    inner:set_result(42)
    assert.equal(42, loop:run_until_complete(outer))
  end))

  it("raises what is raised behind it", on_loop(function(loop)
    local inner, problem = loop:create_future(), { "problem" }
    local outer = behind_shield(loop, inner)
    inner:set_exception(problem)
    turns(loop, 3)
    assert.equal(problem, outer:exception())
  end))

  it("does not hide that what is behind it was cancelled", on_loop(function(loop)
    local inner = loop:create_future()
    local outer = behind_shield(loop, inner)
    inner:cancel()
    turns(loop, 3)
    assert.is_true(outer:cancelled())
  end))

  it("keeps a cancellation of the one who waits away from it", on_loop(function(loop)
    local inner = loop:create_future()
    local outer = behind_shield(loop, inner)
    outer:cancel()
    turns(loop, 3)
    assert.is_true(outer:cancelled())
    assert.is_false(inner:done())
    inner:set_result(1)
    turns(loop, 3)
    assert.equal(1, inner:result())
  end))

  it("is not in the way of what is done", on_loop(function(loop)
    local inner = loop:create_future()
    inner:set_result(42)
    local outer = loop:create_task(function() return lh.shield(inner) end)
    turns(loop)
    assert.is_true(outer:done())
    assert.equal(42, outer:result())
  end))

  it("lets a function run on whose waiter was cancelled", on_loop(function(loop)
    local waiter, proof = loop:create_future(), 0
    local outer = loop:create_task(function()
      lh.shield(function()
        lh.await(waiter)
        proof = proof + 1
      end)
      proof = proof + 100
    end)
    turns(loop, 2)
    outer:cancel()
    raises(lh.CancelledError, loop.run_until_complete, loop, outer)
    waiter:set_result()
    turns(loop, 2)
    assert.equal(1, proof)
  end))

  it("protects a whole gathering", on_loop(function(loop)
    local child1, child2 = loop:create_future(), loop:create_future()
    local parent = loop:create_task(lh.gather, child1, child2)
    local outer = behind_shield(loop, parent)
    outer:cancel()
    turns(loop, 3)
    assert.is_true(outer:cancelled())
    child1:set_result(1)
    child2:set_result(2)
    turns(loop, 3)
    assert.same({ n = 2, 1, 2 }, parent:result())
  end))

  it("protects the members of a gathering", on_loop(function(loop)
    local child1, child2 = loop:create_future(), loop:create_future()
    local inner1 = loop:create_task(function() return lh.shield(child1) end)
    local inner2 = loop:create_task(function() return lh.shield(child2) end)
    local parent = loop:create_task(lh.gather, inner1, inner2)
    turns(loop, 2)
    parent:cancel()
    raises(lh.CancelledError, loop.run_until_complete, loop, parent)
    assert.is_true(inner1:cancelled())
    assert.is_true(inner2:cancelled())
    assert.is_false(child1:done())
    child1:set_result(1)
    child2:set_result(2)
    turns(loop)
  end))

  it("takes two turns after the end of what is behind it", function()
    assert.equal("inner@3 shielded@5", support.turn_log(function(note)
      lh.shield(function()
        lh.sleep(0)
        lh.sleep(0)
        note "inner"
      end)
      note "shielded"
    end))
  end)

  it("refuses what cannot be awaited", in_task(function()
    raises("bad argument", lh.shield, 42)
    raises("bad argument", lh.shield)
  end))
end)
