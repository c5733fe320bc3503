-- open_file of a FIFO: who reads waits for who writes, as with io.open, and can be cancelled.

local lh = require "loophost"
local expect = require "spec.expect"
local paths = require "spec.paths"
local support = require "spec.support"

local function write(path, ...)
  local file <close> = assert(lh.open_file(path, "w"))
  assert(file:write(...))
end

describe("a FIFO", function()
  it("is read when somebody writes, however late", paths.fifos(1, function(path)
    local file <close> = assert(lh.open_file(path))
    local reader = lh.create_task(file.read, file, "a")
    lh.sleep(0.01)
    assert.is_false(reader:done())
    write(path, "one\n", "two\n")
    assert.equal("one\ntwo\n", lh.await(reader))
  end))

  it("has what is written next for who comes after a reader that was cancelled", paths.fifos(
    1, function(path)
      local file <close> = assert(lh.open_file(path))
      for turns = 0, 5 do
        local reader = lh.create_task(file.read, file)
        expect.turns(turns)
        reader:cancel()
        expect.cancelled(reader)
      end
      write(path, "line\n")
      assert.equal("line", file:read())
      assert.is_nil(file:read())
    end))

  it("can be closed while somebody waits for a writer", paths.fifos(1, function(path)
    local file = assert(lh.open_file(path))
    local reader = lh.create_task(file.read, file)
    lh.sleep(0.01)
    assert.is_true(file:close())
    assert.equal("ECANCELED", select(3, lh.await(reader)))
  end))

  it("that nobody reads cannot be opened for writing", paths.fifos(1, function(path)
    assert.equal("ENXIO", select(3, lh.open_file(path, "w")))
  end))

  it("that is opened both ways needs nobody else", paths.fifos(1, function(path)
    local file <close> = assert(lh.open_file(path, "r+"))
    assert.is_true(file:write "mine\n")
    assert.equal("mine", file:read())
  end))
end)

it("a pipe whose writer has gone is at its end", support.in_real_task(function()
  local child = assert(lh.create_subprocess_exec("true", { stdout = "pipe" }))
  child:wait()
  local file <close> = assert(lh.open_file("/proc/self/fd/" .. child.stdout:fileno()))
  assert.equal("", file:read "a")
  child:close()
end, { within = 20 }))
