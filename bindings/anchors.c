/* anchors.c -- slot -> object.  A free slot holds false and is listed in C, but for a single stale
 * one, which holds what it held. */
#include "bindings/loop.h"

#include <stdlib.h>

/* Makes room for one more slot in the list of free ones. */
static void grow(lua_State *L, struct l_loop *loop) {
    int room = loop->free_room > 0 ? 2 * loop->free_room : 64;
    int *slots = realloc(loop->free_slots, (size_t)room * sizeof *slots);
    if (slots == NULL) luaL_error(L, "not enough memory");
    loop->free_slots = slots;
    loop->free_room = room;
}

/* The last free slot is in use from now on. */
static void take_slot(struct l_loop *loop, int slot) {
    loop->free_count--;
    if (slot == loop->stale_slot) loop->stale_slot = 0;
}

int l_anchor(lua_State *L, int index, int loop_index, struct l_loop *loop) {
    bool reused = loop->free_count > 0;
    if (!reused && loop->slots == loop->free_room) grow(L, loop);
    int slot = reused ? loop->free_slots[loop->free_count - 1] : loop->slots + 1;
    lua_State *frame = l_loop_frame(loop, L);
    if (reused && frame != NULL) { /* the table has the slot, so that setting it cannot fail */
        lua_pushvalue(L, index);
        lua_xmove(L, frame, 1);
        lua_rawseti(frame, L_FRAME_ANCHORS, slot);
        take_slot(loop, slot);
        return slot;
    }
    if (loop_index == 0) {
        l_loop_push_alive(L, loop);
        lua_getiuservalue(L, -1, L_LOOP_ANCHORS);
        lua_replace(L, -2);
    } else {
        lua_getiuservalue(L, loop_index, L_LOOP_ANCHORS);
    }
    lua_pushvalue(L, index < 0 ? index - 1 : index);
    lua_rawseti(L, -2, slot); /* may raise */
    lua_pop(L, 1);
    if (reused) {
        take_slot(loop, slot);
    } else {
        loop->slots = slot;
    }
    return slot;
}

void l_anchored(struct l_loop *loop, int slot) {
    lua_rawgeti(loop->L, L_FRAME_ANCHORS, slot);
}

static void free_slot(lua_State *L, int anchors, struct l_loop *loop, int slot) {
    if (loop->closed) return; /* it has let go of everything */
    lua_pushboolean(L, 0);
    lua_rawseti(L, anchors, slot);
    loop->free_slots[loop->free_count++] = slot;
}

void l_unanchor(struct l_loop *loop, int slot) {
    free_slot(loop->L, L_FRAME_ANCHORS, loop, slot);
}

void l_unanchor_anywhere(lua_State *L, struct l_loop *loop, int slot) {
    lua_State *frame = l_loop_frame(loop, L);
    if (frame != NULL) {
        free_slot(frame, L_FRAME_ANCHORS, loop, slot);
        return;
    }
    int top = lua_gettop(L);
    l_pushshared(L, loop->rt, L_SHARED_LOOPS);
    if (lua_rawgeti(L, -1, loop->number) != LUA_TNIL) {
        lua_getiuservalue(L, -1, L_LOOP_ANCHORS);
        free_slot(L, lua_gettop(L), loop, slot);
    }
    lua_settop(L, top);
}

void l_unanchor_later(lua_State *L, struct l_loop *loop, int slot) {
    if (loop->closed) return;
    if (loop->stale_slot == 0) {
        loop->stale_slot = slot;
        loop->free_slots[loop->free_count++] = slot;
    } else {
        l_unanchor_anywhere(L, loop, slot);
    }
}
