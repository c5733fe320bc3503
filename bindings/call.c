/* call.c -- calls are taken from blocks and go back to their loop's list of spare ones. */
#include "bindings/call.h"

#include "bindings/context.h"

#include <stdlib.h>

enum { FIRST_BLOCK = 16, LARGEST_BLOCK = 4096 }; /* calls */

struct call {
    struct handle handle; /* while it is spare, `next` is the next spare one */
    struct l_loop *loop;
    int slot; /* of the function */
};

struct l_calls {
    struct l_calls *before;
    struct call calls[];
};

static void give_back(struct l_loop *loop, struct call *call) {
    call->handle.next = loop->spare_call;
    loop->spare_call = &call->handle;
}

/* Calls and pops the function on top. */
static void call_carefully(struct l_loop *loop) {
    lua_State *L = loop->L;
    int function = lua_gettop(L);
    bool has_entered = l_context_enter(L, loop->rt, 0, 0);
    lua_pushvalue(L, function);
    l_loop_call(loop, 0, "Exception in callback", "handle", function);
    if (has_entered) l_context_leave(L, loop->rt);
    lua_settop(L, function - 1);
}

static void call_run(struct handle *handle) {
    struct call *call = container_of(handle, struct call, handle);
    struct l_loop *loop = call->loop;
    int slot = call->slot;
    give_back(loop, call);
    l_anchored(loop, slot);
    if (loop->debug || loop->rt->context_set) { /* which was not so when it was scheduled */
        call_carefully(loop);
    } else {
        l_loop_call_anchored(loop, 0, "handle", slot, true);
    }
    l_unanchor(loop, slot);
}

/* As many again as there are, within limits. */
static void make_calls(lua_State *L, struct l_loop *loop) {
    size_t count = loop->calls_made;
    if (count < FIRST_BLOCK) count = FIRST_BLOCK;
    if (count > LARGEST_BLOCK) count = LARGEST_BLOCK;
    struct l_calls *block = malloc(sizeof *block + count * sizeof block->calls[0]);
    if (block == NULL) {
        luaL_error(L, "not enough memory");
        return; /* it does not, which the linter cannot know */
    }
    block->before = loop->calls;
    loop->calls = block;
    loop->calls_made += count;
    for (size_t i = count; i-- > 0;) {
        handle_init(&block->calls[i].handle, call_run);
        block->calls[i].loop = loop;
        give_back(loop, &block->calls[i]);
    }
}

void l_call_soon(lua_State *L, struct l_loop *loop) {
    if (loop->spare_call == NULL) make_calls(L, loop);
    int slot = l_anchor_briefly(L, 1, loop);
    struct handle *handle = loop->spare_call;
    loop->spare_call = handle->next;
    container_of(handle, struct call, handle)->slot = slot;
    loop_call_soon(&loop->loop, handle);
}

void l_call_free(struct l_loop *loop) {
    while (loop->calls != NULL) {
        struct l_calls *block = loop->calls;
        loop->calls = block->before;
        free(block);
    }
    loop->spare_call = NULL;
}
