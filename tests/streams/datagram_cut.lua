-- A datagram that is larger than what the kernel was given room for (here the room was shortened)
-- is told to be cut off, and none after it suffers.
-- preload: faults

local lh = require "loophost"

local held <close> = lh.timeout(60)
local path = os.tmpname()

-- The call of the kernel that takes the datagram is the N-th.
local function check(server, client, n)
  for _, text in ipairs { "datagram", "second", "third" } do assert(client:sendto(text)) end
  os.remove("fault:short:" .. n)
  local data, message, code = server:recvfrom()
  os.remove "fault:none:0"
  assert(data == nil and code == "EMSGSIZE" and message == "EMSGSIZE: the datagram was cut off",
    tostring(message))
  assert(server:recvfrom() == "second")
  assert(server:recvfrom() == "third")
  server:close()
  client:close()
end

local server = assert(lh.create_datagram_endpoint { local_addr = { "127.0.0.1", 0 } })
check(server, assert(lh.create_datagram_endpoint { remote_addr = { server:getsockname() } }), 1)

os.remove(path)
server = assert(lh.create_datagram_endpoint { local_addr = path })
-- the first call asks how large it is
check(server, assert(lh.create_datagram_endpoint { remote_addr = path }), 2)
os.remove(path)
