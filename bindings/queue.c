/* queue.c -- Queue, LifoQueue, PriorityQueue.
 *
 * As asyncio's, with Python 3.13's shutdown.  A put or get that waits is only told to
 * look again; who is told and then cancelled tells the next one.
 *
 * The items are in `capacity` slots.  Of a Queue they are a ring that begins at `first`; of
 * a LifoQueue the first `count` are a stack, of a PriorityQueue a binary heap.  The slots
 * of a queue that holds a FEW items are its user values; else, and those of a heap always,
 * they are in a table, which is user value 1. */
#include "bindings/error.h"
#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/waitq.h"

#include <math.h>

struct l_queue {
    struct l_object object;
    struct l_waitq getters, putters, joiners;
    enum l_type type;
    bool shut_down;
    lua_Number maxsize;
    lua_Integer limit; /* maxsize as a count of items */
    lua_Integer first, count, capacity;
    lua_Integer unfinished; /* items put less task_done() */
};

enum { FEW = 4, FIRST_TABLE = 2 * FEW, KEPT_CAPACITY = 1024 };
enum { QUEUE_TABLE = 1 };

/* A path from the root of a heap to a leaf has at most so many steps; and so much may be
 * on the stack when lists in lists are compared. */
enum { HEAP_DEPTH = 64, MAX_NESTING = 400 };

static struct l_queue *check_queue(lua_State *L) {
    struct l_queue *queue = l_test_either(L, 1, L_QUEUE, L_PRIORITY_QUEUE);
    if (queue == NULL) queue = l_test(L, 1, L_LIFO_QUEUE);
    return queue != NULL ? queue : l_check(L, 1, L_QUEUE);
}

/* ---- the heap: positions count from 0 as Python's, slots of the table from 1 ---- */

static bool less(lua_State *L, int a, int b);

static bool has_order(lua_State *L, int index) {
    if (luaL_getmetafield(L, index, "__lt") == LUA_TNIL) return false;
    lua_pop(L, 1);
    return true;
}

/* Whether both are lists that do not say themselves which is less. */
static bool are_lists(lua_State *L, int a, int b) {
    return lua_istable(L, a) && lua_istable(L, b) && !has_order(L, a) && !has_order(L, b);
}

/* Pushes the first elements that differ and returns true; or false if one of the lists
 * is the beginning of the other. */
static bool push_difference(lua_State *L, int a, int b);

static bool equal(lua_State *L, int a, int b) {
    if (lua_compare(L, a, b, LUA_OPEQ)) return true;
    if (!are_lists(L, a, b) || lua_rawlen(L, a) != lua_rawlen(L, b)) return false;
    if (!push_difference(L, a, b)) return true;
    lua_pop(L, 2);
    return false;
}

static bool push_difference(lua_State *L, int a, int b) {
    lua_Unsigned length_a = lua_rawlen(L, a), length_b = lua_rawlen(L, b);
    lua_Unsigned length = length_a < length_b ? length_a : length_b;
    if (lua_gettop(L) > MAX_NESTING) luaL_error(L, "items are nested too deeply to be compared");
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    for (lua_Unsigned i = 1; i <= length; i++) {
        lua_rawgeti(L, a, (lua_Integer)i);
        lua_rawgeti(L, b, (lua_Integer)i);
        if (!equal(L, lua_absindex(L, -2), lua_absindex(L, -1))) return true;
        lua_pop(L, 2);
    }
    return false;
}

/* a < b, as Lua says; of two lists as Python says of tuples. */
static bool less(lua_State *L, int a, int b) {
    if (!are_lists(L, a, b)) return lua_compare(L, a, b, LUA_OPLT);
    if (!push_difference(L, a, b)) return lua_rawlen(L, a) < lua_rawlen(L, b);
    bool result = less(L, lua_absindex(L, -2), lua_absindex(L, -1));
    lua_pop(L, 2);
    return result;
}

/* Whether the item at a position is less than that at another. */
static bool less_at(lua_State *L, int items, lua_Integer a, lua_Integer b) {
    int top = lua_gettop(L);
    lua_rawgeti(L, items, a + 1);
    lua_rawgeti(L, items, b + 1);
    bool result = less(L, top + 1, top + 2);
    lua_settop(L, top);
    return result;
}

static void move(lua_State *L, int items, lua_Integer from, lua_Integer to) {
    lua_rawgeti(L, items, from + 1);
    lua_rawseti(L, items, to + 1);
}

/* Both compare first and move then, so that an error of a comparison leaves the heap as
 * it was.  The comparisons and their order are those of Python's heapq: they decide in
 * which order equal items come out. */

static void check_unchanged(lua_State *L, const struct l_queue *queue, int items,
                            lua_Integer count) {
    lua_getiuservalue(L, 1, QUEUE_TABLE);
    bool is_same = queue->count == count && lua_rawequal(L, -1, items);
    lua_pop(L, 1);
    if (!is_same) luaL_error(L, "queue changed during a comparison");
}

/* Puts the item at the index in; there is a free slot. */
static void heap_push(lua_State *L, struct l_queue *queue, int items, int item) {
    lua_Integer count = queue->count, place = count;
    while (place > 0) {
        int top = lua_gettop(L);
        lua_rawgeti(L, items, (place - 1) / 2 + 1);
        bool rises = less(L, item, top + 1);
        lua_settop(L, top);
        if (!rises) break;
        place = (place - 1) / 2;
    }
    check_unchanged(L, queue, items, count);
    for (lua_Integer at = count; at != place; at = (at - 1) / 2) {
        move(L, items, (at - 1) / 2, at);
    }
    lua_pushvalue(L, item);
    lua_rawseti(L, items, place + 1);
}

/* Takes the least item out of the heap: the last one goes down from the root to a leaf,
 * by the lesser child each time, and up again from there to where it belongs. */
static void heap_pop(lua_State *L, struct l_queue *queue, int items) {
    lua_Integer path[HEAP_DEPTH], count = queue->count, last = count - 1;
    int depth = 0;
    path[0] = 0;
    for (lua_Integer child = 1; child < last; child = 2 * child + 1) {
        if (child + 1 < last && !less_at(L, items, child, child + 1)) child++;
        path[++depth] = child;
    }
    while (depth > 0 && less_at(L, items, last, path[depth])) depth--;
    check_unchanged(L, queue, items, count);
    lua_rawgeti(L, items, 1);
    for (int i = 0; i < depth; i++) move(L, items, path[i + 1], path[i]);
    move(L, items, last, path[depth]);
}

/* ---- items ---- */

static bool is_full(const struct l_queue *queue) {
    return queue->limit > 0 && queue->count >= queue->limit;
}

/* Lets all items go, of the queue at the index. */
static void clear(lua_State *L, int index, struct l_queue *queue) {
    bool is_heap = queue->type == L_PRIORITY_QUEUE;
    if (is_heap) {
        lua_createtable(L, FIRST_TABLE, 0);
        lua_setiuservalue(L, index, QUEUE_TABLE);
    }
    for (int slot = is_heap; slot < FEW; slot++) {
        lua_pushnil(L);
        lua_setiuservalue(L, index, slot + 1);
    }
    queue->first = queue->count = 0;
    queue->capacity = is_heap ? FIRST_TABLE : FEW;
}

/* From the user values into a table. */
static void make_table(lua_State *L, struct l_queue *queue) {
    lua_createtable(L, FIRST_TABLE, 0);
    for (lua_Integer i = 0; i < FEW; i++) {
        int slot = (int)((queue->first + i) % FEW);
        lua_getiuservalue(L, 1, slot + 1);
        lua_rawseti(L, -2, i + 1);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, slot + 1);
    }
    lua_setiuservalue(L, 1, QUEUE_TABLE);
    queue->first = 0;
    queue->capacity = FIRST_TABLE;
}

/* Makes room for another item.  Doubling the table keeps all slots in its array part; what
 * stood before `first` follows the old end. */
static void make_room(lua_State *L, struct l_queue *queue) {
    lua_Integer capacity = queue->capacity;
    if (queue->count == 0 && capacity > KEPT_CAPACITY) clear(L, 1, queue); /* a burst is over */
    if (queue->count < capacity) return;
    if (capacity == FEW) {
        make_table(L, queue);
        return;
    }
    lua_getiuservalue(L, 1, QUEUE_TABLE);
    int items = lua_gettop(L);
    lua_pushboolean(L, 0);
    lua_rawseti(L, items, capacity + 1); /* may raise; nothing has changed */
    for (lua_Integer i = 0; i < queue->first; i++) {
        move(L, items, i, capacity + i);
        lua_pushnil(L);
        lua_rawseti(L, items, i + 1);
    }
    queue->capacity = 2 * capacity;
}

/* Adds the item at index 2; leaves something on the stack. */
static void store(lua_State *L, struct l_queue *queue) {
    make_room(L, queue);
    lua_Integer slot = queue->first + queue->count;
    if (slot >= queue->capacity) slot -= queue->capacity;
    if (queue->capacity == FEW) {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, 1, (int)slot + 1);
    } else {
        lua_getiuservalue(L, 1, QUEUE_TABLE);
        if (queue->type == L_PRIORITY_QUEUE) {
            heap_push(L, queue, lua_gettop(L), 2);
        } else {
            lua_pushvalue(L, 2);
            lua_rawseti(L, -2, slot + 1);
        }
    }
    queue->count++;
}

/* Takes an item out and pushes it, perhaps above something else. */
static void take(lua_State *L, struct l_queue *queue) {
    lua_Integer slot = queue->count - 1; /* that becomes free */
    if (queue->type == L_QUEUE) slot = queue->first;
    if (queue->capacity == FEW) {
        lua_getiuservalue(L, 1, (int)slot + 1);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, (int)slot + 1);
    } else {
        lua_getiuservalue(L, 1, QUEUE_TABLE);
        int items = lua_gettop(L);
        if (queue->type == L_PRIORITY_QUEUE) {
            heap_pop(L, queue, items);
        } else {
            lua_rawgeti(L, items, slot + 1);
        }
        lua_pushnil(L);
        lua_rawseti(L, items, slot + 1);
    }
    if (queue->type == L_QUEUE && ++queue->first == queue->capacity) queue->first = 0;
    queue->count--;
}

/* ---- put ---- */

static int raise_shut_down(lua_State *L) {
    return l_error_raise(L, l_runtime(L), "QueueShutDown", "the queue was shut down");
}

static int put_now(lua_State *L, struct l_queue *queue) {
    if (queue->shut_down) return raise_shut_down(L);
    if (is_full(queue)) {
        return l_error_raise(L, l_runtime(L), "QueueFull", "the queue is full");
    }
    store(L, queue);
    queue->unfinished++;
    l_waitq_wake_next(L, &queue->getters);
    return 0;
}

static const struct l_wait put_wait = {"Queue.put", l_waitq_leave};
static const struct l_wait get_wait = {"Queue.get", l_waitq_leave};
static const struct l_wait join_wait = {"Queue.join", l_waitq_leave};

static int put_resumed(lua_State *L, int status, lua_KContext context);

static int put_when_free(lua_State *L, struct l_queue *queue) {
    if (!is_full(queue)) return put_now(L, queue);
    if (queue->shut_down) return raise_shut_down(L);
    return l_waitq_wait(L, &queue->putters, &put_wait, put_resumed);
}

static int put_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_queue *queue = L_WAITQ_OWNER(L, context, struct l_queue, putters);
    switch (l_waitq_resumed(L, status, context)) {
    case L_WAIT_WOKEN: return put_when_free(L, queue);
    case L_WAIT_LOST:
        if (!is_full(queue)) l_waitq_wake_next(L, &queue->putters);
        break;
    case L_WAIT_CANCELLED: break;
    }
    return lua_error(L);
}

static struct l_queue *check_put(lua_State *L) {
    struct l_queue *queue = check_queue(L);
    luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "item must not be nil");
    if (lua_gettop(L) > 2) lua_settop(L, 2);
    return queue;
}

static int queue_put(lua_State *L) {
    return put_when_free(L, check_put(L));
}

static int queue_put_nowait(lua_State *L) {
    return put_now(L, check_put(L));
}

/* ---- get ---- */

static int get_now(lua_State *L, struct l_queue *queue) {
    if (queue->count == 0) {
        if (queue->shut_down) return raise_shut_down(L);
        return l_error_raise(L, l_runtime(L), "QueueEmpty", "the queue is empty");
    }
    take(L, queue);
    l_waitq_wake_next(L, &queue->putters);
    return 1;
}

static int get_resumed(lua_State *L, int status, lua_KContext context);

static int get_when_there(lua_State *L, struct l_queue *queue) {
    if (queue->count > 0 || queue->shut_down) return get_now(L, queue);
    return l_waitq_wait(L, &queue->getters, &get_wait, get_resumed);
}

static int get_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_queue *queue = L_WAITQ_OWNER(L, context, struct l_queue, getters);
    switch (l_waitq_resumed(L, status, context)) {
    case L_WAIT_WOKEN: return get_when_there(L, queue);
    case L_WAIT_LOST:
        if (queue->count > 0) l_waitq_wake_next(L, &queue->getters);
        break;
    case L_WAIT_CANCELLED: break;
    }
    return lua_error(L);
}

static int queue_get(lua_State *L) {
    return get_when_there(L, check_queue(L));
}

static int queue_get_nowait(lua_State *L) {
    return get_now(L, check_queue(L));
}

/* ---- join, shutdown ---- */

static int join_resumed(lua_State *L, int status, lua_KContext context) {
    if (l_waitq_resumed(L, status, context) != L_WAIT_WOKEN) return lua_error(L);
    return 0;
}

static int queue_join(lua_State *L) {
    struct l_queue *queue = check_queue(L);
    if (queue->unfinished == 0) return 0;
    return l_waitq_wait(L, &queue->joiners, &join_wait, join_resumed);
}

static int queue_task_done(lua_State *L) {
    struct l_queue *queue = check_queue(L);
    if (queue->unfinished == 0) return luaL_error(L, "task_done() called too many times");
    if (--queue->unfinished == 0) l_waitq_wake_all(L, &queue->joiners);
    return 0;
}

/* shutdown([immediate]) */
static int queue_shutdown(lua_State *L) {
    struct l_queue *queue = check_queue(L);
    if (lua_toboolean(L, 2) && queue->count > 0) {
        lua_Integer count = queue->count;
        clear(L, 1, queue);
        queue->unfinished -= count < queue->unfinished ? count : queue->unfinished;
    }
    queue->shut_down = true;
    if (queue->unfinished == 0) l_waitq_wake_all(L, &queue->joiners);
    l_waitq_wake_all(L, &queue->getters);
    l_waitq_wake_all(L, &queue->putters);
    return 0;
}

/* ---- looking ---- */

static int queue_qsize(lua_State *L) {
    lua_pushinteger(L, check_queue(L)->count);
    return 1;
}

static int queue_empty(lua_State *L) {
    lua_pushboolean(L, check_queue(L)->count == 0);
    return 1;
}

static int queue_full(lua_State *L) {
    lua_pushboolean(L, is_full(check_queue(L)));
    return 1;
}

static int queue_maxsize(lua_State *L) {
    lua_Integer whole;
    lua_Number maxsize = check_queue(L)->maxsize;
    if (lua_numbertointeger(maxsize, &whole) && (lua_Number)whole == maxsize) {
        lua_pushinteger(L, whole);
    } else {
        lua_pushnumber(L, maxsize);
    }
    return 1;
}

static int queue_tostring(lua_State *L) {
    struct l_queue *queue = check_queue(L);
    luaL_getmetafield(L, 1, "__name");
    const char *name = lua_tostring(L, -1) + sizeof "loophost";
    lua_pushfstring(L, "<%s [items:%I, maxsize:%I, getters:%d, putters:%d, unfinished:%I%s]>", name,
                    queue->count, queue->limit, l_waitq_length(&queue->getters),
                    l_waitq_length(&queue->putters), queue->unfinished,
                    queue->shut_down ? ", shut down" : "");
    return 1;
}

/* ---- making ---- */

static int queue_gc(lua_State *L) {
    struct l_queue *queue = check_queue(L);
    l_waitq_clear(&queue->getters);
    l_waitq_clear(&queue->putters);
    l_waitq_clear(&queue->joiners);
    return 0;
}

/* The least count that is not less than maxsize; 0 if there is none. */
static lua_Integer limit_of(lua_Number maxsize) {
    lua_Integer limit;
    if (maxsize <= 0 || !lua_numbertointeger(ceil(maxsize), &limit)) return 0;
    return limit;
}

/* Class([maxsize]) */
static int push_queue(lua_State *L, enum l_type type) {
    lua_Number maxsize = luaL_optnumber(L, 1, 0);
    luaL_argcheck(L, !isnan(maxsize), 1, "maxsize must not be NaN");
    struct l_queue *queue = l_newobject(L, l_runtime(L), type, sizeof *queue, FEW);
    l_inventory_place(L, l_runtime(L));
    l_waitq_init(&queue->getters);
    l_waitq_init(&queue->putters);
    l_waitq_init(&queue->joiners);
    queue->type = type;
    queue->maxsize = maxsize;
    queue->limit = limit_of(maxsize);
    clear(L, lua_gettop(L), queue);
    return 1;
}

static int new_queue(lua_State *L) {
    return push_queue(L, L_QUEUE);
}

static int new_lifo_queue(lua_State *L) {
    return push_queue(L, L_LIFO_QUEUE);
}

static int new_priority_queue(lua_State *L) {
    return push_queue(L, L_PRIORITY_QUEUE);
}

static void open_type(lua_State *L, struct l_runtime *rt, enum l_type type, const char *name) {
    static const luaL_Reg methods[] = {{"put", queue_put},
                                       {"put_nowait", queue_put_nowait},
                                       {"get", queue_get},
                                       {"get_nowait", queue_get_nowait},
                                       {"task_done", queue_task_done},
                                       {"join", queue_join},
                                       {"shutdown", queue_shutdown},
                                       {"qsize", queue_qsize},
                                       {"empty", queue_empty},
                                       {"full", queue_full},
                                       {"maxsize", queue_maxsize},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__tostring", queue_tostring}, {"__gc", queue_gc}, {NULL, NULL}};
    l_newtype(L, rt, type, name, methods);
    l_setfuncs(L, rt, metamethods);
    lua_pop(L, 1);
}

void l_queue_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg hooks[] = {{"Queue", new_queue},
                                     {"LifoQueue", new_lifo_queue},
                                     {"PriorityQueue", new_priority_queue},
                                     {NULL, NULL}};
    open_type(L, rt, L_QUEUE, "Queue");
    open_type(L, rt, L_LIFO_QUEUE, "LifoQueue");
    open_type(L, rt, L_PRIORITY_QUEUE, "PriorityQueue");
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
