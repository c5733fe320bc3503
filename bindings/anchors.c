/* anchors.c -- slot -> object; free slots are a list of numbers. */
#include "bindings/loop.h"

int l_anchor(lua_State *L, int loop_index, struct l_loop *loop) {
    lua_getiuservalue(L, loop_index, L_LOOP_ANCHORS);
    lua_pushvalue(L, -2);
    int slot = loop->free_slot;
    if (slot != 0) {
        lua_rawgeti(L, -2, slot);
        loop->free_slot = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
        lua_rawseti(L, -2, slot);
    } else {
        slot = loop->slots + 1;
        lua_rawseti(L, -2, slot); /* may raise */
        loop->slots = slot;
    }
    lua_pop(L, 1);
    return slot;
}

void l_anchored(struct l_loop *loop, int slot) {
    lua_rawgeti(loop->L, L_FRAME_ANCHORS, slot);
}

static void free_slot(lua_State *L, int anchors, struct l_loop *loop, int slot) {
    lua_pushinteger(L, loop->free_slot);
    lua_rawseti(L, anchors, slot);
    loop->free_slot = slot;
}

void l_unanchor(struct l_loop *loop, int slot) {
    free_slot(loop->L, L_FRAME_ANCHORS, loop, slot);
}

void l_unanchor_at(lua_State *L, int loop_index, struct l_loop *loop, int slot) {
    lua_getiuservalue(L, loop_index, L_LOOP_ANCHORS);
    free_slot(L, lua_gettop(L), loop, slot);
    lua_pop(L, 1);
}
