/* anchors.c -- slot -> object.
 *
 * Slots from 1 on are those of a table.  A free one holds false and is listed in C, but for a
 * single stale one, which holds what it held.
 *
 * Slots below 0 are on the stack of a coroutine that never runs, for what is anchored briefly: to
 * push there, and to push from there, is quicker than to set and get what a table has.  They are
 * used from the bottom up, and again from the bottom once nothing in them is live. */
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
    if (loop->closed) l_loop_closed_error(L);
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

/* ---- brief ones ---- */

enum {
    NOTHING = 1, /* the lowest index, which is nil: what freed slots get a copy of */
    FIRST_ROOM = 64,
    MOST_ROOM = 1 << 17,
    KEPT_ROOM = 1 << 10,
};

static void begin_anew(struct l_loop *loop) {
    if (loop->brief.room > KEPT_ROOM) {
        lua_resetthread(loop->brief.stack); /* gives back what it has grown */
        lua_pushnil(loop->brief.stack);
        loop->brief.room = 0;
    }
    lua_settop(loop->brief.stack, NOTHING);
    loop->brief.top = NOTHING;
    loop->brief.live = 0;
}

static bool grow_brief(struct l_loop *loop) {
    int room = loop->brief.room == 0 ? FIRST_ROOM : 2 * loop->brief.room;
    /* where most are free already, the others will be soon */
    if (room > MOST_ROOM || loop->brief.live < loop->brief.room / 2) return false;
    if (!lua_checkstack(loop->brief.stack, room - loop->brief.top + LUA_MINSTACK)) return false;
    loop->brief.room = room;
    return true;
}

int l_anchor_briefly(lua_State *L, int loop_index, struct l_loop *loop) {
    bool has_room = loop->brief.top < loop->brief.room || grow_brief(loop);
    if (!has_room || loop->closed) {
        int slot = l_anchor(L, -1, loop_index, loop);
        lua_pop(L, 1);
        return slot;
    }
    lua_xmove(L, loop->brief.stack, 1);
    loop->brief.live++;
    return -++loop->brief.top;
}

static void free_brief(struct l_loop *loop, int slot) {
    if (--loop->brief.live == 0) {
        begin_anew(loop);
    } else {
        lua_copy(loop->brief.stack, NOTHING, -slot);
    }
}

/* ---- all of them ---- */

void l_anchors_open(lua_State *L, int loop_index, struct l_loop *loop) {
    loop_index = lua_absindex(L, loop_index);
    lua_newtable(L);
    lua_setiuservalue(L, loop_index, L_LOOP_ANCHORS);
    loop->brief.stack = lua_newthread(L);
    lua_setiuservalue(L, loop_index, L_LOOP_BRIEF);
    lua_pushnil(loop->brief.stack);
    loop->brief.top = NOTHING;
}

bool l_next_anchored(lua_State *L, int anchors, const struct l_loop *loop, int *slot) {
    if (*slot >= 0 && *slot < loop->slots) {
        lua_rawgeti(L, anchors, ++*slot);
        return true;
    }
    if (*slot >= 0) *slot = -NOTHING;
    if (-*slot >= loop->brief.top) return false;
    l_push_brief(L, loop, --*slot);
    return true;
}

void l_unanchor_all(lua_State *L, int anchors, struct l_loop *loop) {
    for (int slot = 1; slot <= loop->slots; slot++) {
        lua_pushnil(L);
        lua_rawseti(L, anchors, slot);
    }
    free(loop->free_slots);
    loop->free_slots = NULL;
    loop->slots = loop->stale_slot = loop->free_count = loop->free_room = 0;
    begin_anew(loop);
}

/* ---- one of them ---- */

static void free_slot(lua_State *L, int anchors, struct l_loop *loop, int slot) {
    if (loop->closed) return; /* it has let go of everything */
    lua_pushboolean(L, 0);
    lua_rawseti(L, anchors, slot);
    loop->free_slots[loop->free_count++] = slot;
}

void l_unanchor(struct l_loop *loop, int slot) {
    if (slot < 0) {
        if (!loop->closed) free_brief(loop, slot);
    } else {
        free_slot(loop->L, L_FRAME_ANCHORS, loop, slot);
    }
}

void l_unanchor_anywhere(lua_State *L, struct l_loop *loop, int slot) {
    if (slot < 0) {
        l_unanchor(loop, slot);
        return;
    }
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
    if (loop->stale_slot == 0 && slot > 0) {
        loop->stale_slot = slot;
        loop->free_slots[loop->free_count++] = slot;
    } else {
        l_unanchor_anywhere(L, loop, slot);
    }
}
