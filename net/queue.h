/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes, for what waits to be sent. Zero-initialise. */
#pragma once

#include "crypto/base.h"

struct cns_byte_queue {
  uint8_t *data;
  size_t start, len, capacity;
};

/* Room for so many bytes more, so that the following puts can't fail. */
CNS_MUST_CHECK int cns_byte_queue_reserve(struct cns_byte_queue *queue, size_t bytes);
/* Within what was reserved. */
void cns_byte_queue_put(struct cns_byte_queue *queue, const void *data, size_t len);
/* Copies up to max of the oldest bytes, leaving them in. */
size_t cns_byte_queue_peek(const struct cns_byte_queue *queue, uint8_t *ret_data, size_t max);
void cns_byte_queue_drop(struct cns_byte_queue *queue, size_t len);
void cns_byte_queue_deinit(struct cns_byte_queue *queue);
