-- supervisor.lua -- keeps children running: restarts one that fails, but gives up when that
-- happens too often in too short a time.
--
-- Planted bug (BUG=supervisor): restarts of long ago count for ever.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "supervisor"

-- Runs the children until one of them fails more than `opts.restarts` times within
-- `opts.within` seconds: then the others are cancelled, and that failure raised.
---@param opts { restarts: integer, within: number }
---@param children table<string, function>
return function(opts, children)
  local loop = lh.get_running_loop()

  local function keep_running(body)
    local failures = {}
    while true do
      local ok, err = pcall(body)
      if ok then return end
      local now = loop:time()
      table.insert(failures, now)
      while not BUG and failures[1] <= now - opts.within do table.remove(failures, 1) end
      if #failures > opts.restarts then error(err, 0) end
      lh.sleep(0)
    end
  end

  local group <close> = lh.TaskGroup()
  local names = {}
  for name in pairs(children) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    group:create_task(keep_running, children[name]):set_name(name)
  end
end
