/* waitq.c -- lines of waiting tasks.
 *
 * A place is in one of two lists: it moves from `waiting` to `woken` when the task is
 * woken, and out when the task runs.  That makes waking O(1) however many were woken
 * before in the same turn.
 *
 * Whether a task still waits is its own `wait`; whether it was cancelled, its `wait_on`:
 * the line until then, NULL after, or the future if there is one. */
#include "bindings/waitq.h"

enum { BY_FUTURE = 0 }; /* the continuation's context, which is else the task */

void l_waitq_init(struct l_waitq *queue) {
    handle_queue_init(&queue->waiting);
    handle_queue_init(&queue->woken);
}

static struct l_task *task_at(struct handle *place) {
    return container_of(place, struct l_task, place);
}

static void clear(struct handle_queue *list) {
    struct handle *place = list->head.next;
    while (place != &list->head) {
        struct handle *next = place->next;
        place->next = place->prev = NULL;
        place = next;
    }
    handle_queue_init(list);
}

void l_waitq_clear(struct l_waitq *queue) {
    if (queue->waiting.head.next == NULL) return;
    clear(&queue->waiting);
    clear(&queue->woken);
}

/* ---- waiting ---- */

void l_waitq_leave(struct l_task *task) {
    l_task_leave_line(task);
    task->wait_on = NULL;
}

void l_waitq_stay(struct l_task *task) {
    task->wait_on = NULL;
}

static void queue_up(struct l_waitq *queue, struct l_task *task) {
    l_task_leave_line(task); /* of a wait whose coroutine was lost */
    handle_push(&queue->waiting, &task->place);
}

static int await_future(lua_State *L) {
    return l_task_await(L, l_runtime(L), 1);
}

/* The future stays below whatever the await comes to. */
static int wait_by_future(lua_State *L, struct l_waitq *queue, struct l_task *task,
                          lua_KFunction continuation) {
    struct l_loop *loop = task->future.loop;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    l_loop_push(L, loop);
    l_loop_push_future(L, -1, loop);
    lua_remove(L, -2);
    l_pushfunction(L, task->future.rt, await_future);
    lua_pushvalue(L, -2);
    queue_up(queue, task);
    task->wait_on = lua_touserdata(L, -1);
    return continuation(L, lua_pcallk(L, 1, 0, 0, BY_FUTURE, continuation), BY_FUTURE);
}

int l_waitq_wait(lua_State *L, struct l_waitq *queue, const struct l_wait *wait,
                 lua_KFunction continuation) {
    struct l_task *task = l_task_here(L);
    if (task == NULL) task = l_task_may_wait(L, l_runtime(L), wait->name, NULL);
    if (task->future.loop->overrides & L_OVERRIDE_CREATE_FUTURE) {
        return wait_by_future(L, queue, task, continuation);
    }
    queue_up(queue, task);
    return l_task_wait_k(L, task, wait, queue, (lua_KContext)task, continuation);
}

/* runtime -> raises the cancellation */
static int raise_cancelled(lua_State *L) {
    l_task_resumed(L, lua_touserdata(L, 1));
    return 0;
}

enum l_wait_end l_waitq_resumed_otherwise(lua_State *L, int status, lua_KContext context) {
    struct l_runtime *rt = l_runtime(L);
    struct l_task *task = l_task_resumed_one(L, rt);
    l_task_leave_line(task);
    if (context == BY_FUTURE) {
        bool failed = status != LUA_OK && status != LUA_YIELD;
        int index = failed ? -2 : -1;
        struct l_future *future = lua_touserdata(L, index);
        lua_remove(L, index);
        if (!failed) return L_WAIT_WOKEN;
        return future->state == L_CANCELLED ? L_WAIT_CANCELLED : L_WAIT_LOST;
    }
    lua_pushcfunction(L, raise_cancelled);
    lua_pushlightuserdata(L, rt);
    lua_pcall(L, 1, 0, 0);
    return task->wait_on == NULL ? L_WAIT_CANCELLED : L_WAIT_LOST;
}

/* ---- waking ---- */

/* Sets the result of the future for which the task waits, at index 1 of its leaf. */
static void settle_future(lua_State *L, struct l_task *task) {
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_State *leaf = l_task_leaf(task);
    if (!lua_checkstack(leaf, 1)) luaL_error(L, "not enough memory");
    lua_pushvalue(leaf, 1);
    lua_xmove(leaf, L, 1);
    if (lua_touserdata(L, -1) != task->wait_on) { /* its coroutine was closed by stock Lua */
        if (handle_queued(&task->timer.handle)) handle_unlink(&task->timer.handle);
        lua_pop(L, 1);
        l_task_wake(L, task);
        return;
    }
    lua_pushboolean(L, 1);
    l_future_store_results(L, -2, task->wait_on, 1);
    l_future_settle(L, -1, task->wait_on, L_FINISHED);
    lua_pop(L, 1);
}

static void wake(lua_State *L, struct l_waitq *queue, struct l_task *task) {
    handle_unlink(&task->place);
    handle_push(&queue->woken, &task->place);
    if (task->wait_on == queue) {
        l_task_wake(L, task);
    } else {
        settle_future(L, task);
    }
}

bool l_waitq_wake_next(lua_State *L, struct l_waitq *queue) {
    struct handle *end = &queue->waiting.head;
    for (struct handle *place = end->next; place != end; place = place->next) {
        struct l_task *task = task_at(place);
        if (task->wait == NULL) continue;
        wake(L, queue, task);
        return true;
    }
    return false;
}

void l_waitq_wake_all(lua_State *L, struct l_waitq *queue) {
    while (l_waitq_wake_next(L, queue)) continue;
}

void l_waitq_wake_head(lua_State *L, struct l_waitq *queue) {
    struct handle *first = handle_queue_first(&queue->waiting);
    if (first == NULL || !handle_queue_empty(&queue->woken)) return;
    struct l_task *task = task_at(first);
    if (task->wait != NULL) wake(L, queue, task);
}

/* ---- looking ---- */

static bool cancelled(const struct l_waitq *queue, const struct l_task *task) {
    if (task->wait_on == queue) return false;
    const struct l_future *future = task->wait_on;
    return future == NULL || future->state == L_CANCELLED;
}

bool l_waitq_busy(const struct l_waitq *queue) {
    if (!handle_queue_empty(&queue->woken)) return true;
    const struct handle *end = &queue->waiting.head;
    for (struct handle *place = end->next; place != end; place = place->next) {
        if (!cancelled(queue, task_at(place))) return true;
    }
    return false;
}

bool l_waitq_waits_in_line(const struct l_task *task) {
    return task->wait != NULL &&
           (task->wait->leave == l_waitq_leave || task->wait->leave == l_waitq_stay);
}

int l_waitq_length(const struct l_waitq *queue) {
    int length = 0;
    const struct handle_queue *lists[] = {&queue->waiting, &queue->woken};
    for (int i = 0; i < 2; i++) {
        const struct handle *end = &lists[i]->head;
        for (const struct handle *place = end->next; place != end; place = place->next) length++;
    }
    return length;
}
