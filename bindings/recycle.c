/* recycle.c -- a stack of coroutines in a table; a slot in use by nobody holds false.
 *
 * Without our own coroutine.running, as under stock Lua, nothing can be known of who has
 * a coroutine, and none is kept.  A debug hook stays with the coroutine that it was set
 * for, or inherited by: such a one is not kept, and while one is set none is taken. */
#include "bindings/recycle.h"

enum { KEPT = 256 };

void l_recycle_open(lua_State *L, struct l_runtime *rt) {
    l_pushshared(L, rt, L_SHARED_COROUTINES);
    for (int i = 1; i <= KEPT; i++) { /* keeping one must not allocate */
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, i);
    }
    lua_pop(L, 1);
    rt->recycles = true;
}

lua_State *l_recycle_push(lua_State *L, struct l_runtime *rt) {
    if (rt->kept == 0 || lua_gethookmask(L) != 0) return lua_newthread(L);
    l_pushshared(L, rt, L_SHARED_COROUTINES);
    lua_rawgeti(L, -1, rt->kept);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -3, rt->kept);
    rt->kept--;
    lua_replace(L, -2);
    return lua_tothread(L, -1);
}

void l_recycle_keep(struct l_loop *loop, struct l_task *task) {
    struct l_runtime *rt = loop->rt;
    lua_State *L = loop->L, *coroutine = task->coroutine;
    if (!rt->recycles || task->exposed || rt->kept == KEPT) return;
    if (lua_gethookmask(coroutine) != 0) return;
    l_pushshared(L, rt, L_SHARED_COROUTINES);
    lua_pushthread(coroutine);
    lua_xmove(coroutine, L, 1);
    lua_rawseti(L, -2, ++rt->kept);
    l_anchored(loop, task->slot);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, L_TASK_COROUTINE);
    lua_pop(L, 2);
    task->coroutine = NULL;
}

void l_recycle_expose(lua_State *coroutine) {
    uintptr_t owner = *l_task_owner(coroutine);
    if (!l_task_owns(coroutine) || (owner & L_OWNER_WAITS_INSIDE) != 0) return;
    ((struct l_task *)owner)->exposed = true; /* NOLINT(performance-no-int-to-ptr) */
}
