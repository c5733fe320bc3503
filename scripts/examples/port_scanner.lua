-- port_scanner.lua -- which ports of this machine answer.
--
--   loophost port_scanner.lua 1 65535     looks at these; all of them in a few seconds
--   loophost port_scanner.lua             opens three ports itself, and finds them

local lh = require "loophost"

local AT_A_TIME, PATIENCE = 500, 5 -- connections, seconds

-- The open ones among first, ..., last, in order.
local function scan(first, last)
  local open, places = {}, lh.Semaphore(AT_A_TIME)
  do
    local group <close> = lh.TaskGroup()
    for port = first, last do
      places:acquire()
      group:create_task(function()
        local _place <close> = places -- released at the end
        local in_time, stream = pcall(lh.wait_for, function()
          return lh.open_connection("127.0.0.1", port)
        end, PATIENCE)
        if in_time and stream then
          stream:close()
          table.insert(open, port)
        end
      end)
    end
  end
  table.sort(open)
  return open
end

local first, last = tonumber(arg[1]), tonumber(arg[2])
if first then
  for _, port in ipairs(scan(first, last or first)) do print(port) end
else
  local servers, expected = {}, {}
  for i = 1, 3 do
    servers[i] = assert(lh.start_server(function(stream) stream:close() end, "127.0.0.1", 0))
    expected[i] = select(2, servers[i]:getsockname())
  end
  table.sort(expected)
  local found = {}
  for _, port in ipairs(scan(expected[1], expected[3])) do found[port] = true end
  for i, port in ipairs(expected) do
    print(("port %d of ours: %s"):format(i, found[port] and "open" or "not found"))
  end
  for _, server in ipairs(servers) do server:close() end
end
