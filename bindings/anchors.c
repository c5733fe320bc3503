/* anchors.c -- slot -> object.  A free slot holds false and is listed in C, but for a single stale
 * one, which holds what it held and is taken next. */
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

/* The slot that is taken next. */
static int next_slot(const struct l_loop *loop) {
    if (loop->stale_slot != 0) return loop->stale_slot;
    return loop->free_count > 0 ? loop->free_slots[loop->free_count - 1] : loop->slots + 1;
}

static void take_next_slot(struct l_loop *loop) {
    if (loop->stale_slot != 0) {
        loop->stale_slot = 0;
    } else if (loop->free_count > 0) {
        loop->free_count--;
    } else {
        loop->slots++;
    }
}

int l_anchor(lua_State *L, int index, int loop_index, struct l_loop *loop) {
    int slot = next_slot(loop);
    if (slot > loop->free_room) grow(L, loop);
    lua_State *frame = l_loop_frame(loop, L);
    if (slot <= loop->slots && frame != NULL) { /* the table has it: setting it cannot fail */
        lua_pushvalue(L, index);
        lua_xmove(L, frame, 1);
        lua_rawseti(frame, L_FRAME_ANCHORS, slot);
        take_next_slot(loop);
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
    take_next_slot(loop);
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
    } else {
        l_unanchor_anywhere(L, loop, slot);
    }
}
