/* recycle.c -- who is kept, and where.
 *
 * Without our own coroutine.running, as under stock Lua, nothing can be known of who has
 * a coroutine, and none is kept.  A debug hook stays with the coroutine that it was set
 * for, or inherited by: such a one is not kept, and while one is set none is taken. */
#include "bindings/recycle.h"

#include <string.h>

void l_recycle_open(struct l_runtime *rt) {
    rt->recycles = true;
}

void l_recycle_prepare(lua_State *L, struct l_loop *loop) {
    if (loop->coroutines != NULL || !loop->rt->recycles) return;
    l_loop_push_alive(L, loop);
    struct l_coroutines *coroutines = lua_newuserdatauv(L, sizeof *coroutines, L_KEPT_COROUTINES);
    if (loop->coroutines != NULL) { /* a finaliser was quicker */
        lua_pop(L, 2);
        return;
    }
    memset(coroutines, 0, sizeof *coroutines);
    lua_setiuservalue(L, -2, L_LOOP_COROUTINES);
    lua_pop(L, 1);
    loop->coroutines = coroutines;
}

/* A slot that holds no coroutine, or 0. */
static int free_slot(struct l_coroutines *coroutines) {
    if (coroutines->empty > 0) return coroutines->slots[L_KEPT_COROUTINES - coroutines->empty--];
    return coroutines->used < L_KEPT_COROUTINES ? ++coroutines->used : 0;
}

/* The coroutine becomes one of the loop's, if there is room. */
static void keep_new(struct l_loop *loop, struct l_task *task) {
    lua_State *L = loop->L, *coroutine = task->coroutine;
    int slot = free_slot(loop->coroutines);
    if (slot == 0) return;
    lua_getiuservalue(L, L_FRAME_LOOP, L_LOOP_COROUTINES);
    lua_pushthread(coroutine);
    lua_xmove(coroutine, L, 1);
    lua_setiuservalue(L, -2, slot);
    l_anchored(loop, task->slot);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, L_TASK_COROUTINE);
    lua_pop(L, 2);
    loop->coroutines->at[slot] = coroutine;
    task->kept_at = (unsigned)slot & L_TASK_LAST_SLOT;
}

void l_recycle_leave(lua_State *L, int index, struct l_task *task) {
    if (task->kept_at == 0) return;
    struct l_coroutines *coroutines = task->future.loop->coroutines;
    index = lua_absindex(L, index);
    l_recycle_pushown(L, index, task);
    lua_setiuservalue(L, index, L_TASK_COROUTINE);
    lua_getiuservalue(L, index, L_FUTURE_LOOP);
    lua_getiuservalue(L, -1, L_LOOP_COROUTINES);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, task->kept_at);
    lua_pop(L, 2);
    coroutines->at[task->kept_at] = NULL;
    coroutines->slots[L_KEPT_COROUTINES - ++coroutines->empty] = task->kept_at;
    task->kept_at = 0;
}

void l_recycle_keep(struct l_loop *loop, struct l_task *task, bool returned) {
    struct l_coroutines *coroutines = loop->coroutines;
    if (coroutines == NULL) return;
    if (!returned || task->exposed || lua_gethookmask(task->coroutine) != 0) {
        l_anchored(loop, task->slot);
        l_recycle_leave(loop->L, -1, task);
        lua_pop(loop->L, 1);
        return;
    }
    if (task->kept_at == 0) keep_new(loop, task);
    if (task->kept_at == 0) return;
    lua_settop(task->coroutine, 0);
    coroutines->slots[coroutines->idle++] = task->kept_at;
    task->kept_at = 0;
    task->coroutine = NULL;
}

void l_recycle_expose(lua_State *coroutine) {
    uintptr_t owner = *l_task_owner(coroutine);
    if (!l_task_owns(coroutine) || (owner & L_OWNER_WAITS_INSIDE) != 0) return;
    ((struct l_task *)owner)->exposed = true; /* NOLINT(performance-no-int-to-ptr) */
}

void l_recycle_pushown(lua_State *L, int index, const struct l_task *task) {
    if (task->kept_at == 0) {
        lua_getiuservalue(L, index, L_TASK_COROUTINE);
        return;
    }
    lua_getiuservalue(L, index, L_FUTURE_LOOP);
    lua_getiuservalue(L, -1, L_LOOP_COROUTINES);
    lua_getiuservalue(L, -1, task->kept_at);
    lua_replace(L, -3);
    lua_pop(L, 1);
}
