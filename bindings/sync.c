/* sync.c -- Lock, Event, Condition, Semaphore, BoundedSemaphore.
 *
 * Turn by turn as in asyncio 3.11: who is woken takes what it waited for when it runs,
 * and until then newcomers queue up behind it; who is woken and cancelled before it runs
 * passes the wake on.  As everywhere in the bindings, the object is at index 1. */
#include "bindings/error.h"
#include "bindings/inventory.h"
#include "bindings/open.h"
#include "bindings/waitq.h"

static int return_self(lua_State *L) {
    if (lua_gettop(L) > 1) lua_settop(L, 1);
    return 1;
}

/* Pushes "<Name [state, waiters:N]>"; the state is on top and is replaced. */
static int describe(lua_State *L, const char *name, const struct l_waitq *queue) {
    int waiters = l_waitq_length(queue);
    if (waiters > 0) {
        lua_pushfstring(L, "<%s [%s, waiters:%d]>", name, lua_tostring(L, -1), waiters);
    } else {
        lua_pushfstring(L, "<%s [%s]>", name, lua_tostring(L, -1));
    }
    return 1;
}

/* ---- Lock ---- */

struct l_lock {
    struct l_object object;
    struct l_waitq queue;
    bool locked;
    unsigned holder; /* the number of the task that has taken it, or 0; for people */
};

static struct l_lock *check_lock(lua_State *L) {
    return l_check(L, 1, L_LOCK);
}

/* Cancelled waiters stay in line: one at its head passes the lock on when it runs. */
static const struct l_wait lock_wait = {"Lock.acquire", l_waitq_stay};

static bool take(struct l_lock *lock, const struct l_task *holder) {
    lock->holder = holder != NULL ? holder->number : 0;
    return lock->locked = true;
}

/* Takes the lock if it is free and nobody is to have it before. */
static bool lock_take(struct l_runtime *rt, struct l_lock *lock) {
    if (lock->locked || l_waitq_busy(&lock->queue)) return false;
    return take(lock, rt->current);
}

/* In the continuation of a wait for the lock: true if it is taken, else the error to
 * raise is on top. */
static bool lock_resumed(lua_State *L, struct l_lock *lock, int status, lua_KContext context) {
    if (l_waitq_resumed(L, status, context) == L_WAIT_WOKEN) {
        const struct l_task *task = (void *)context; /* NOLINT(performance-no-int-to-ptr) */
        return take(lock, task != NULL ? task : l_runtime(L)->current);
    }
    if (!lock->locked) l_waitq_wake_head(L, &lock->queue);
    return false;
}

static void lock_release(lua_State *L, struct l_lock *lock) {
    if (!lock->locked) luaL_error(L, "Lock is not acquired.");
    lock->locked = false;
    l_waitq_wake_head(L, &lock->queue);
}

static int acquire_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_lock *lock = L_WAITQ_OWNER(L, context, struct l_lock, queue);
    return lock_resumed(L, lock, status, context) ? return_self(L) : lua_error(L);
}

static int lock_acquire(lua_State *L) {
    struct l_lock *lock = check_lock(L);
    if (lock_take(l_runtime(L), lock)) return return_self(L);
    return l_waitq_wait(L, &lock->queue, &lock_wait, acquire_resumed);
}

static int lock_release_method(lua_State *L) {
    lock_release(L, check_lock(L));
    return 0;
}

static int lock_locked(lua_State *L) {
    lua_pushboolean(L, check_lock(L)->locked);
    return 1;
}

static int lock_tostring(lua_State *L) {
    struct l_lock *lock = check_lock(L);
    lua_pushstring(L, lock->locked ? "locked" : "unlocked");
    return describe(L, "Lock", &lock->queue);
}

static int lock_gc(lua_State *L) {
    l_waitq_clear(&check_lock(L)->queue);
    return 0;
}

static int new_lock(lua_State *L) {
    struct l_lock *lock = l_newobject(L, l_runtime(L), L_LOCK, sizeof *lock, 0);
    l_inventory_place(L, l_runtime(L));
    l_waitq_init(&lock->queue);
    return 1;
}

/* ---- Event ---- */

struct l_event {
    struct l_object object;
    struct l_waitq queue;
    bool set;
};

static struct l_event *check_event(lua_State *L) {
    return l_check(L, 1, L_EVENT);
}

static const struct l_wait event_wait = {"Event.wait", l_waitq_leave};

static int wait_resumed(lua_State *L, int status, lua_KContext context) {
    if (l_waitq_resumed(L, status, context) != L_WAIT_WOKEN) return lua_error(L);
    lua_pushboolean(L, 1);
    return 1;
}

static int event_wait_method(lua_State *L) {
    struct l_event *event = check_event(L);
    if (event->set) {
        lua_pushboolean(L, 1);
        return 1;
    }
    return l_waitq_wait(L, &event->queue, &event_wait, wait_resumed);
}

static int event_set(lua_State *L) {
    struct l_event *event = check_event(L);
    if (event->set) return 0;
    event->set = true;
    l_waitq_wake_all(L, &event->queue);
    return 0;
}

static int event_clear(lua_State *L) {
    check_event(L)->set = false;
    return 0;
}

static int event_is_set(lua_State *L) {
    lua_pushboolean(L, check_event(L)->set);
    return 1;
}

static int event_tostring(lua_State *L) {
    struct l_event *event = check_event(L);
    lua_pushstring(L, event->set ? "set" : "unset");
    return describe(L, "Event", &event->queue);
}

static int event_gc(lua_State *L) {
    l_waitq_clear(&check_event(L)->queue);
    return 0;
}

static int new_event(lua_State *L) {
    struct l_event *event = l_newobject(L, l_runtime(L), L_EVENT, sizeof *event, 0);
    l_inventory_place(L, l_runtime(L));
    l_waitq_init(&event->queue);
    return 1;
}

/* ---- Condition ---- */

struct l_condition {
    struct l_object object;
    struct l_waitq queue;
    struct l_lock own;
    struct l_lock *lock; /* &own, or that of the Lock in user value 1 */
};

/* The stack of a wait: what wait_for was given, or nil; the error to raise, or nil; whether
 * it was notified. */
enum { CONDITION_PREDICATE = 2, CONDITION_ERROR, CONDITION_NOTIFIED };

static struct l_condition *check_condition(lua_State *L) {
    return l_check(L, 1, L_CONDITION);
}

static const struct l_wait condition_wait = {"Condition.wait", l_waitq_leave};
static const struct l_wait condition_acquire_wait = {"Condition.acquire", l_waitq_stay};
static const struct l_wait condition_lock_wait = {"Condition.wait", l_waitq_stay};

static int condition_acquire_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_condition *condition = lua_touserdata(L, 1);
    return lock_resumed(L, condition->lock, status, context) ? return_self(L) : lua_error(L);
}

static int condition_acquire(lua_State *L) {
    struct l_lock *lock = check_condition(L)->lock;
    lua_settop(L, 1);
    if (lock_take(l_runtime(L), lock)) return 1;
    return l_waitq_wait(L, &lock->queue, &condition_acquire_wait, condition_acquire_resumed);
}

static int condition_release(lua_State *L) {
    lock_release(L, check_condition(L)->lock);
    return 0;
}

static int condition_locked(lua_State *L) {
    lua_pushboolean(L, check_condition(L)->lock->locked);
    return 1;
}

static int test_predicate(lua_State *L);

/* The wait is over and the lock held.  Who was notified and has to raise an error passes
 * the notification on: 3.13 does that, in 3.11 it is lost. */
static int condition_waited(lua_State *L) {
    struct l_condition *condition = lua_touserdata(L, 1);
    if (!lua_isnil(L, CONDITION_ERROR)) {
        if (lua_toboolean(L, CONDITION_NOTIFIED)) l_waitq_wake_next(L, &condition->queue);
        lua_settop(L, CONDITION_ERROR);
        return lua_error(L);
    }
    if (!lua_isnil(L, CONDITION_PREDICATE)) return test_predicate(L);
    lua_pushboolean(L, 1);
    return 1;
}

/* A cancellation while the lock is taken again is put off until it is held. */
static int condition_lock_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_runtime *rt = l_runtime(L);
    struct l_condition *condition = lua_touserdata(L, 1);
    if (lock_resumed(L, condition->lock, status, context)) return condition_waited(L);
    lua_replace(L, CONDITION_ERROR);
    if (lock_take(rt, condition->lock)) return condition_waited(L);
    return l_waitq_wait(L, &condition->lock->queue, &condition_lock_wait, condition_lock_resumed);
}

static int condition_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_runtime *rt = l_runtime(L);
    struct l_condition *condition = lua_touserdata(L, 1);
    enum l_wait_end end = l_waitq_resumed(L, status, context);
    if (end != L_WAIT_WOKEN) lua_replace(L, CONDITION_ERROR);
    lua_pushboolean(L, end != L_WAIT_CANCELLED);
    lua_replace(L, CONDITION_NOTIFIED);
    if (lock_take(rt, condition->lock)) return condition_waited(L);
    return l_waitq_wait(L, &condition->lock->queue, &condition_lock_wait, condition_lock_resumed);
}

static int wait_without_lock(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    struct l_condition *condition = lua_touserdata(L, 1);
    if (!condition->lock->locked) return luaL_error(L, "cannot wait on un-acquired lock");
    l_task_may_wait(L, rt, condition_wait.name, NULL); /* or the lock is kept */
    lock_release(L, condition->lock);
    return l_waitq_wait(L, &condition->queue, &condition_wait, condition_resumed);
}

static int condition_wait_method(lua_State *L) {
    check_condition(L);
    lua_settop(L, 1);
    lua_settop(L, CONDITION_NOTIFIED);
    return wait_without_lock(L);
}

static int predicate_tested(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    if (lua_toboolean(L, -1)) return 1;
    lua_settop(L, CONDITION_NOTIFIED);
    return wait_without_lock(L);
}

static int test_predicate(lua_State *L) {
    lua_pushvalue(L, CONDITION_PREDICATE);
    lua_callk(L, 0, 1, 0, predicate_tested);
    return predicate_tested(L, LUA_OK, 0);
}

static int condition_wait_for(lua_State *L) {
    check_condition(L);
    if (luaL_getmetafield(L, CONDITION_PREDICATE, "__call") == LUA_TNIL) {
        luaL_checktype(L, CONDITION_PREDICATE, LUA_TFUNCTION);
    }
    lua_settop(L, CONDITION_PREDICATE);
    lua_settop(L, CONDITION_NOTIFIED);
    return test_predicate(L);
}

static struct l_condition *check_notifiable(lua_State *L) {
    struct l_condition *condition = check_condition(L);
    if (!condition->lock->locked) luaL_error(L, "cannot notify on un-acquired lock");
    return condition;
}

static int condition_notify(lua_State *L) {
    lua_Integer n = luaL_optinteger(L, 2, 1);
    struct l_condition *condition = check_notifiable(L);
    while (n-- > 0 && l_waitq_wake_next(L, &condition->queue)) continue;
    return 0;
}

static int condition_notify_all(lua_State *L) {
    l_waitq_wake_all(L, &check_notifiable(L)->queue);
    return 0;
}

static int condition_tostring(lua_State *L) {
    struct l_condition *condition = check_condition(L);
    lua_pushstring(L, condition->lock->locked ? "locked" : "unlocked");
    return describe(L, "Condition", &condition->queue);
}

static int condition_gc(lua_State *L) {
    struct l_condition *condition = check_condition(L);
    l_waitq_clear(&condition->queue);
    l_waitq_clear(&condition->own.queue);
    return 0;
}

/* Condition([lock]) */
static int new_condition(lua_State *L) {
    struct l_runtime *rt = l_runtime(L);
    lua_settop(L, 1);
    struct l_lock *lock = lua_isnil(L, 1) ? NULL : check_lock(L);
    struct l_condition *condition = l_newobject(L, rt, L_CONDITION, sizeof *condition, 1);
    l_inventory_place(L, rt);
    l_waitq_init(&condition->queue);
    l_waitq_init(&condition->own.queue);
    condition->lock = lock != NULL ? lock : &condition->own;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 2, 1);
    return 1;
}

/* ---- Semaphore, BoundedSemaphore ---- */

struct l_semaphore {
    struct l_object object;
    struct l_waitq queue;
    lua_Integer value;
    lua_Integer bound; /* what release() cannot go beyond */
};

static struct l_semaphore *check_semaphore(lua_State *L) {
    struct l_semaphore *bounded = l_test(L, 1, L_BOUNDED_SEMAPHORE);
    return bounded != NULL ? bounded : l_check(L, 1, L_SEMAPHORE);
}

static const struct l_wait semaphore_wait = {"Semaphore.acquire", l_waitq_leave};

static bool is_locked(const struct l_semaphore *semaphore) {
    return semaphore->value == 0 || l_waitq_busy(&semaphore->queue);
}

/* A permit is given away when its new owner is woken, not when that runs. */
static void give_permit(lua_State *L, struct l_semaphore *semaphore) {
    if (l_waitq_wake_next(L, &semaphore->queue)) semaphore->value--;
}

static int semaphore_resumed(lua_State *L, int status, lua_KContext context) {
    struct l_semaphore *semaphore = lua_touserdata(L, 1);
    switch (l_waitq_resumed(L, status, context)) {
    case L_WAIT_WOKEN: break;
    case L_WAIT_LOST:
        semaphore->value++;
        give_permit(L, semaphore);
        return lua_error(L);
    case L_WAIT_CANCELLED: return lua_error(L);
    }
    if (semaphore->value > 0) give_permit(L, semaphore);
    return return_self(L);
}

static int semaphore_acquire(lua_State *L) {
    struct l_semaphore *semaphore = check_semaphore(L);
    lua_settop(L, 1);
    if (!is_locked(semaphore)) {
        semaphore->value--;
        return 1;
    }
    return l_waitq_wait(L, &semaphore->queue, &semaphore_wait, semaphore_resumed);
}

static int semaphore_release(lua_State *L) {
    struct l_semaphore *semaphore = check_semaphore(L);
    if (semaphore->value >= semaphore->bound) {
        return luaL_error(L, "BoundedSemaphore released too many times");
    }
    semaphore->value++;
    give_permit(L, semaphore);
    return 0;
}

static int semaphore_locked(lua_State *L) {
    lua_pushboolean(L, is_locked(check_semaphore(L)));
    return 1;
}

static int semaphore_tostring(lua_State *L) {
    struct l_semaphore *semaphore = check_semaphore(L);
    bool bounded = l_test(L, 1, L_BOUNDED_SEMAPHORE) != NULL;
    if (is_locked(semaphore)) {
        lua_pushliteral(L, "locked");
    } else {
        lua_pushfstring(L, "unlocked, value:%I", semaphore->value);
    }
    return describe(L, bounded ? "BoundedSemaphore" : "Semaphore", &semaphore->queue);
}

static int semaphore_gc(lua_State *L) {
    l_waitq_clear(&check_semaphore(L)->queue);
    return 0;
}

static struct l_semaphore *push_semaphore(lua_State *L, enum l_type type) {
    lua_Integer value = luaL_optinteger(L, 1, 1);
    luaL_argcheck(L, value >= 0, 1, "Semaphore initial value must be >= 0");
    struct l_semaphore *semaphore = l_newobject(L, l_runtime(L), type, sizeof *semaphore, 0);
    l_inventory_place(L, l_runtime(L));
    l_waitq_init(&semaphore->queue);
    semaphore->value = value;
    semaphore->bound = LUA_MAXINTEGER;
    return semaphore;
}

static int new_semaphore(lua_State *L) {
    push_semaphore(L, L_SEMAPHORE);
    return 1;
}

static int new_bounded_semaphore(lua_State *L) {
    struct l_semaphore *semaphore = push_semaphore(L, L_BOUNDED_SEMAPHORE);
    semaphore->bound = semaphore->value;
    return 1;
}

/* ---- for people ---- */

/* lock_holder(object) -> of a lock or condition whether it is locked, and the number of the
 * task that has taken it, 0 if none has; of anything else nothing */
static int lock_holder(lua_State *L) {
    const struct l_lock *lock = l_test(L, 1, L_LOCK);
    const struct l_condition *condition = l_test(L, 1, L_CONDITION);
    if (condition != NULL) lock = condition->lock;
    if (lock == NULL) return 0;
    lua_pushboolean(L, lock->locked);
    lua_pushinteger(L, lock->holder);
    return 2;
}

/* ---- types ---- */

static void open_type(lua_State *L, struct l_runtime *rt, enum l_type type, const char *name,
                      const luaL_Reg *methods, const luaL_Reg *metamethods) {
    l_newtype(L, rt, type, name, methods);
    l_setfuncs(L, rt, metamethods);
    lua_pop(L, 1);
}

void l_sync_open(lua_State *L, struct l_runtime *rt) {
    static const luaL_Reg lock_methods[] = {{"acquire", lock_acquire},
                                            {"release", lock_release_method},
                                            {"locked", lock_locked},
                                            {NULL, NULL}};
    static const luaL_Reg lock_meta[] = {{"__close", lock_release_method},
                                         {"__tostring", lock_tostring},
                                         {"__gc", lock_gc},
                                         {NULL, NULL}};
    static const luaL_Reg event_methods[] = {{"wait", event_wait_method},
                                             {"set", event_set},
                                             {"clear", event_clear},
                                             {"is_set", event_is_set},
                                             {NULL, NULL}};
    static const luaL_Reg event_meta[] = {
        {"__tostring", event_tostring}, {"__gc", event_gc}, {NULL, NULL}};
    static const luaL_Reg condition_methods[] = {
        {"acquire", condition_acquire},       {"release", condition_release},
        {"locked", condition_locked},         {"wait", condition_wait_method},
        {"wait_for", condition_wait_for},     {"notify", condition_notify},
        {"notify_all", condition_notify_all}, {NULL, NULL}};
    static const luaL_Reg condition_meta[] = {{"__close", condition_release},
                                              {"__tostring", condition_tostring},
                                              {"__gc", condition_gc},
                                              {NULL, NULL}};
    static const luaL_Reg semaphore_methods[] = {{"acquire", semaphore_acquire},
                                                 {"release", semaphore_release},
                                                 {"locked", semaphore_locked},
                                                 {NULL, NULL}};
    static const luaL_Reg semaphore_meta[] = {{"__close", semaphore_release},
                                              {"__tostring", semaphore_tostring},
                                              {"__gc", semaphore_gc},
                                              {NULL, NULL}};
    static const luaL_Reg hooks[] = {{"lock_holder", lock_holder},
                                     {"Lock", new_lock},
                                     {"Event", new_event},
                                     {"Condition", new_condition},
                                     {"Semaphore", new_semaphore},
                                     {"BoundedSemaphore", new_bounded_semaphore},
                                     {NULL, NULL}};
    open_type(L, rt, L_LOCK, "Lock", lock_methods, lock_meta);
    open_type(L, rt, L_EVENT, "Event", event_methods, event_meta);
    open_type(L, rt, L_CONDITION, "Condition", condition_methods, condition_meta);
    open_type(L, rt, L_SEMAPHORE, "Semaphore", semaphore_methods, semaphore_meta);
    open_type(L, rt, L_BOUNDED_SEMAPHORE, "BoundedSemaphore", semaphore_methods, semaphore_meta);
    l_pushshared(L, rt, L_SHARED_HOOKS);
    l_setfuncs(L, rt, hooks);
    lua_pop(L, 1);
}
