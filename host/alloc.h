/* alloc.h -- memory for many small blocks that come and go, as a Lua state needs it.
 *
 * Blocks of up to ALLOC_SMALL bytes come from slabs, each of blocks of one size, without
 * a header of their own: taking and giving back is a few instructions.  A slab whose
 * blocks are all free is used for another size.  When many are spare, their memory goes
 * back to the kernel; how many are kept grows with those that were soon needed again.
 * Larger blocks are malloc's.  Blocks are aligned to 8 bytes.
 *
 * An allocator owns its slabs and belongs to one thread. */
#ifndef LOOPHOST_ALLOC_H
#define LOOPHOST_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

enum { ALLOC_SMALL = 1024, ALLOC_CLASSES = 40 };

struct alloc_slab;
struct alloc_arena;

struct alloc {
    struct alloc_slab *open[ALLOC_CLASSES]; /* of each size: slabs with a free block */
    struct alloc_slab *spare;               /* of no size, still in memory */
    unsigned spares, keep;                  /* how many there are; how many shall stay */
    unsigned taken;                         /* slabs, spare ones too */
    struct alloc_arena *arenas;             /* what the slabs are cut from */
    void *draft;                            /* memory that is filled before it is a block */
    size_t offered;                         /* and the size of the block that it shall be, or 0 */
    bool closing;                           /* set by the owner, who is about to close it: blocks
                                               are not worth being kept apart any more */
};

void alloc_init(struct alloc *alloc);

/* Gives everything back, but for blocks of malloc's that are still in use. */
void alloc_close(struct alloc *alloc);

/* What realloc does, told the size of the block; a new size of 0 frees it.  NULL when
 * there is no memory, and then the block is as it was.  The signature is lua_Alloc's,
 * `arg` the allocator. */
void *alloc_resize(void *arg, void *block, size_t old_size, size_t new_size);

/* A large block whose bytes are there before it is taken.  alloc_draft gives memory for them, always
 * of the same size, or NULL; it is the allocator's.  alloc_offer has the next block of just this
 * size, which is more than ALLOC_SMALL and at most the draft's, be that memory, and says where it
 * is now.  alloc_withdraw is called afterwards, whether somebody has taken it or not. */
void *alloc_draft(struct alloc *alloc, size_t size);
void *alloc_offer(struct alloc *alloc, size_t size);
void alloc_withdraw(struct alloc *alloc);

#endif
