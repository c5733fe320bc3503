-- Files do what io's do, call by call, and tell their errors with a code.

local lh = require "loophost"
local support = require "spec.support"
local expect = require "spec.expect"
local paths = require "spec.paths"
local raises = expect.raises

local in_task = support.in_real_task

local function results(...) return table.pack(...) end

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

  it("fails when no descriptor is left, and works again", paths.file("text", function(path)
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

  it("by formats is io's", paths.file(text, function(path)
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
      paths.file(numeral, function(path)
        same_as_io(path, "r", { { "read", "n" }, { "read", "n" }, { "read", "a" } })
      end)()
    end
  end)

  it("an empty file is io's", paths.file("", function(path)
    same_as_io(path, "r", {
      { "read" }, { "read", "a" }, { "read", 0 }, { "read", 1 }, { "seek", "end" },
    })
  end))

  it("lines of every length, over every border of the buffer", function()
    local lines = {}
    for i = 1, 300 do lines[i] = ("%d"):format(i % 10):rep(i * 7 % 1000) end
    lines[100], lines[200] = ("y"):rep(200000), ("z"):rep(65535)
    paths.file(table.concat(lines, "\n"), function(path)
      local file <close> = assert(lh.open_file(path))
      local i = 0
      for line in file:lines() do
        i = i + 1
        assert.is_true(line == lines[i])
      end
      assert.equal(#lines, i)
    end)()
  end)

  it("by lines takes formats, and raises what goes wrong", paths.file("a\nbc\nd", function(path)
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

  it("readline takes l and L", paths.file("a\nb\n", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("a", file:readline())
    assert.equal("b\n", file:readline("L"))
    assert.is_nil(file:readline())
    raises("invalid option", file.readline, file, "n")
  end))

  it("sees what was appended after the end", paths.file("a\n", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("a", file:read())
    assert.is_nil(file:read())
    local other <close> = assert(io.open(path, "a"))
    other:write("b\n")
    other:flush()
    assert.equal("b", file:read())
  end))

  it("refuses what is no format", paths.file("text", function(path)
    local file <close> = assert(lh.open_file(path))
    raises("invalid format", file.read, file, "x")
    raises("invalid format", file.read, file, "")
    raises("out of range", file.read, file, -1)
    raises("no integer representation", file.read, file, 1.5)
    raises("bad argument", file.read, file, {})
    raises("file expected", file.read, {})
    assert.equal("text", file:read("a"))
  end))

  it("does not believe in sizes", paths.file("text", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("text", file:read(1 << 50))
    local zero <close> = assert(lh.open_file("/dev/zero"))
    assert.equal(("\0"):rep(300000), zero:read(300000))
    local stat <close> = assert(lh.open_file("/proc/self/stat")) -- says that it is empty
    assert.is_truthy(stat:read("a"):find("^%d+ "))
  end))

  it("from a file opened for writing is an error, as in io", paths.file("", function(path)
    local file <close> = assert(lh.open_file(path, "w"))
    assert.equal("EBADF", select(3, file:read()))
    raises("EBADF", function() for _ in file:lines() do error("a line") end end)
  end))
end)

describe("writing", function()
  it("writes numbers and strings, in order, small and large", paths.file("", function(path)
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
    assert.is_true(support.contents(path) == table.concat(expected) .. ("z"):rep(1000000))
  end))

  it("is seen by others after flush, and by close", paths.file("", function(path)
    local file = assert(lh.open_file(path, "w"))
    file:write("a")
    assert.equal("", support.contents(path))
    assert.is_true(file:flush())
    assert.equal("a", support.contents(path))
    file:write("b")
    assert.is_true(file:sync())
    assert.equal("ab", support.contents(path))
    file:write("c")
    assert.is_true(file:close())
    assert.equal("abc", support.contents(path))
    assert.is_true(file:close())
  end))

  it("and reading share one position, as in io", paths.file("0123456789\nabc\n", function(path)
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

  it("appends where the end is, whoever moved it", paths.file("a", function(path)
    local file <close> = assert(lh.open_file(path, "a+"))
    assert.equal("a", file:read("a"))
    local other <close> = assert(io.open(path, "a"))
    other:write("b")
    other:flush()
    file:seek("set", 0)
    file:write("c")
    assert.equal(3, file:seek())
    assert.equal("abc", support.contents(path))
    local last <close> = assert(lh.open_file(path, "a"))
    assert.equal(3, last:seek())
  end))

  it("truncates at a size, or at the position", paths.file("0123456789", function(path)
    local file <close> = assert(lh.open_file(path, "r+"))
    assert.is_true(file:truncate(8))
    file:read(3)
    assert.is_true(file:truncate())
    assert.equal("012", support.contents(path))
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

  it("beyond the largest file fails in flush and in close, once", paths.file("", function(path)
    local file = assert(lh.open_file(path, "r+"))
    assert.is_truthy(file:seek("set", math.maxinteger - 1))
    assert.is_true(file:write("text")) -- into the buffer
    assert.is_truthy(select(3, file:flush()))
    assert.is_true(file:flush())
    file:write("text")
    assert.is_truthy(select(3, file:close()))
    assert.is_true(file:close())
  end))

  it("refuses what is no text", paths.file("", function(path)
    local file <close> = assert(lh.open_file(path, "w"))
    raises("string expected, got table", file.write, file, "a", {})
    raises("string expected, got nil", file.write, file, nil)
    file:flush()
    assert.equal("", support.contents(path))
  end))
end)

describe("seek", function()
  it("fails below zero and refuses other words", paths.file("abc", function(path)
    local file <close> = assert(lh.open_file(path))
    assert.equal("EINVAL", select(3, file:seek("set", -1)))
    assert.equal("EINVAL", select(3, file:seek("cur", math.mininteger)))
    assert.equal("EINVAL", select(3, file:seek("end", math.maxinteger)))
    assert.equal(10, file:seek("set", 10))
    assert.is_nil(file:read())
    raises("invalid option", file.seek, file, "middle")
    raises("no integer representation", file.seek, file, "set", 0.5)
  end))

  it("fails where there is no position", paths.fifos(1, function(path)
    local pipe <close> = assert(lh.open_file(path, "r+"))
    assert.equal("ESPIPE", select(3, pipe:seek()))
  end))
end)
