-- 1 GiB through a pair of streams; what was sent and what came out are both fed to
-- sha256sum, and the sums compared.

local lh = require "loophost"

local MIB = 1024
local BLOCK = {}
for i = 1, 65536 do BLOCK[i] = ("%08x-%07d"):format(i * 2654435761 % 4294967296, i) end
BLOCK = table.concat(BLOCK) -- a MiB, of which the first bytes are the block's number
assert(#BLOCK == 1 << 20)

local function digest(name)
  local path = os.tmpname()
  local pipe = assert(io.popen("sha256sum >" .. path, "w"))
  pipe:setvbuf("full", 1 << 18)
  return pipe, function()
    assert(pipe:close(), name)
    local file <close> = assert(io.open(path))
    os.remove(path)
    return assert(file:read "l":match "^%x+")
  end
end

local held <close> = lh.timeout(280)
local sent, sum_of_sent = digest "sent"
local came, sum_of_came = digest "came"
local size, reads = 0, 0
local server = assert(lh.start_server(function(stream)
  for chunk in function() return stream:read() end do
    size, reads = size + #chunk, reads + 1
    came:write(chunk)
  end
  stream:close()
end, "127.0.0.1", 0))

local began = os.clock()
local stream = assert(lh.open_connection("127.0.0.1", select(2, server:getsockname())))
local rest = BLOCK:sub(17)
for i = 1, MIB do
  local head = ("block %9d;"):format(i)
  sent:write(head, rest)
  assert(stream:write(head, rest))
end
stream:write_eof()
assert(stream:read() == nil)
stream:close()
server:close()
server:wait_closed()
assert(size == MIB << 20, size)
local expected, got = sum_of_sent(), sum_of_came()
assert(expected == got, ("sent %s, came %s"):format(expected, got))
print(("%d MiB in %d reads, %.2f s of CPU (with the pipes to sha256sum): %s"):format(MIB, reads,
  os.clock() - began, got))
