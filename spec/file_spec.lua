-- Files that are read and written in a thread. A pipe that nobody writes to is how a test
-- has the thread at work for as long as it wants.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local raises = expect.raises

local in_task = support.in_real_task

-- fn(path): the path of a file that holds the text, removed afterwards.
local function with_file(text, fn)
  return in_task(function(loop)
    local path = os.tmpname()
    local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    fn(path, loop)
  end)
end

-- fn(path): the path of a named pipe.
local function with_pipe(fn)
  return in_task(function(loop)
    local path = os.tmpname()
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
    fn(path, loop)
  end)
end

local function content(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function results(...) return table.pack(...) end

-- A task that waits in fn(...) while the thread is at work.
local function stuck(fn, ...)
  local task = lh.create_task(fn, ...)
  lh.sleep(0.02)
  assert.is_false(task:done())
  return task
end

-- What io makes of a file and what we do, call by call.
local function same_as_io(path, mode, calls)
  local theirs <close> = assert(io.open(path, mode))
  local ours <close> = assert(lh.open_file(path, mode))
  for i, call in ipairs(calls) do
    local name = call[1]
    local expected = results(theirs[name](theirs, table.unpack(call, 2)))
    local got = results(ours[name](ours, table.unpack(call, 2)))
    assert.same(expected, got, ("call %d: %s"):format(i, name))
  end
end

describe("open_file", function()
  it("tells what is wrong as io.open does, with a code", in_task(function()
    assert.same({ n = 3, nil, "ENOENT: no such file or directory: /no/such", "ENOENT" },
      results(lh.open_file("/no/such")))
    assert.equal("EISDIR", select(3, lh.open_file("/tmp", "w")))
    assert.equal("ENOTDIR", select(3, lh.open_file("/dev/null/x")))
    assert.equal("ENAMETOOLONG", select(3, lh.open_file(("x"):rep(5000))))
    local busy = results(lh.open_file("/proc/self/exe", "r+"))
    if busy[1] then busy[1]:close() else assert.equal("ETXTBSY", busy[3]) end -- not in memcheck
  end))

  it("refuses what io.open refuses", in_task(function()
    for _, mode in ipairs { "", "x", "rw", "r++", "r+bx", "wx" } do
      raises("bad argument #2 to 'open_file' (invalid mode)", lh.open_file, "/dev/null", mode)
    end
    raises("bad argument #1 to 'open_file' (string expected, got no value)", lh.open_file)
    raises("zero byte", lh.open_file, "a\0b")
    raises("bad argument #2", lh.open_file, "/dev/null", {})
  end))

  it("needs a task", function()
    if lh.current_task() then return end
    raises("only a task can wait", lh.open_file, "/dev/null")
  end)

  it("fails when no descriptor is left, and works again", with_file("text", function(path)
    lh.open_file(path):close() -- the thread is there
    local open = {}
    repeat
      local file = io.open("/dev/null")
      open[#open + 1] = file
    until not file or #open == 100000
    local failed = results(lh.open_file(path))
    for _, file in ipairs(open) do file:close() end
    if #open < 100000 then assert.equal("EMFILE", failed[3]) end
    if failed[1] then failed[1]:close() end
    local file <close> = assert(lh.open_file(path))
    assert.equal("text", file:read("a"))
  end))

  it("a directory can be opened but not read, as with io", in_task(function()
    local directory <close> = assert(lh.open_file("/tmp"))
    assert.same({ n = 3, nil, "EISDIR: is a directory", "EISDIR" }, results(directory:read("a")))
  end))
end)

describe("reading", function()
  local text = "first\nsecond line\r\n\n  12 0x1Fp2 -.5e3 abc\n" .. ("x"):rep(70000) .. "\nend"

  it("by formats is io's", with_file(text, function(path)
    same_as_io(path, "r", {
      { "read" }, { "read", "L" }, { "read", "l" }, { "read", "n" }, { "read", "n", "n", 1 },
      { "read", "n" }, { "read", "l" }, { "read", 0 }, { "read", 10, 20 }, { "read", "l" },
      { "read", 2 }, { "read", 100 }, { "read", 0 }, { "read", "l" }, { "read", "a" },
      { "read", "n" }, { "read", "a", "l", "a" },
    })
    same_as_io(path, "rb", { { "read", "*l", "*L" }, { "read", "*a" } })
  end))

  it("numbers is io's, also where they end badly", function()
    for _, numeral in ipairs { "1", "-", "0x", "1e", "1e+", ".", "..", "12.5.6", "0x.p1", "+7 ", "",
      "  ", "nan", "1\0", ("9"):rep(250), ("9"):rep(199), "0xA.8p-2,", "1e5e5", "--1" } do
      with_file(numeral, function(path)
        same_as_io(path, "r", { { "read", "n" }, { "read", "n" }, { "read", "a" } })
      end)()
    end
  end)

  it("an empty file is io's", with_file("", function(path)
    same_as_io(path, "r", {
      { "read" }, { "read", "a" }, { "read", 0 }, { "read", 1 }, { "seek", "end" },
    })
  end))

  it("lines of every length, over every border of the buffer", function()
    local lines = {}
    for i = 1, 300 do lines[i] = ("%d"):format(i % 10):rep(i * 7 % 1000) end
    lines[100], lines[200] = ("y"):rep(200000), ("z"):rep(65535)
    with_file(table.concat(lines, "\n"), function(path)
      local file <close> = assert(lh.open_file(path))
      local i = 0
      for line in file:lines() do
        i = i + 1
        assert.is_true(line == lines[i])
      end
      assert.equal(#lines, i)
    end)()
  end)

  it("by lines takes formats, and raises what goes wrong", with_file("a\nbc\nd", function(path)
    local file <close> = assert(lh.open_file(path))
    local log = expect.log()
    for line, byte in file:lines("L", 1) do log(line .. tostring(byte)) end
    assert.equal("a\nb c\nd", expect.line(log))
    raises("invalid format", file.lines, file, "x")
    local directory <close> = assert(lh.open_file("/tmp"))
    raises("file_spec.lua", function() for _ in directory:lines() do error("a line") end end)
    raises("EISDIR", function() for _ in directory:lines() do error("a line") end end)
    local next_line = file:lines()
    file:close()
    raises("the file is closed", next_line)
  end))

  it("readline takes l and L", with_file("a\nb\n", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("a", file:readline())
    assert.equal("b\n", file:readline("L"))
    assert.is_nil(file:readline())
    raises("invalid option", file.readline, file, "n")
  end))

  it("sees what was appended after the end", with_file("a\n", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("a", file:read())
    assert.is_nil(file:read())
    local other <close> = assert(io.open(path, "a"))
    other:write("b\n")
    other:flush()
    assert.equal("b", file:read())
  end))

  it("refuses what is no format", with_file("text", function(path)
    local file <close> = assert(lh.open_file(path))
    raises("invalid format", file.read, file, "x")
    raises("invalid format", file.read, file, "")
    raises("out of range", file.read, file, -1)
    raises("no integer representation", file.read, file, 1.5)
    raises("bad argument", file.read, file, {})
    raises("file expected", file.read, {})
    assert.equal("text", file:read("a"))
  end))

  it("does not believe in sizes", with_file("text", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("text", file:read(1 << 50))
    local zero <close> = assert(lh.open_file("/dev/zero"))
    assert.equal(("\0"):rep(300000), zero:read(300000))
    local stat <close> = assert(lh.open_file("/proc/self/stat")) -- says that it is empty
    assert.is_truthy(stat:read("a"):find("^%d+ "))
  end))

  it("from a file opened for writing is an error, as in io", with_file("", function(path)
    local file <close> = assert(lh.open_file(path, "w"))
    assert.equal("EBADF", select(3, file:read()))
    raises("EBADF", function() for _ in file:lines() do error("a line") end end)
  end))
end)

describe("writing", function()
  it("writes numbers and strings, in order, small and large", with_file("", function(path)
    local expected = {}
    local file = assert(lh.open_file(path, "w"))
    for i = 1, 200 do
      local part = ("%d,"):format(i):rep(i * i % 3000)
      assert.is_true(file:write(part, i, 1.5, ""))
      expected[i] = part .. i .. 1.5
    end
    assert.is_true(file:write(("z"):rep(1000000)))
    assert.is_true(file:write())
    assert.is_true(file:close())
    assert.is_true(content(path) == table.concat(expected) .. ("z"):rep(1000000))
  end))

  it("is seen by others after flush, and by close", with_file("", function(path)
    local file = assert(lh.open_file(path, "w"))
    file:write("a")
    assert.equal("", content(path))
    assert.is_true(file:flush())
    assert.equal("a", content(path))
    file:write("b")
    assert.is_true(file:sync())
    assert.equal("ab", content(path))
    file:write("c")
    assert.is_true(file:close())
    assert.equal("abc", content(path))
    assert.is_true(file:close())
  end))

  it("and reading share one position, as in io", with_file("0123456789\nabc\n", function(path)
    same_as_io(path, "r+", {
      { "read", 3 }, { "seek" }, { "seek", "cur", 2 }, { "read", 1 }, { "seek", "end", -4 },
      { "read", "l" }, { "seek", "set", 1 },
    })
    local file = assert(lh.open_file(path, "r+"))
    assert.equal("012", file:read(3))
    file:write("XY")
    assert.equal(5, file:seek())
    assert.equal("567", file:read(3))
    file:seek("end")
    file:write("tail")
    assert.equal(19, file:seek("cur"))
    file:seek("set")
    assert.equal("012XY56789\nabc\ntail", file:read("a"))
    file:close()
  end))

  it("appends where the end is, whoever moved it", with_file("a", function(path)
    local file <close> = assert(lh.open_file(path, "a+"))
    assert.equal("a", file:read("a"))
    local other <close> = assert(io.open(path, "a"))
    other:write("b")
    other:flush()
    file:seek("set", 0)
    file:write("c")
    assert.equal(3, file:seek())
    assert.equal("abc", content(path))
    local last <close> = assert(lh.open_file(path, "a"))
    assert.equal(3, last:seek())
  end))

  it("truncates at a size, or at the position", with_file("0123456789", function(path)
    local file <close> = assert(lh.open_file(path, "r+"))
    assert.is_true(file:truncate(8))
    file:read(3)
    assert.is_true(file:truncate())
    assert.equal("012", content(path))
    assert.is_nil(file:read())
    raises("must not be negative", file.truncate, file, -1)
    local reader <close> = assert(lh.open_file(path))
    assert.equal("EBADF", select(3, reader:truncate(0)))
    assert.equal("EBADF", select(3, reader:write("x")))
  end))

  it("to a full disk fails at once or when it is flushed", in_task(function()
    local full = assert(lh.open_file("/dev/full", "w"))
    assert.same({ n = 3, nil, "ENOSPC: no space left on device", "ENOSPC" },
      results(full:write("x")))
    assert.equal("ENOSPC", select(3, full:write(("x"):rep(100000))))
    assert.is_true(full:close())
  end))

  it("beyond the largest file fails in flush and in close, once", with_file("", function(path)
    local file = assert(lh.open_file(path, "r+"))
    assert.is_truthy(file:seek("set", math.maxinteger - 1))
    assert.is_true(file:write("text")) -- into the buffer
    assert.is_truthy(select(3, file:flush()))
    assert.is_true(file:flush())
    file:write("text")
    assert.is_truthy(select(3, file:close()))
    assert.is_true(file:close())
  end))

  it("refuses what is no text", with_file("", function(path)
    local file <close> = assert(lh.open_file(path, "w"))
    raises("string expected, got table", file.write, file, "a", {})
    raises("string expected, got nil", file.write, file, nil)
    file:flush()
    assert.equal("", content(path))
  end))
end)

describe("seek", function()
  it("fails below zero and refuses other words", with_file("abc", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("EINVAL", select(3, file:seek("set", -1)))
    assert.equal("EINVAL", select(3, file:seek("cur", math.mininteger)))
    assert.equal("EINVAL", select(3, file:seek("end", math.maxinteger)))
    assert.equal(10, file:seek("set", 10))
    assert.is_nil(file:read())
    raises("invalid option", file.seek, file, "middle")
    raises("no integer representation", file.seek, file, "set", 0.5)
  end))

  it("fails where there is no position", with_pipe(function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    assert.equal("ESPIPE", select(3, pipe:seek()))
  end))
end)

describe("a pipe", function()
  it("is waited for without blocking the loop", with_pipe(function(path)
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

  it("that is full is waited for, too", with_pipe(function(path)
    local reader <close> = assert(lh.open_file(path))
    local writer <close> = assert(lh.open_file(path, "w"))
    local text = ("0123456789"):rep(50000)
    local task = lh.create_task(writer.write, writer, text)
    assert.is_true(reader:read(#text) == text)
    assert.is_true(lh.await(task))
  end))
end)

describe("several tasks", function()
  it("use a file one after the other", with_file("", function(path)
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

  it("wait in line, and one that is cancelled leaves it", with_pipe(function(path)
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
  it("a read ends it at once and loses nothing", with_pipe(function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    raises(lh.TimeoutError, lh.wait_for, function() return pipe:read(5) end, 0.02)
    os.execute(("printf 123456789 > %s"):format(path))
    raises(lh.TimeoutError, lh.wait_for, function() return pipe:read(20) end, 0.02)
    assert.equal("12345", pipe:read(5))
    assert.equal("6789", pipe:read(4))
  end))

  it("a write that has begun lets it be finished", with_pipe(function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    local other <close> = assert(lh.open_file(path))
    local text = ("0123456789"):rep(20000)
    local task = stuck(pipe.write, pipe, text)
    task:cancel()
    expect.cancelled(task)
    assert.is_true(other:read(#text) == text)
  end))

  it("an open leaves no descriptor behind, whenever it comes", with_file("text", function(path)
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

  it("at every turn of a read or write leaves the position right", with_file("", function(path)
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

  it("a close closes it all the same, whenever it comes", with_file("", function(path)
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
      assert.equal("text" .. turn, content(path))
    end
  end))
end)

describe("closing", function()
  it("ends what is going on, also in the thread", with_pipe(function(path)
    local before = support.descriptors()
    local pipe = assert(lh.open_file(path, "r+"))
    local reader, waiter = stuck(pipe.read, pipe), stuck(pipe.read, pipe)
    assert.is_true(pipe:close())
    for _, task in ipairs { reader, waiter } do
      assert.same({ n = 3, nil, "ECANCELED: the file was closed", "ECANCELED" },
        results(lh.await(task)))
    end
    assert.equal(before, support.descriptors())
    raises("the file is closed", pipe.read, pipe)
    raises("the file is closed", pipe.write, pipe, "x")
    raises("the file is closed", pipe.seek, pipe)
    raises("the file is closed", pipe.fileno, pipe)
    assert.equal("file (closed)", tostring(pipe))
  end))

  it("works where nobody can wait", with_file("", function(path, loop)
    local file = assert(lh.open_file(path, "w"))
    file:write("text")
    loop:call_soon(function() assert(file:close()) end)
    expect.turns(2)
    assert.is_true(file:is_closed())
    assert.equal("text", content(path))
  end))

  it("is what leaving the block does", with_file("", function(path)
    do
      local file <close> = assert(lh.open_file(path, "w"))
      file:write("text")
    end
    assert.equal("text", content(path))
    local before = support.descriptors()
    pcall(function()
      local file <close> = assert(lh.open_file(path, "w"))
      file:write("more")
      error "out"
    end)
    assert.equal("more", content(path))
    assert.equal(before, support.descriptors())
  end))

  it("is done by the collector, which says where it was opened", with_file("", function(path)
    local before = support.descriptors()
    local file = assert(lh.open_file(path, "w")) -- here
    file:write("kept")
    file = nil -- luacheck: ignore
    lh.sleep(0)
    collectgarbage()
    collectgarbage()
    assert.equal("kept", content(path))
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
      assert.equal("text", content(path), ending)
      os.remove(path)
    end
  end)
end)

describe("many files that keep their threads waiting", function()
  -- fn(pipes, paths): as many named pipes.
  local function with_pipes(count, fn)
    return in_task(function()
      local paths, pipes = {}, {}
      local _ <close> = setmetatable({}, { __close = function()
        for _, pipe in ipairs(pipes) do pipe:close() end
        for _, path in ipairs(paths) do os.remove(path) end
      end })
      for i = 1, count do
        paths[i] = os.tmpname()
        os.remove(paths[i])
      end
      assert(os.execute("mkfifo " .. table.concat(paths, " ")))
      for i = 1, count do pipes[i] = assert(lh.open_file(paths[i], "r+")) end
      fn(pipes, paths)
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

  it("let others be used, when they are read", with_pipes(40, function(pipes, paths)
    local tasks = {}
    for i, pipe in ipairs(pipes) do tasks[i] = lh.create_task(pipe.read, pipe) end
    use_a_file()
    for i, path in ipairs(paths) do
      assert.is_false(tasks[i]:done())
      assert(os.execute(("echo line %d > %s"):format(i, path)))
    end
    for i = 1, #pipes do assert.equal("line " .. i, lh.await(tasks[i])) end
    use_a_file()
  end))

  it("let others be used, when they are written to", with_pipes(9, function(pipes, paths)
    local tasks = {}
    for i, pipe in ipairs(pipes) do
      tasks[i] = lh.create_task(pipe.write, pipe, ("x"):rep(200000))
    end
    use_a_file()
    for i, path in ipairs(paths) do
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
