-- Files while a thread is at work on them: who waits, who is cancelled, what is closed. A pipe
-- that nobody writes to is how a test has the thread at work for as long as it wants.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local paths = require "spec.paths"
local raises = expect.raises

-- A task that waits in fn(...) while the thread is at work.
local function stuck(fn, ...)
  local task = lh.create_task(fn, ...)
  lh.sleep(0.02)
  assert.is_false(task:done())
  return task
end

describe("a pipe", function()
  it("is waited for without blocking the loop", paths.fifos(1, function(path)
    local reader <close> = assert(lh.open_file(path))
    local writer <close> = assert(lh.open_file(path, "w"))
    local line = lh.create_task(reader.read, reader)
    lh.sleep(0.02)
    assert.is_false(line:done())
    writer:write("li")
    writer:write("ne\nrest")
    assert.equal("line", lh.await(line))
    writer:close()
    assert.equal("rest", reader:read("a"))
  end))

  it("that is full is waited for, too", paths.fifos(1, function(path)
    local reader <close> = assert(lh.open_file(path))
    local writer <close> = assert(lh.open_file(path, "w"))
    local text = ("0123456789"):rep(50000)
    local task = lh.create_task(writer.write, writer, text)
    assert.is_true(reader:read(#text) == text)
    assert.is_true(lh.await(task))
  end))
end)

describe("several tasks", function()
  it("use a file one after the other", paths.file("", function(path)
    local file <close> = assert(lh.open_file(path, "r+"))
    lh.gather(
      function() for _ = 1, 50 do file:write(("a"):rep(70000), "\n") end end,
      function() for _ = 1, 50 do file:write(("b"):rep(70000), "\n") end end)
    file:seek("set")
    local count = {}
    for line in file:lines() do
      assert.is_truthy(line == ("a"):rep(70000) or line == ("b"):rep(70000))
      count[line:sub(1, 1)] = (count[line:sub(1, 1)] or 0) + 1
    end
    assert.same({ a = 50, b = 50 }, count)
  end))

  it("wait in line, and one that is cancelled leaves it", paths.fifos(1, function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    local log = expect.log()
    local tasks = {}
    for i = 1, 5 do
      tasks[i] = lh.create_task(function() log(i .. pipe:read()) end)
    end
    lh.sleep(0.02)
    tasks[3]:cancel()
    tasks[1]:cancel()
    expect.cancelled(tasks[3])
    expect.cancelled(tasks[1])
    os.execute(("printf 'a\\nb\\nc\\n' > %s"):format(path))
    lh.gather(tasks[2], tasks[4], tasks[5])
    assert.equal("2a 4b 5c", expect.line(log))
  end))
end)

describe("cancelling", function()
  it("a read ends it at once and loses nothing", paths.fifos(1, function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    raises(lh.TimeoutError, lh.wait_for, function() return pipe:read(5) end, 0.02)
    os.execute(("printf 123456789 > %s"):format(path))
    raises(lh.TimeoutError, lh.wait_for, function() return pipe:read(20) end, 0.02)
    assert.equal("12345", pipe:read(5))
    assert.equal("6789", pipe:read(4))
  end))

  it("a write that has begun lets it be finished", paths.fifos(1, function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    local other <close> = assert(lh.open_file(path))
    local text = ("0123456789"):rep(20000)
    local task = stuck(pipe.write, pipe, text)
    task:cancel()
    expect.cancelled(task)
    assert.is_true(other:read(#text) == text)
  end))

  it("an open leaves no descriptor behind, whenever it comes", paths.file("text", function(path)
    lh.open_file(path):close()
    local before = support.descriptors()
    for turn = 0, 6 do
      local task = lh.create_task(lh.open_file, path)
      expect.turns(turn)
      task:cancel()
      local ok, file = lh.rawpcall(lh.await, task)
      if ok then file:close() end
    end
    repeat lh.sleep(0.005) until support.descriptors() == before
  end))

  it("at every turn of a read or write leaves the position right", paths.file("", function(path)
    local file <close> = assert(lh.open_file(path, "r+"))
    for i = 1, 3000 do file:write(("%09d\n"):format(i)) end
    for turn = 0, 8 do
      file:seek("set", 0)
      assert.equal("000000001", file:read())
      local task = lh.create_task(file.read, file, 25000)
      expect.turns(turn)
      task:cancel()
      local ok, text = lh.rawpcall(lh.await, task)
      assert.equal(ok and 25010 or 10, file:seek())
      if ok then assert.equal(25000, #text) end
      assert.equal(ok and "000002502" or "000000002", file:read())
    end
  end))

  it("a close closes it all the same, whenever it comes", paths.file("", function(path)
    local before = support.descriptors()
    for turn = 0, 5 do
      local file = assert(lh.open_file(path, "w"))
      file:write("text", turn)
      local task = lh.create_task(file.close, file)
      expect.turns(turn)
      local reached = file:is_closed()
      task:cancel()
      lh.rawpcall(lh.await, task)
      if not reached then assert.is_true(file:close()) end -- it had not even begun
      assert.is_true(file:is_closed())
      repeat lh.sleep(0.002) until support.descriptors() == before
      assert.equal("text" .. turn, support.contents(path))
    end
  end))
end)

describe("closing", function()
  it("ends what is going on, also in the thread", paths.fifos(1, function(path)
    local before = support.descriptors()
    local pipe = assert(lh.open_file(path, "r+"))
    local reader, waiter = stuck(pipe.read, pipe), stuck(pipe.read, pipe)
    assert.is_true(pipe:close())
    for _, task in ipairs { reader, waiter } do
      assert.same({ n = 3, nil, "ECANCELED: the file was closed", "ECANCELED" },
        table.pack(lh.await(task)))
    end
    assert.equal(before, support.descriptors())
    raises("the file is closed", pipe.read, pipe)
    raises("the file is closed", pipe.write, pipe, "x")
    raises("the file is closed", pipe.seek, pipe)
    raises("the file is closed", pipe.fileno, pipe)
    assert.equal("file (closed)", tostring(pipe))
  end))

  it("works where nobody can wait", paths.file("", function(path, loop)
    local file = assert(lh.open_file(path, "w"))
    file:write("text")
    loop:call_soon(function() assert(file:close()) end)
    expect.turns(2)
    assert.is_true(file:is_closed())
    assert.equal("text", support.contents(path))
  end))

  it("is what leaving the block does", paths.file("", function(path)
    do
      local file <close> = assert(lh.open_file(path, "w"))
      file:write("text")
    end
    assert.equal("text", support.contents(path))
    local before = support.descriptors()
    pcall(function()
      local file <close> = assert(lh.open_file(path, "w"))
      file:write("more")
      error "out"
    end)
    assert.equal("more", support.contents(path))
    assert.equal(before, support.descriptors())
  end))

  it("is done by the collector, which says where it was opened", paths.file("", function(path)
    local before = support.descriptors()
    local file = assert(lh.open_file(path, "w")) -- here
    file:write("kept")
    file = nil -- luacheck: ignore
    lh.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.equal("kept", support.contents(path))
    assert.equal(before, support.descriptors())
  end))
end)

describe("the end of the program", function()
  it("writes what is in the buffers, however it comes", function()
    local host = os.getenv "LOOPHOST"
    if lh.pcall ~= pcall or not host then return end
    for _, ending in ipairs { "", "os.exit(0)", "os.exit(0, true)", "error 'x'" } do
      local path = os.tmpname()
      os.execute(("%s -e %q 2>/dev/null"):format(host, ("local f = require 'loophost'.open_file("
        .. "%q, 'w') f:write 'text' %s"):format(path, ending)))
      assert.equal("text", support.contents(path), ending)
      os.remove(path)
    end
  end)
end)

describe("many files that keep their threads waiting", function()
  -- fn(pipes, fifos): as many named pipes, open, and their paths.
  local function with_pipes(count, fn)
    return paths.fifos(count, function(...)
      local fifos, pipes = { ... }, {}
      fifos[count + 1] = nil -- the loop
      local _ <close> = setmetatable({}, { __close = function()
        for _, pipe in ipairs(pipes) do pipe:close() end
      end })
      for i = 1, count do pipes[i] = assert(lh.open_file(fifos[i], "r+")) end
      fn(pipes, fifos)
    end)
  end

  local function use_a_file()
    local path = os.tmpname()
    local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
    local file <close> = assert(lh.open_file(path, "w+"))
    assert.is_true(file:write("some text"))
    assert.equal(0, file:seek("set"))
    assert.equal("some text", file:read("a"))
    assert.is_true(file:close())
  end

  it("let others be used, when they are read", with_pipes(40, function(pipes, fifos)
    local tasks = {}
    for i, pipe in ipairs(pipes) do tasks[i] = lh.create_task(pipe.read, pipe) end
    use_a_file()
    for i, path in ipairs(fifos) do
      assert.is_false(tasks[i]:done())
      assert(os.execute(("echo line %d > %s"):format(i, path)))
    end
    for i = 1, #pipes do assert.equal("line " .. i, lh.await(tasks[i])) end
    use_a_file()
  end))

  it("let others be used, when they are written to", with_pipes(9, function(pipes, fifos)
    local tasks = {}
    for i, pipe in ipairs(pipes) do
      tasks[i] = lh.create_task(pipe.write, pipe, ("x"):rep(200000))
    end
    use_a_file()
    for i, path in ipairs(fifos) do
      assert.is_false(tasks[i]:done())
      assert(os.execute(("head -c 200000 < %s >/dev/null"):format(path)))
      assert.is_true(lh.await(tasks[i]))
    end
  end))
end)

describe("loops", function()
  it("share a file, one after the other", function()
    local path, file = os.tmpname(), nil
    local function on_a_loop(fn)
      support.with_loop(function(loop) loop:run_until_complete(fn) end, { clock = "monotonic" })
    end
    on_a_loop(function()
      file = assert(lh.open_file(path, "w+"))
      file:write(("x"):rep(200000), "\nline\n")
    end)
    on_a_loop(function()
      file:seek("set", 200001)
      assert.equal("line", file:read())
      assert.is_true(file:close())
    end)
    os.remove(path)
  end)

  it("may be closed while the thread is at work", function()
    local path, pipe = os.tmpname(), nil
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    local before = support.descriptors()
    for turn = 0, 4 do
      support.with_loop(function(loop)
        loop:run_until_complete(function()
          pipe = pipe or assert(lh.open_file(path, "r+"))
          lh.create_task(pipe.read, pipe)
          lh.create_task(pipe.read, pipe)
          expect.turns(turn)
        end)
      end, { clock = "monotonic" })
    end
    support.with_loop(function(loop)
      loop:run_until_complete(function()
        os.execute(("printf 'a\\nb\\n' > %s"):format(path))
        assert.equal("a", pipe:read())
        assert.equal("b", pipe:read())
        local task = stuck(pipe.read, pipe)
        assert.is_true(pipe:close())
        assert.equal("ECANCELED", select(3, lh.await(task)))
      end)
    end, { clock = "monotonic" })
    os.remove(path)
    assert.equal(before, support.descriptors())
  end)

  it("with virtual time wait for the thread", function()
    local path = os.tmpname()
    support.run(function()
      local loop = lh.get_running_loop()
      local file <close> = assert(lh.open_file(path, "w+"))
      local ticker = lh.create_task(function() for _ = 1, 1000 do lh.sleep(1) end end)
      for _ = 1, 20 do
        local began = loop:time()
        file:write(("x"):rep(100000))
        file:flush()
        assert.is_true(loop:time() - began < 1, "time passed while the thread was at work")
      end
      ticker:cancel()
    end)
    os.remove(path)
  end)
end)
