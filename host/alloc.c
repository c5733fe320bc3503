/* alloc.c -- slabs of equal blocks.
 *
 * A slab is SLAB_SIZE bytes at a multiple of that, so that the slab of a block is found
 * from its address.  Its free blocks are a list; behind them comes what was never used,
 * which is not touched before it is needed. */
#include "host/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SLAB_SIZE = 32 * 1024, ARENA_SLABS = 32, FIRST_SPARES = 32 };

/* From so many slabs on, 32 MiB, the kernel gives all pages of a slab at once, which is quicker
 * than at the first touch of each; in a small heap those never touched would count. */
enum { LARGE_HEAP = 1024 };

/* One slab more, so that ARENA_SLABS of them can begin at a multiple of their size. */
static const size_t MAP_SIZE = (size_t)(ARENA_SLABS + 1) * SLAB_SIZE;

struct block {
    struct block *next;
};

struct alloc_slab {
    struct alloc_slab *next, *prev; /* in the list of open ones; spare ones use next only */
    struct block *free;
    char *unused, *last; /* the first block that was never used; the last there is */
    struct alloc_arena *arena;
    unsigned live; /* blocks in use */
    unsigned size, class;
    bool is_open; /* has a free block, and stands in the list of those */
};

struct alloc_arena {
    struct alloc_arena *next;
    void *map;       /* what the kernel gave, */
    char *slabs;     /* and where in it the slabs begin */
    uint32_t absent; /* a bit for each slab that is without memory, */
    uint32_t gone;   /* and for those whose memory was given back */
};

/* Steps of 8 bytes up to 128, of 16 up to 320, of 32 up to 512; 720 is what the stack of a
 * coroutine takes. */
static const unsigned short sizes[ALLOC_CLASSES] = {
    8,   16,  24,  32,  40,  48,  56,  64,  72,  80,  88,  96,   104, 112,
    120, 128, 144, 160, 176, 192, 208, 224, 240, 256, 272, 288,  304, 320,
    352, 384, 416, 448, 480, 512, 576, 640, 720, 800, 912, 1024,
};

static unsigned class_of(size_t size) {
    static const unsigned char first[] = {34, 35, 36, 36, 37, 37, 38, 39}; /* in steps of 64 */
    if (size <= 128) return (unsigned)(size - 1) / 8;
    if (size <= 320) return 16 + (unsigned)(size - 129) / 16;
    if (size <= 512) return 28 + (unsigned)(size - 321) / 32;
    unsigned class = first[(size - 513) / 64];
    return sizes[class] < size ? class + 1 : class;
}

static struct alloc_slab *slab_of(const void *block) {
    /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
    return (struct alloc_slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_SIZE - 1));
}

/* ---- slabs ---- */

static void open_slab(struct alloc *alloc, struct alloc_slab *slab) {
    struct alloc_slab **list = &alloc->open[slab->class];
    slab->is_open = true;
    slab->next = *list;
    slab->prev = NULL;
    if (slab->next != NULL) slab->next->prev = slab;
    *list = slab;
}

static void close_slab(struct alloc *alloc, struct alloc_slab *slab) {
    slab->is_open = false;
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        alloc->open[slab->class] = slab->next;
    }
    if (slab->next != NULL) slab->next->prev = slab->prev;
}

static struct alloc_arena *new_arena(struct alloc *alloc) {
    struct alloc_arena *arena = malloc(sizeof *arena);
    if (arena == NULL) return NULL;
    arena->map = mmap(NULL, MAP_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena->map == MAP_FAILED) {
        free(arena);
        return NULL;
    }
    arena->slabs = (char *)slab_of((char *)arena->map + SLAB_SIZE - 1);
    arena->absent = UINT32_MAX;
    arena->gone = 0;
    arena->next = alloc->arenas;
    alloc->arenas = arena;
    return arena;
}

static struct alloc_slab *absent_slab(struct alloc *alloc) {
    struct alloc_arena *arena = alloc->arenas;
    while (arena != NULL && arena->absent == 0) arena = arena->next;
    if (arena == NULL) arena = new_arena(alloc);
    if (arena == NULL) return NULL;
    unsigned index = (unsigned)__builtin_ctz(arena->absent);
    uint32_t bit = (uint32_t)1 << index;
    if (arena->gone & bit) alloc->keep += 2; /* it was given back too early */
    arena->absent &= ~bit;
    arena->gone &= ~bit;
    struct alloc_slab *slab = (void *)(arena->slabs + (size_t)index * SLAB_SIZE);
    slab->arena = arena;
    if (alloc->taken++ >= LARGE_HEAP) madvise(slab, SLAB_SIZE, MADV_POPULATE_WRITE);
    return slab;
}

/* A slab with free blocks of the class, or NULL. */
static struct alloc_slab *new_slab(struct alloc *alloc, unsigned class) {
    struct alloc_slab *slab = alloc->spare;
    if (slab != NULL) {
        alloc->spare = slab->next;
        alloc->spares--;
    } else {
        slab = absent_slab(alloc);
        if (slab == NULL) return NULL;
    }
    unsigned size = sizes[class];
    slab->free = NULL;
    slab->unused = (char *)(slab + 1);
    slab->last = slab->unused + ((SLAB_SIZE - sizeof *slab) / size - 1) * size;
    slab->live = 0;
    slab->size = size;
    slab->class = class;
    open_slab(alloc, slab);
    return slab;
}

static void give_back(struct alloc *alloc, struct alloc_slab *slab) {
    if (alloc->spares < alloc->keep) {
        slab->next = alloc->spare;
        alloc->spare = slab;
        alloc->spares++;
        return;
    }
    struct alloc_arena *arena = slab->arena;
    size_t index = (size_t)((char *)slab - arena->slabs) / SLAB_SIZE;
    arena->absent |= (uint32_t)1 << index;
    arena->gone |= (uint32_t)1 << index;
    alloc->taken--;
    madvise(slab, SLAB_SIZE, MADV_DONTNEED);
}

/* ---- blocks ---- */

/* What is rare is in functions of its own, so that the rest needs no stack. */
#define RARE static __attribute__((noinline))

RARE void *take_large(struct alloc *alloc, size_t size) {
    if (size != alloc->offered) return malloc(size);
    void *block = alloc->draft;
    alloc->draft = NULL;
    alloc->offered = 0;
    return block;
}

/* A block that was never used. */
RARE void *take_unused(struct alloc *alloc, unsigned class) {
    struct alloc_slab *slab = alloc->open[class];
    if (slab == NULL) slab = new_slab(alloc, class);
    if (slab == NULL) return NULL;
    void *block = slab->unused;
    slab->unused += slab->size;
    if (slab->unused > slab->last) close_slab(alloc, slab);
    slab->live++;
    return block;
}

RARE void *take_last(struct alloc *alloc, struct alloc_slab *slab, void *block) {
    close_slab(alloc, slab);
    return block;
}

static inline void *take(struct alloc *alloc, size_t size) {
    if (size > ALLOC_SMALL) return take_large(alloc, size);
    unsigned class = class_of(size);
    struct alloc_slab *slab = alloc->open[class];
    if (slab == NULL || slab->free == NULL) return take_unused(alloc, class);
    struct block *block = slab->free;
    slab->free = block->next;
    slab->live++;
    bool full = slab->free == NULL && slab->unused > slab->last;
    return full ? take_last(alloc, slab, block) : block;
}

/* The slab was full, or is empty now. */
RARE void release_at_end(struct alloc *alloc, struct alloc_slab *slab) {
    if (!slab->is_open) open_slab(alloc, slab);
    /* the only open slab of its size stays: the next block would want it at once */
    if (slab->live == 0 && (slab->next != NULL || slab->prev != NULL)) {
        close_slab(alloc, slab);
        give_back(alloc, slab);
    }
}

static inline void release(struct alloc *alloc, void *pointer, size_t size) {
    if (size > ALLOC_SMALL) {
        free(pointer);
        return;
    }
    if (alloc->closing) return;
    struct alloc_slab *slab = slab_of(pointer);
    struct block *block = pointer;
    block->next = slab->free;
    slab->free = block;
    slab->live--;
    if (!slab->is_open || slab->live == 0) release_at_end(alloc, slab);
}

RARE void *resize(struct alloc *alloc, void *block, size_t old_size, size_t new_size) {
    if (old_size > ALLOC_SMALL && new_size > ALLOC_SMALL) {
        return realloc(block, new_size);
    }
    if (old_size <= ALLOC_SMALL && new_size <= ALLOC_SMALL &&
        class_of(old_size) == class_of(new_size)) {
        return block;
    }
    void *moved = take(alloc, new_size);
    if (moved == NULL) return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    release(alloc, block, old_size);
    return moved;
}

void *alloc_resize(void *arg, void *block, size_t old_size, size_t new_size) {
    struct alloc *alloc = arg;
    if (block == NULL) return new_size == 0 ? NULL : take(alloc, new_size);
    if (new_size != 0) return resize(alloc, block, old_size, new_size);
    release(alloc, block, old_size);
    return NULL;
}

/* ---- drafts ---- */

void *alloc_draft(struct alloc *alloc, size_t size) {
    alloc_withdraw(alloc); /* what an error has kept from being withdrawn */
    if (alloc->draft == NULL) alloc->draft = malloc(size);
    return alloc->draft;
}

void *alloc_offer(struct alloc *alloc, size_t size) {
    void *shrunk = realloc(alloc->draft, size);
    if (shrunk != NULL) alloc->draft = shrunk;
    alloc->offered = size;
    return alloc->draft;
}

void alloc_withdraw(struct alloc *alloc) {
    if (alloc->offered == 0) return;
    free(alloc->draft);
    alloc->draft = NULL;
    alloc->offered = 0;
}

/* ---- life ---- */

void alloc_init(struct alloc *alloc) {
    *alloc = (struct alloc){.keep = FIRST_SPARES};
}

void alloc_close(struct alloc *alloc) {
    free(alloc->draft);
    struct alloc_arena *arena = alloc->arenas;
    while (arena != NULL) {
        struct alloc_arena *next = arena->next;
        munmap(arena->map, MAP_SIZE);
        free(arena);
        arena = next;
    }
    alloc_init(alloc);
}
