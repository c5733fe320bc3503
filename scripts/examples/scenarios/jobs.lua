-- jobs.lua -- a queue of jobs, workers that do them, and an end that loses none.
--
-- Planted bug (BUG=jobs): a job that fails is never reported as done, so that shutdown
-- waits for it for ever.

local lh = require "loophost"

local BUG = os.getenv "BUG" == "jobs"

local Jobs = {}
Jobs.__index = Jobs

local function work(self)
  while true do
    local job = self.queue:get()
    local ok, err = pcall(job)
    if not ok then table.insert(self.failures, err) end
    if ok or not BUG then self.queue:task_done() end
  end
end

---@param workers integer
---@param backlog integer jobs that may wait; who adds one more waits himself
local function new(workers, backlog)
  local self = setmetatable({
    queue = lh.Queue(backlog), workers = {}, failures = {}, closing = false,
  }, Jobs)
  for i = 1, workers do self.workers[i] = lh.create_task(work, self) end
  return self
end

-- Adds a job; waits while too many wait already.
---@param job function
function Jobs:add(job)
  if self.closing then error("no more jobs are taken", 2) end
  self.queue:put(job)
end

-- Takes no more jobs, waits for those that were taken, and ends the workers.
---@return any[] failures what went wrong in the jobs
function Jobs:shutdown()
  self.closing = true
  self.queue:join()
  for _, worker in ipairs(self.workers) do worker:cancel() end
  lh.gather(self.workers, { return_exceptions = true })
  return self.failures
end

return new
