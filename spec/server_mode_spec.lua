-- The mode of a Unix server's socket file is the one that was asked for, whatever the umask.

local lh = require "loophost"
local support = require "spec.support"

local function mode_of(path)
  local child = assert(lh.create_subprocess_exec("stat", "-c", "%a", path, { stdout = "pipe" }))
  return (child:communicate():gsub("\n", ""))
end

describe("the mode of a socket file", function()
  for _, mode in ipairs { "666", "600", "777", "0" } do
    it("can be " .. mode, support.in_real_task(function()
      local path = os.tmpname()
      os.remove(path)
      local server <close> = assert(lh.start_unix_server(function() end, path,
        { mode = tonumber(mode, 8) }))
      assert.is_true(server:is_serving())
      assert.equal(mode, mode_of(path))
    end))
  end
end)
