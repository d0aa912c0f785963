/* SPDX-License-Identifier: Apache-2.0 */
#include "net/queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define START_BYTES 1024u
/* An empty queue of more than this gives its memory back. */
#define KEEP_BYTES 65536u

int cns_byte_queue_reserve(struct cns_byte_queue *queue, size_t bytes) {
  if (bytes > SIZE_MAX / 4 || queue->len > SIZE_MAX / 4) return CNS_ERR_LIMIT;
  if (queue->capacity - queue->start - queue->len >= bytes) return 0;
  size_t needed = queue->len + bytes;
  /* Moving is worth it only when it frees half, else it could happen at each put. */
  if (needed <= queue->capacity && queue->start >= queue->capacity / 2) {
    memmove(queue->data, queue->data + queue->start, queue->len);
    queue->start = 0;
    return 0;
  }
  size_t capacity = queue->capacity ? queue->capacity : START_BYTES;
  while (capacity < needed)
    capacity *= 2;
  if (capacity == queue->capacity) capacity *= 2;
  uint8_t *grown = malloc(capacity);
  if (!grown) return CNS_ERR_MEMORY;
  if (queue->len > 0) memcpy(grown, queue->data + queue->start, queue->len);
  free(queue->data);
  queue->data = grown;
  queue->start = 0;
  queue->capacity = capacity;
  return 0;
}

void cns_byte_queue_put(struct cns_byte_queue *queue, const void *data, size_t len) {
  if (len == 0) return;
  assert(queue->capacity - queue->start - queue->len >= len);
  memcpy(queue->data + queue->start + queue->len, data, len);
  queue->len += len;
}

size_t cns_byte_queue_peek(const struct cns_byte_queue *queue, uint8_t *ret_data, size_t max) {
  size_t n = queue->len < max ? queue->len : max;
  if (n > 0) memcpy(ret_data, queue->data + queue->start, n);
  return n;
}

void cns_byte_queue_drop(struct cns_byte_queue *queue, size_t len) {
  assert(len <= queue->len);
  queue->start += len;
  queue->len -= len;
  if (queue->len > 0) return;
  queue->start = 0;
  if (queue->capacity > KEEP_BYTES) cns_byte_queue_deinit(queue);
}

void cns_byte_queue_deinit(struct cns_byte_queue *queue) {
  free(queue->data);
  *queue = (struct cns_byte_queue){0};
}
