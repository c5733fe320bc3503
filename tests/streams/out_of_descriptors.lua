-- A server with more clients than descriptors: it accepts as many as it can, says once that
-- there are no more, does not spin, goes on serving those that it has, and takes the next
-- one as soon as one has gone.
-- descriptors: 40

local lh = require "loophost"

local CLIENTS = 60

local CLIENT = [[
import socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
sys.stdin.readline()
for n, s in enumerate(held):
    s.sendall(b"%d\n" % n)
    assert s.recv(100) == b"%d!\n" % n, n
    s.close()
]]

local held <close> = lh.timeout(120)
local loop = lh.get_event_loop()
local reports = {}
loop:set_exception_handler(function(_, context) reports[#reports + 1] = context.message end)

local active, most, served = 0, 0, 0
local server = assert(lh.start_server(function(stream)
  active = active + 1
  most = math.max(most, active)
  local line = stream:readline()
  if line then
    stream:write(line, "!\n")
    served = served + 1
  end
  stream:close()
  active = active - 1
end, "127.0.0.1", 0))

local path = os.tmpname()
local file = assert(io.open(path, "w"))
file:write(CLIENT)
file:close()
local client = assert(io.popen(("ulimit -n 1024; exec python3 %s %d %d"):format(path,
  select(2, server:getsockname()), CLIENTS), "w"))

while #reports == 0 do lh.sleep(0.01) end
assert(reports[1]:find("EMFILE", 1, true), reports[1])
local accepted, before = active, os.clock()
lh.sleep(1)
local used = os.clock() - before
assert(active == accepted)
assert(used < 0.5, ("spins: %.2f s of CPU in a second"):format(used))
print(("%d of %d accepted; starved for a second: %.3f s of CPU"):format(accepted, CLIENTS, used))
assert(select(3, lh.open_connection("127.0.0.1", 1)) == "EMFILE")

client:write "go\n"
client:flush()
while served < CLIENTS do lh.sleep(0.01) end
assert(client:close(), "a client was not served")
os.remove(path)
assert(most < CLIENTS and most >= accepted)
assert(#reports == 1, ("%d reports"):format(#reports))
server:close()
server:wait_closed()
