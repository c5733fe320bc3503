/* fuzz_pqueue.c -- the heap against a sorted array. */
#include "host/handle.h"
#include "host/pqueue.h"
#include "tests/fuzz.h"

enum { NODES = 200, STEPS = 4000, SEEDS = 150 };

static struct pqueue queue;
static struct pqueue_node nodes[NODES];

/* The same nodes, in the order in which they must come out. */
static struct pqueue_node *model[NODES];
static int count;

static int place_of(const struct pqueue_node *node) {
    int i = 0;
    while (i < count && model[i] != node) i++;
    return i;
}

static void model_insert(struct pqueue_node *node, int64_t key) {
    int i = count++;
    while (i > 0 && model[i - 1]->key > key) {
        model[i] = model[i - 1];
        i--;
    }
    model[i] = node;
}

static void model_remove(int place) {
    count--;
    for (int i = place; i < count; i++) model[i] = model[i + 1];
}

/* Every node knows its place, and none comes before its parent. */
static void check_array(void) {
    for (size_t i = 0; i < queue.count; i++) {
        const struct pqueue_entry *entry = &queue.entries[i];
        check(entry->node->place == i && entry->node->key == entry->key);
        check(i == 0 || place_of(queue.entries[(i - 1) / 4].node) < place_of(entry->node));
    }
    check(queue.count == 0 || (uintptr_t)(queue.entries + 1) % 64 == 0);
}

static void step(int pressure) {
    struct pqueue_node *node = &nodes[random_below(NODES)];
    int dice = random_below(100);
    if (dice < pressure && !pqueue_contains(node)) {
        int64_t key = random_key();
        check(pqueue_push(&queue, node, key));
        model_insert(node, key);
    } else if (dice < 80 && pqueue_contains(node)) {
        pqueue_remove(&queue, node);
        model_remove(place_of(node));
    } else if (dice >= 80) {
        node = pqueue_pop(&queue);
        check(node == (count > 0 ? model[0] : NULL));
        if (count > 0) model_remove(0);
    }
    if (node != NULL) check(pqueue_contains(node) == (place_of(node) < count));
    check(pqueue_peek(&queue) == (count > 0 ? model[0] : NULL));
    check(queue.count == (size_t)count);
}

static void play(void) {
    pqueue_init(&queue);
    count = 0;
    for (int i = 0; i < NODES; i++) pqueue_node_init(&nodes[i]);
    for (fuzz.step = 0; fuzz.step < STEPS; fuzz.step++) {
        step(fuzz.step / 500 % 2 == 0 ? 75 : 30); /* fills and drains */
        if (fuzz.step % 100 == 0) check_array();
    }
    while (count > 0) {
        check(pqueue_pop(&queue) == model[0]);
        model_remove(0);
    }
    check(pqueue_pop(&queue) == NULL);
    pqueue_clear(&queue);
}

int main(int argc, char **argv) {
    return fuzz_main(argc, argv, SEEDS, play);
}
