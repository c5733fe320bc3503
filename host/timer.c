/* timer.c -- moves what is due from the heap of deadlines to the ready queue. */
#include "host/timer.h"

size_t timers_expire(struct pqueue *timers, int64_t now_ns, struct handle_queue *ready) {
    size_t expired = 0;
    struct pqueue_node *node;
    while ((node = pqueue_peek(timers)) != NULL && node->key <= now_ns) {
        pqueue_remove(timers, node);
        handle_push(ready, &container_of(node, struct timer, node)->handle);
        expired++;
    }
    return expired;
}
