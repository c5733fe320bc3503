-- new_event_loop{seed=}: what a seed decides of the order, and what it never touches.

local lh = require "loophost"
local support = require "spec.support"

local SEEDS = 60

-- What fn(note) notes on a loop with the seed, as one word.
local function order(seed, fn)
  local notes = {}
  support.with_loop(function(loop)
    loop:run_until_complete(function()
      fn(function(name) notes[#notes + 1] = name end, loop)
    end)
  end, { clock = "virtual", seed = seed })
  return table.concat(notes)
end

-- How many different orders there are with the seeds from 1; check(word) looks at each.
local function orders(fn, check)
  local seen, count = {}, 0
  for seed = 1, SEEDS do
    local word = order(seed, fn)
    if check then check(word, seed) end
    if not seen[word] then count = count + 1 end
    seen[word] = true
  end
  return count
end

-- Whether the letters come in the word in this order.
local function keeps(word, letters)
  assert.equal(letters, (word:gsub("[^" .. letters .. "]", "")))
end

local function timers(note, loop)
  for _, name in ipairs { "a", "b", "c", "d" } do loop:call_later(1, note, name) end
  loop:call_later(2, note, "z")
  loop:call_later(0.5, note, "y")
  lh.sleep(3)
end

-- Two tasks that each wake two more.
local function sources(note)
  local function source(first, second)
    lh.create_task(function()
      lh.sleep(0)
      lh.create_task(note, first)
      lh.create_task(note, second)
    end)
  end
  source("a", "b")
  source("c", "d")
  lh.sleep(1)
end

describe("without a seed", function()
  it("there is one order", function()
    assert.equal("yabcdz", order(nil, timers))
    assert.equal("abcd", order(nil, sources))
  end)
end)

describe("a seed", function()
  it("decides the order of equal deadlines, and only of those", function()
    local count = orders(timers, function(word)
      assert.equal("y", word:sub(1, 1))
      assert.equal("z", word:sub(-1))
    end)
    assert.is_true(count > 10, "orders: " .. count)
  end)

  it("decides how callbacks of different sources interleave", function()
    local count = orders(sources, function(word)
      keeps(word, "ab")
      keeps(word, "cd")
    end)
    assert.equal(6, count) -- that is all there are
  end)

  it("keeps the order of what one callback has queued", function()
    assert.equal(1, orders(function(note, loop)
      for _, name in ipairs { "a", "b", "c", "d", "e" } do loop:call_soon(note, name) end
      lh.sleep(0)
      lh.sleep(0)
    end))
  end)

  it("keeps the order in which a future wakes those who wait for it", function()
    assert.equal(1, orders(function(note, loop)
      local future, tasks = loop:create_future(), {}
      for _, name in ipairs { "a", "b", "c", "d" } do
        tasks[#tasks + 1] = lh.create_task(function()
          lh.await(future)
          note(name)
        end)
      end
      lh.sleep(0)
      future:set_result()
      lh.wait(tasks)
    end))
  end)

  it("keeps the order in which one task has made others", function()
    assert.equal(1, orders(function(note)
      local tasks = {}
      for _, name in ipairs { "a", "b", "c", "d" } do
        tasks[#tasks + 1] = lh.create_task(note, name)
      end
      lh.wait(tasks)
    end))
  end)

  it("keeps who stands in line for a lock", function()
    assert.equal(1, orders(function(note)
      local lock, tasks = lh.Lock(), {}
      for _, name in ipairs { "a", "b", "c", "d" } do
        tasks[#tasks + 1] = lh.create_task(function()
          local _ <close> = lock:acquire()
          lh.sleep(1)
          note(name)
        end)
      end
      lh.wait(tasks)
    end))
  end)

  it("keeps the turn in which something runs", function()
    orders(function(note, loop)
      local turn = 0
      local function tick()
        turn = turn + 1
        if turn < 10 then loop:call_soon(tick) end
      end
      loop:call_soon(tick)
      for _ = 1, 3 do
        lh.create_task(function()
          for _ = 1, 3 do
            lh.sleep(0)
            note(tostring(turn))
          end
        end)
      end
      lh.sleep(1)
    end, function(word)
      for digit in word:gmatch "%d" do assert.is_true(tonumber(digit) <= 4) end
    end)
  end)

  it("keeps the order of priorities", function()
    assert.equal(1, orders(function(note, loop)
      for priority, name in ipairs { "a", "b", "c", "d" } do
        loop:call_soon_with_priority(priority, note, name)
      end
      lh.sleep(0)
      lh.sleep(0)
    end))
  end)

  it("gives the same order again", function()
    local function both(note, loop)
      timers(note, loop)
      sources(note)
    end
    orders(both, function(word, seed) assert.equal(word, order(seed, both)) end)
  end)

  it("decides the order of descriptors that are ready at once", function()
    local function descriptors(note, loop)
      local pipes <close> = setmetatable({}, { __close = function(list)
        for _, pipe in ipairs(list) do
          loop:remove_reader(pipe)
          pipe:close()
        end
      end })
      for i, name in ipairs { "a", "b", "c" } do
        local pipe = io.popen("true")
        pipes[i] = pipe
        pipe:read("a") -- at its end it stays readable
        loop:add_reader(pipe, function()
          loop:remove_reader(pipe)
          note(name)
        end)
      end
      while loop:get_metrics().io_events < 3 do lh.sleep(0) end
      lh.sleep(0)
      lh.sleep(0)
    end
    assert.is_true(orders(descriptors) > 3)
  end)

  it("is not disturbed by callbacks that cancel others", function()
    orders(function(note, loop)
      local handles = {}
      for i = 1, 6 do
        lh.create_task(function()
          lh.sleep(0)
          handles[i] = loop:call_soon(note, "x")
          local other = handles[i - 1]
          if other then other:cancel() end
        end)
      end
      lh.sleep(1)
    end, function(word) assert.is_true(#word <= 6 and #word >= 1) end)
  end)

  it("must be an integer", function()
    local ok, err = pcall(lh.new_event_loop, { seed = "x" })
    assert.is_false(ok)
    assert.is_truthy(err:find("seed must be an integer", 1, true))
  end)
end)
