local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local cq = cqueues.new()
local server = socket.listen("127.0.0.1", 0)

cq:wrap(function()
  for client in server:clients() do
    cq:wrap(function()
      client:setmode("tl", "bn")
      client:read "*l"
      client:close()
    end)
  end
end)
assert(server:listen())
print("port=" .. select(3, server:localname()))
io.stdout:flush()
assert(cq:loop())
