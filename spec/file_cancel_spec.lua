-- Every wait of files, cancelled and timed out at every turn, while the thread is at work and
-- when it is through: what was read is still to be read, a write is done as a whole or not at
-- all, and nothing leaks.

local lh = require "loophost"
local ending = require "spec.ending"
local support = require "spec.support"

local LINE = "123456789\n"
local TEXT = LINE:rep(3000)
local LARGE = ("0123456789abcdef"):rep(8192) -- more than a buffer

local function leaves_nothing(fn) ending.leaves_nothing(fn, nil, true) end

local function put(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

-- ---- reading ----

-- run(file) takes something; with what is left it makes up all that there was.
local function reading(run, restore)
  return {
    text = TEXT, mode = "r", run = run,
    check = function(file, ok, value)
      local taken = ok and (restore and restore(value) or value) or ""
      assert.is_true(TEXT == taken .. file:read "a")
    end,
  }
end

local function with_newline(line) return line .. "\n" end

-- ---- writing ----

-- run(file) writes `text` behind "first\n"; before what comes after it, all or nothing is there.
local function writing(run, text)
  return {
    text = "", mode = "w",
    prepare = function(file) file:write "first\n" end,
    run = run,
    check = function(file, ok, _, path)
      assert.is_true(file:write "last")
      assert.is_true(file:close())
      local written = support.contents(path)
      local all, nothing = "first\n" .. text .. "last", "first\nlast"
      assert.is_true(written == all or not ok and written == nothing, #written .. " bytes")
    end,
  }
end

local OPERATIONS = {
  ["read(n)"] = reading(function(file) return file:read(25000) end),
  ["read('a')"] = reading(function(file) return file:read "a" end),
  ["read('n')"] = reading(function(file) return file:read "n" end, tostring),
  ["read('l')"] = reading(function(file) return file:read "l" end, with_newline),
  ["readline()"] = reading(function(file) return file:readline() end, with_newline),
  ["lines()"] = reading(function(file) return (file:lines "L")() end),
  ["several formats"] = reading(function(file)
    return table.concat { file:read("L", 20000, "L") }
  end),
  ["a read behind another's"] = {
    text = TEXT, mode = "r",
    prepare = function(file) return lh.create_task(file.read, file, 20) end,
    run = function(file) return file:read(15) end,
    check = function(file, ok, value, _, first)
      assert.is_true(TEXT == lh.await(first) .. (ok and value or "") .. file:read "a")
    end,
  },
  ["a write behind another's"] = {
    text = "", mode = "w",
    prepare = function(file) return lh.create_task(file.write, file, LARGE) end,
    run = function(file) return file:write("mine", LARGE) end,
    check = function(file, ok, _, path, first)
      assert.is_true(lh.await(first))
      assert.is_true(file:close())
      local written = support.contents(path)
      assert.is_true(written == LARGE .. "mine" .. LARGE or not ok and written == LARGE)
    end,
  },

  ["write() of little"] = writing(function(file) return file:write "some" end, "some"),
  ["write() of much"] = writing(function(file) return file:write(LARGE) end, LARGE),
  ["write() of several"] = writing(function(file)
    return file:write("a", LARGE, "b", LARGE, "c")
  end, "a" .. LARGE .. "b" .. LARGE .. "c"),
  ["flush()"] = writing(function(file) return file:flush() end, ""),
  ["sync()"] = writing(function(file) return file:sync() end, ""),
  ["seek() after a write"] = writing(function(file)
    assert.equal(6, file:seek())
  end, ""),

  ["seek() to the end"] = {
    text = TEXT, mode = "r", run = function(file) return file:seek "end" end,
    prepare = function(file) file:read(5) end,
    check = function(file, ok, value)
      if ok then assert.equal(#TEXT, value) end
      assert.equal(ok and #TEXT or 5, file:seek())
    end,
  },
  ["truncate()"] = {
    text = TEXT, mode = "r+", run = function(file) return file:truncate(20) end,
    prepare = function(file) file:read(5) end,
    check = function(file, ok)
      assert.equal(5, file:seek())
      assert.is_true(file:sync()) -- what the thread does is over
      local size = file:seek "end"
      assert.is_true(size == 20 or not ok and size == #TEXT, size)
    end,
  },
  ["close()"] = {
    text = "", mode = "w", run = function(file) return file:close() end,
    prepare = function(file) file:write(LARGE) file:write "end" end,
    check = function(file, _, _, path)
      assert.is_true(file:close())
      assert.is_true(file:is_closed())
      while #support.contents(path) < #LARGE + 3 do lh.sleep(0.001) end
      assert.is_true(support.contents(path) == LARGE .. "end")
    end,
  },
}

-- One run, ended after so many turns. Whether it had come to its own end before.
local function run_once(path, operation, way, pace, turns)
  put(path, operation.text)
  local file <close> = assert(lh.open_file(path, operation.mode))
  local first = operation.prepare and operation.prepare(file)
  local done, ok, value = ending.after(turns, way, function() return operation.run(file) end, pace)
  operation.check(file, ok, value, path, first)
  return done
end

local function with_path(fn)
  return function()
    local path = os.tmpname()
    local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
    fn(path)
  end
end

for name, operation in pairs(OPERATIONS) do
  describe(name .. " of a file", function()
    for way, when, pace in ending.variants() do
      it(("%s at every turn, %s, and loses nothing"):format(way, when), with_path(function(path)
        leaves_nothing(function()
          ending.at_every_turn(function(turns)
            return run_once(path, operation, way, pace, turns)
          end, 30)
        end)
      end))
    end
  end)
end

describe("open_file", function()
  for way, when, pace in ending.variants() do
    it(("%s at every turn, %s, and leaves nothing"):format(way, when), with_path(function(path)
      leaves_nothing(function()
        ending.at_every_turn(function(turns)
          local done, ok, file = ending.after(turns, way, function()
            return lh.open_file(path)
          end, pace)
          if ok then file:close() end
          return done
        end, 30)
      end)
    end))
  end
end)

-- ---- pipes, where the thread waits ----

-- fn(path) in the test's body: the path of a named pipe.
local function with_pipe(fn)
  return with_path(function(path)
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    fn(path)
  end)
end

local WORDS = "one\ntwo three\n4 five\n"

local READS = {
  ["read(n)"] = { function(file) return file:read(9) end },
  ["read('a')"] = { function(file) return file:read "a" end },
  ["readline()"] = { function(file) return file:readline() end, with_newline },
  ["lines()"] = { function(file) return (file:lines "L")() end },
}

for name, read in pairs(READS) do
  describe(name .. " of a pipe", function()
    for way in pairs(ending.WAYS) do
      it(way .. " at every turn, and loses nothing", with_pipe(function(path)
        leaves_nothing(function()
          ending.at_every_turn(function(turns)
            local file <close> = assert(lh.open_file(path))
            local peer = assert(io.open(path, "w"))
            peer:setvbuf "no"
            local talking = lh.create_task(function()
              for byte in WORDS:gmatch "." do
                peer:write(byte)
                lh.sleep(0)
              end
              peer:close()
            end)
            local done, ok, value = ending.after(turns, way, function() return read[1](file) end)
            local taken = ok and (read[2] and read[2](value) or value) or ""
            assert.equal(WORDS, taken .. file:read "a")
            lh.await(talking)
            return done
          end)
        end)
      end))
    end
  end)
end

describe("write() to a pipe that is full", function()
  for way in pairs(ending.WAYS) do
    it(way .. " at every turn, and is done as a whole or not at all", with_pipe(function(path)
      leaves_nothing(function()
        ending.at_every_turn(function(turns)
          local reader <close> = assert(lh.open_file(path))
          local writer = assert(lh.open_file(path, "w"))
          local reading_all
          local starting = lh.create_task(function()
            for _ = 1, 8 do lh.sleep(0) end
            reading_all = lh.create_task(reader.read, reader, "a")
          end)
          local done, ok = ending.after(turns, way, function()
            return writer:write(LARGE, "and", LARGE)
          end)
          lh.await(starting)
          assert.is_true(writer:flush())
          assert.is_true(writer:close())
          local got = lh.await(reading_all)
          local whole = LARGE .. "and" .. LARGE
          assert.is_true(got == whole or not ok and got == "", #got .. " bytes")
          return done
        end)
      end)
    end))
  end
end)

describe("a file that is closed while others wait for it", function()
  it("tells each of them, whenever that is", with_pipe(function(path)
    leaves_nothing(function()
      for turns = 0, 12 do
        local file = assert(lh.open_file(path, "r+"))
        local waiting = {}
        for i = 1, 3 do waiting[i] = lh.create_task(file.read, file, 1) end
        for _ = 1, turns do lh.sleep(0) end
        assert.is_true(file:close())
        for _, task in ipairs(waiting) do
          local ok, _, _, code = lh.pcall(lh.await, task)
          assert.is_true(not ok or code == "ECANCELED")
        end
      end
    end)
  end))
end)

describe("a task that is cancelled while a file is closed for it", function()
  it("leaves nothing open", with_path(function(path)
    leaves_nothing(function()
      for turns = 0, 8 do
        local task = lh.create_task(function()
          local _ <close> = assert(lh.open_file(path, "w"))
          lh.sleep(1000)
        end)
        for _ = 1, turns do lh.sleep(0.0005) end
        task:cancel()
        lh.wait { task }
      end
    end)
  end))
end)
