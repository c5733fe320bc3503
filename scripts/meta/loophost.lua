---@meta loophost
-- What C makes of `require "loophost"`, for the Lua language server; what Lua makes is annotated
-- where it stands (scripts/loophost). Nothing here is ever run.
-- luacheck: ignore

local lh = {}

-- ---- errors ----

---@class loophost.Error
---@field name string
---@field message string
---@field exceptions? any[] of an ExceptionGroup

---@alias loophost.ErrorClass fun(message?: string, exceptions?: any[]): loophost.Error

---@type loophost.ErrorClass
lh.CancelledError, lh.TimeoutError, lh.InvalidStateError, lh.DeadlockError = nil, nil, nil, nil
---@type loophost.ErrorClass
lh.QueueEmpty, lh.QueueFull, lh.QueueShutDown = nil, nil, nil
---@type loophost.ErrorClass
lh.BrokenBarrierError, lh.ExceptionGroup = nil, nil

-- Whether the value is an error of the class.
---@param value any
---@param class loophost.ErrorClass|string
---@return boolean
function lh.iserror(value, class) end

-- pcall and xpcall that CancelledError passes through, as the host's globals are.
lh.pcall, lh.xpcall = pcall, xpcall
-- Those of Lua, which catch everything.
lh.rawpcall, lh.rawxpcall = pcall, xpcall
-- Lua's library, through which waits pass, as the host's global is.
lh.coroutine = coroutine

-- ---- futures and tasks ----

---@class loophost.Future
local Future = {}

-- The future is done, and wakes who waits. Raises InvalidStateError if it is done already; a task
-- takes no results from others, which is an error.
---@param ... any the results
function Future:set_result(...) end

-- The same, for who waits to fail with the error.
---@param err any not nil
function Future:set_exception(err) end

-- The results; raises what it failed with, or CancelledError, or InvalidStateError if not done.
---@return any ...
function Future:result() end

-- What it failed with, or nil. Raises CancelledError if it was cancelled, InvalidStateError if it
-- is not done.
---@return any
function Future:exception() end

---@return boolean
function Future:done() end

-- A future is cancelled at once; in a task CancelledError is raised at its wait, when it next runs.
---@param message? any of the CancelledError
---@return boolean asked false if it is done already
function Future:cancel(message) end

---@return boolean
function Future:cancelled() end

-- Calls the function with the future, by call_soon, when it is done, or if it is.
---@param fn fun(future: loophost.Future)
function Future:add_done_callback(fn) end

---@param fn fun(future: loophost.Future)
---@return integer removed how many times it had been added
function Future:remove_done_callback(fn) end

---@return loophost.EventLoop
function Future:get_loop() end

---@class loophost.Task: loophost.Future
local Task = {}

---@return string
function Task:get_name() end

---@param name string
function Task:set_name(name) end

-- How many times it was asked to cancel and has not taken that back.
---@return integer
function Task:cancelling() end

-- Takes one cancellation back.
---@return integer left
function Task:uncancel() end

-- The coroutine that it runs in, or a dead one once it is done.
---@return thread
function Task:get_coro() end

-- Where its error came from or, if it is not done, where it waits; and who awaits it.
---@return string
function Task:traceback() end

-- Its steps run as call_soon_with_priority would have them run; nil: as call_soon.
---@param priority? number
function Task:set_priority(priority) end

---@param value any
---@return boolean
function lh.isfuture(value) end

---@param value any
---@return boolean
function lh.istask(value) end

-- Runs fn(...) as a task of the loop that runs; at a script's top level, of the current one.
---@param fn function|thread
---@param ... any
---@return loophost.Task
function lh.create_task(fn, ...) end

-- The task whose step runs, of the loop or of the one that runs; nil in a callback.
---@param loop? loophost.EventLoop
---@return loophost.Task?
function lh.current_task(loop) end

-- The loop that runs; raises where none does.
---@return loophost.EventLoop
function lh.get_running_loop() end

-- Waits for a future, a task, a Sleep or a value with `__await`; runs a function in place.
---@param value any
---@param ... any arguments of a function
---@return any ...
function lh.await(value, ...) end

-- ---- time ----

---@class loophost.Sleep
-- A wait that can be passed around: awaited, or yielded by a task's own coroutine.
---@param delay number seconds
---@return loophost.Sleep
function lh.Sleep(delay) end

-- Goes on in this task after the delay; not before the next turn, even if that is 0 or less.
---@param delay number seconds
---@param result any
---@return any result
function lh.sleep(delay, result) end

---@class loophost.Timeout
local Timeout = {}

-- Another deadline; raises if the block has ended or has been timed out.
---@param when? number of the loop's time, seconds; nil: never
function Timeout:reschedule(when) end

---@return number? when of the loop's time, seconds; nil: never
function Timeout:when() end

-- Whether the deadline passed before the block ended.
---@return boolean
function Timeout:expired() end

-- A block that is cancelled after so many seconds, and then raises TimeoutError at its end.
---@param delay? number nil: never
---@return loophost.Timeout block for a variable with <close>
function lh.timeout(delay) end

-- The same up to a moment.
---@param when? number of the loop's time, seconds; nil: never
---@return loophost.Timeout block for a variable with <close>
function lh.timeout_at(when) end

-- Awaits the value for at most so many seconds, in the same task; else cancels it and raises
-- TimeoutError.
---@param value any as for await
---@param timeout? number seconds; nil: for ever
---@return any ... its results
function lh.wait_for(value, timeout) end

-- ---- the loop ----

---@class loophost.Handle
local Handle = {}

-- The callback will not run. Harmless when it has run, or was cancelled.
function Handle:cancel() end

---@return boolean
function Handle:cancelled() end

---@class loophost.TimerHandle: loophost.Handle
local TimerHandle = {}

---@return number when it is due, of the loop's time, seconds
function TimerHandle:when() end

---@alias loophost.Descriptor integer|file*|{ fileno: fun(self): integer }

---@class loophost.EventLoop
local EventLoop = {}

-- Calls fn(...) in the next turn. This and all other ways to schedule raise on a closed loop.
---@param fn function
---@param ... any
---@return loophost.Handle
function EventLoop:call_soon(fn, ...) end
EventLoop.call_soon_threadsafe = EventLoop.call_soon

---@param priority number smaller is sooner
---@param fn function
---@param ... any
---@return loophost.Handle
function EventLoop:call_soon_with_priority(priority, fn, ...) end

---@param delay number seconds; negative: now
---@param fn function
---@param ... any
---@return loophost.TimerHandle
function EventLoop:call_later(delay, fn, ...) end

---@param when number of the loop's time, seconds; past: now
---@param fn function
---@param ... any
---@return loophost.TimerHandle
function EventLoop:call_at(when, fn, ...) end

-- Calls fn(...) in every turn in which the descriptor is readable.
---@param fd loophost.Descriptor
---@param fn function
---@param ... any
function EventLoop:add_reader(fd, fn, ...) end

-- The same while it is writable; reader and writer of a descriptor are independent.
---@param fd loophost.Descriptor
---@param fn function
---@param ... any
function EventLoop:add_writer(fd, fn, ...) end

---@param fd loophost.Descriptor
---@return boolean whether there was one
function EventLoop:remove_reader(fd) end

---@param fd loophost.Descriptor
---@return boolean whether there was one
function EventLoop:remove_writer(fd) end

-- Calls fn(...) in the turn that finds the signal; replaces the handler that was there.
---@param signal string|integer "SIGUSR1" or its number
---@param fn function
---@param ... any
function EventLoop:add_signal_handler(signal, fn, ...) end

---@param signal string|integer
---@return boolean whether there was one
function EventLoop:remove_signal_handler(signal) end

-- Runs until stop() is called. Raises if a loop runs, or this one is closed.
function EventLoop:run_forever() end

-- Runs until the value is done; raises what it failed with. In virtual time DeadlockError, if
-- nothing can ever happen again.
---@param value any as for await
---@param ... any arguments of a function
---@return any ... its results
function EventLoop:run_until_complete(value, ...) end

-- One turn; waits if nothing is ready.
function EventLoop:run_once() end

-- The run ends with the turn that is under way; if none is, the next one after its first turn.
function EventLoop:stop() end

-- Twice is harmless; raises if the loop runs. What was scheduled is dropped.
function EventLoop:close() end

---@return boolean
function EventLoop:is_running() end

---@return boolean
function EventLoop:is_closed() end

---@return number seconds of the monotonic clock, or of virtual time from 0 on
function EventLoop:time() end

---@param fn function|thread
---@param ... any
---@return loophost.Task
function EventLoop:create_task(fn, ...) end

---@return loophost.Future
function EventLoop:create_future() end

---@param on boolean
function EventLoop:set_debug(on) end

---@return boolean
function EventLoop:get_debug() end

---@param on boolean
function EventLoop:set_trace(on) end

---@return { time: number, event: string, details: string }[] events oldest first; time in seconds
function EventLoop:get_trace() end

-- Counters, by name, and io_wait_time in seconds.
---@return table<string, number>
function EventLoop:get_metrics() end

-- ---- locks and queues ----

---@class loophost.Lock
local Lock = {}

---@return loophost.Lock self for a variable with <close>, which releases it
function Lock:acquire() end

-- For the first who waits. Raises if nobody has acquired it.
function Lock:release() end

---@return boolean
function Lock:locked() end

---@return loophost.Lock
function lh.Lock() end

---@class loophost.Event
local Event = {}

-- Wakes all who wait; from now on nobody waits.
function Event:set() end

-- From now on whoever comes waits again.
function Event:clear() end

---@return boolean
function Event:is_set() end

-- Until it is set; at once if it is.
---@return true
function Event:wait() end

---@return loophost.Event
function lh.Event() end

---@class loophost.Condition
local Condition = {}

---@return loophost.Condition self for a variable with <close>, which releases it
function Condition:acquire() end

-- Raises if nobody has acquired it.
function Condition:release() end

---@return boolean
function Condition:locked() end

-- Releases the lock, waits for a notification, acquires it again. Raises if it is not acquired, as
-- notify does.
---@return true
function Condition:wait() end

-- Waits until the predicate returns a true value.
---@param predicate fun(): any
---@return any value that true value
function Condition:wait_for(predicate) end

-- Wakes so many of those who wait.
---@param n? integer 1
function Condition:notify(n) end

-- Wakes all.
function Condition:notify_all() end

---@param lock? loophost.Lock
---@return loophost.Condition
function lh.Condition(lock) end

---@class loophost.Semaphore
local Semaphore = {}

---@return loophost.Semaphore self for a variable with <close>, which releases it
function Semaphore:acquire() end

-- Adds one, for the first who waits. Of a BoundedSemaphore it raises if that is one too many.
function Semaphore:release() end

-- Whether an acquire would have to wait.
---@return boolean
function Semaphore:locked() end

---@param value? integer 1
---@return loophost.Semaphore
function lh.Semaphore(value) end

-- The same; one release too many is an error.
---@param value? integer 1
---@return loophost.Semaphore
function lh.BoundedSemaphore(value) end

---@class loophost.Queue
local Queue = {}

-- Waits while it is full. This and all other puts raise QueueShutDown after a shutdown.
---@param item any not nil
function Queue:put(item) end

-- Raises QueueFull instead.
---@param item any not nil
function Queue:put_nowait(item) end

-- Waits while it is empty. Raises QueueShutDown when it was shut down and nothing is left.
---@return any item
function Queue:get() end

-- Raises QueueEmpty instead.
---@return any item
function Queue:get_nowait() end

-- An item that was got is dealt with. Raises if there were no more.
function Queue:task_done() end

-- Waits until task_done was called for every item.
function Queue:join() end

-- Puts raise QueueShutDown from now on, gets once it is empty; immediate: that is at once.
---@param immediate? boolean
function Queue:shutdown(immediate) end

---@return integer count of its items
function Queue:qsize() end

---@return number maxsize 0 or less: any number of items
function Queue:maxsize() end

---@return boolean
function Queue:empty() end

---@return boolean
function Queue:full() end

---@param maxsize? number 0: any number
---@return loophost.Queue
function lh.Queue(maxsize) end

---@param maxsize? number
---@return loophost.Queue the least item first; lists are compared as Python's tuples
function lh.PriorityQueue(maxsize) end

---@param maxsize? number
---@return loophost.Queue the last item first
function lh.LifoQueue(maxsize) end

-- ---- streams and files ----

---@class loophost.Stream
local Stream = {}

-- Up to n bytes as soon as there are any; "a": all to the end. nil: the end; nil, message, code.
---@param n? integer|"a"|"l"|"L"
---@return string? data
---@return string? message
---@return string? code
function Stream:read(n) end

---@param format? "l"|"L" "L": with its end
---@return string? line
---@return string? message
---@return string? code EMSGSIZE: longer than the limit
function Stream:readline(format) end

---@param n integer
---@return string? data
---@return string? message
---@return string? code EOF: the stream ended before
---@return string? partial then
function Stream:readexactly(n) end

---@param separator string
---@return string? data with the separator
---@return string? message
---@return string? code EOF, EMSGSIZE
---@return string? partial with EOF
function Stream:readuntil(separator) end

-- Waits while the peer is slow.
---@param ... string|number
---@return true?
---@return string? message
---@return string? code
function Stream:write(...) end

---@return true?
---@return string? message
---@return string? code
function Stream:write_eof() end

-- Twice is harmless; also by <close>.
function Stream:close() end

-- Waits until somebody has closed the stream, and for what TLS goes on with then in the
-- background; or until the connection breaks, which is what it says.
---@return true?
---@return string? message
---@return string? code
function Stream:wait_closed() end

---@return boolean
function Stream:is_closed() end

---@return string? host or path; message
---@return integer|string? port; code
function Stream:getpeername() end

---@return string? host or path; message
---@return integer|string? port; code
function Stream:getsockname() end

---@return integer -1 once closed
function Stream:fileno() end

-- What TLS has agreed on; nil without TLS.
---@return { version: string, cipher: string, alpn?: string, subject?: string }?
function Stream:tls_info() end

-- See scripts/loophost/streammethods.lua.
---@type fun(self: loophost.Stream, format?: "l"|"L"): fun(): string?
Stream.lines = nil
---@type fun(self: loophost.Stream, opts?: loophost.TLSOptions): loophost.Stream?, string?, string?
Stream.start_tls = nil

---@class loophost.File see scripts/loophost/file.lua
local File = {}

---@param ... integer|"n"|"a"|"l"|"L"
---@return string|number|nil ...
function File:read(...) end

---@param format? "l"|"L"
---@return string?
---@return string? message
---@return string? code
function File:readline(format) end

---@param ... integer|"n"|"a"|"l"|"L"
---@return fun(): ...
function File:lines(...) end

---@param ... string|number
---@return true?
---@return string? message
---@return string? code
function File:write(...) end

---@return true?
---@return string? message
---@return string? code
function File:flush() end
File.sync, File.close = File.flush, File.flush

---@param size? integer the position
---@return true?
---@return string? message
---@return string? code
function File:truncate(size) end

---@param whence? "set"|"cur"|"end"
---@param offset? integer
---@return integer? position
---@return string? message
---@return string? code
function File:seek(whence, offset) end

---@return integer
function File:fileno() end

---@return boolean
function File:is_closed() end

-- ---- Lua's ----

lh.EventLoop = require("loophost.eventloop").EventLoop
lh.new_event_loop = require("loophost.eventloop").new_event_loop
lh.EventLoopPolicy = require("loophost.policy").EventLoopPolicy
lh.get_event_loop_policy = require("loophost.policy").get_event_loop_policy
lh.set_event_loop_policy = require("loophost.policy").set_event_loop_policy
lh.get_event_loop = require("loophost.policy").get_event_loop
lh.set_event_loop = require("loophost.policy").set_event_loop
lh.all_tasks = require("loophost.tasks").all_tasks
lh.run = require("loophost.runner").run
lh.Runner = require("loophost.runner").Runner
lh.gather = require("loophost.gather").gather
lh.wait = require("loophost.waits").wait
lh.as_completed = require("loophost.waits").as_completed
lh.shield = require("loophost.waits").shield
lh.TaskGroup = require("loophost.taskgroup").TaskGroup
lh.Barrier = require("loophost.barrier").Barrier
lh.getaddrinfo = require("loophost.names").getaddrinfo
lh.open_connection = require("loophost.connect").open_connection
lh.open_unix_connection = require("loophost.connect").open_unix_connection
lh.start_server = require("loophost.server").start_server
lh.start_unix_server = require("loophost.server").start_unix_server
lh.create_datagram_endpoint = require("loophost.datagram").create_datagram_endpoint
lh.open_file = require("loophost.file").open_file
lh.stdin = require("loophost.stdio").stdin
lh.stdout = require("loophost.stdio").stdout
lh.stderr = require("loophost.stdio").stderr
lh.create_subprocess_exec = require("loophost.process").create_subprocess_exec
lh.create_subprocess_shell = require("loophost.process").create_subprocess_shell
lh.to_thread = require("loophost.thread").to_thread
lh.ContextVar = require("loophost.context").ContextVar
lh.clock = require("loophost.clock").clock

return lh
