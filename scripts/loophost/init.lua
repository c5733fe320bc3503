-- loophost -- the public names, on one screen. What they do is said where they are made, and in
-- scripts/meta/loophost.lua of those that are C's.
--
-- What a script does not use is not loaded: a name is looked up when it is first asked for.

local core = require "loophost.core"

-- Done in a module of ours, under the same name; the core is C.
local FROM_MODULES = {
  core = [[
    create_task await sleep Sleep timeout timeout_at wait_for current_task get_running_loop
    iserror rawpcall rawxpcall pcall xpcall coroutine isfuture istask
    Lock Event Condition Semaphore BoundedSemaphore Queue PriorityQueue LifoQueue]],
  eventloop = "EventLoop new_event_loop",
  policy = [[EventLoopPolicy get_event_loop_policy set_event_loop_policy
             get_event_loop set_event_loop]],
  tasks = "all_tasks",
  runner = "run Runner",
  gather = "gather",
  waits = "wait as_completed shield",
  taskgroup = "TaskGroup",
  barrier = "Barrier",
  names = "getaddrinfo",
  connect = "open_connection open_unix_connection",
  server = "start_server start_unix_server",
  datagram = "create_datagram_endpoint",
  file = "open_file",
  stdio = "stdin stdout stderr",
  process = "create_subprocess_exec create_subprocess_shell",
  thread = "to_thread",
  context = "ContextVar",
  clock = "clock",
}

-- Called by C, which finds them in `core`.
local HOOKS = {
  awaitable = "ensure_future",
  reports = "report guard report_unretrieved warn_slow foreign_yield loop_closing",
  stories = "story task_story deadlock",
  sleep = "slow_sleep",
  waitfor = "careful_wait_for",
  tasks = "drive",
  policy = "current_loop_or_nil",
  runner = "cancel_all",
  datagram = "datagram_address",
}

-- Makes `target` look up the names in the modules when they are first asked for.
local function load_on_demand(target, modules)
  local function find(_, wanted)
    if type(wanted) ~= "string" or not wanted:find "^[%w_]+$" then return nil end
    for module, names in pairs(modules) do
      if names:find("%f[%w_]" .. wanted .. "%f[^%w_]") then
        local value = require("loophost." .. module)[wanted]
        rawset(target, wanted, value)
        return value
      end
    end
  end
  local function every()
    for _, names in pairs(modules) do
      for name in names:gmatch "%S+" do find(target, name) end
    end
    return next, target, nil
  end
  return setmetatable(target, { __index = find, __pairs = every })
end

load_on_demand(core, HOOKS)
function core.get_event_loop() return require("loophost.policy").usable_loop() end
function core.task_methods.traceback(task) return core.task_story(task) end
core.note_wait = false -- see waitgraph.lua; a name that is not there would be looked for each time
core.defaults = {} -- options of loops, when nobody says otherwise; the host fills it in

local lh = load_on_demand({}, FROM_MODULES)

for name, error_class in pairs(core.errors) do lh[name] = error_class end

return lh
