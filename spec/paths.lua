-- What has a path while a test runs, and is removed at its end. Each is a test body: fn runs as a
-- task by the real clock, with the paths and then the loop.

local support = require "spec.support"

local paths = {}

-- fn(path..., loop) with `count` paths at which nothing is yet.
function paths.free(count, fn)
  return support.in_real_task(function(loop)
    local list = {}
    local _ <close> = setmetatable({}, { __close = function()
      for i = 1, count do os.remove(list[i]) end
    end })
    for i = 1, count do
      list[i] = os.tmpname()
      os.remove(list[i])
    end
    list[count + 1] = loop
    fn(table.unpack(list))
  end)
end

-- fn(path, loop): the path of a file that holds the text.
function paths.file(text, fn)
  return paths.free(1, function(path, loop)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    fn(path, loop)
  end)
end

-- fn(path..., loop): the paths of `count` FIFOs.
function paths.fifos(count, fn)
  return paths.free(count, function(...)
    assert(os.execute("mkfifo " .. table.concat({ ... }, " ", 1, count)))
    fn(...)
  end)
end

return paths
