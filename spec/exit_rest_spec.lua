-- What a program that ends still does: files get what was written, and a thread that computes for
-- ever is interrupted, so that its state is closed.

local lh = require "loophost"
local support = require "spec.support"

local HOST = os.getenv "LOOPHOST"

-- What the program says on stderr; its exit status must be 0.
local function said_by(code, path)
  local pipes = { stdin = "pipe", stderr = "pipe" }
  local child = assert(lh.create_subprocess_exec(HOST, "-", path, pipes))
  local _, said = child:communicate("local lh = require 'loophost' " .. code)
  assert.equal(0, child:wait())
  return said
end

describe("at the end #child", function()
  if not HOST then return end

  for _, how in ipairs { "", "os.exit(0)", "os.exit(0, true)" } do
    it("files have what was written to them, by " .. (how == "" and "itself" or how),
      support.in_real_task(function()
        local path = os.tmpname()
        assert.equal("", said_by("FILE = lh.open_file(..., 'w') FILE:write 'kept' " .. how, path))
        local file <close> = assert(io.open(path))
        assert.equal("kept", file:read "a")
        os.remove(path)
      end))
  end

  it("the state of a thread that was interrupted is closed", support.in_real_task(function()
    assert.equal("closed", said_by([[
      lh.create_task(lh.to_thread, [=[
        GUARD = setmetatable({}, { __gc = function() io.stderr:write "closed" end })
        while true do end]=])
      lh.sleep(0.05)
      os.exit(0, true)]], ""))
  end))
end)
