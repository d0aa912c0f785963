/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends y = x + masks chunk by chunk (docs/protocol.md, "upload"). y is never
 * whole in memory: batches of chunks are masked on a worker thread, the next
 * while the last is being sent. y is a function of x and the masks, so chunks
 * sent again are the same bytes; the digest covers all chunks, sent to this
 * coordinator or held by it already.
 */
#pragma once

#include <uv.h>

#include "protocol/upload.h"

struct cns_uploader;

struct cns_uploader_callbacks {
  void *context;
  /* 0; CNS_CASE_FULL (net/link.h): cns_uploader_writable tells when to go on;
   * an error: the uploader pauses. */
  int (*send)(void *context, uint64_t chunk, const uint8_t *bytes, size_t len);
  /* Everything from the chunk asked for on is sent; root: digest of all of y. */
  void (*done)(void *context, const struct cns_digest *root);
  /* Masking failed (CNS_ERR_*): this vector can't be sent. */
  void (*failed)(void *context, int error);
};

/* x: malloc'd, words long, taken on success, wiped when the uploader is freed and
 * nobody holds it. */
CNS_MUST_CHECK int cns_uploader_new(uv_loop_t *uv, const struct cns_uploader_callbacks *callbacks,
                                    uint32_t *x, uint64_t words, struct cns_uploader **ret_uploader);
/* No callback comes any more. Returns NULL. */
struct cns_uploader *cns_uploader_free(struct cns_uploader *uploader);

/* The masks, once: the same ones again are nothing new. */
CNS_MUST_CHECK int cns_uploader_set_masks(struct cns_uploader *uploader, const struct cns_mask_term *terms,
                                          size_t count);
/* Sends from that chunk on (0..number of chunks), whatever was sent before.
 * CNS_ERR_STATE before the masks are set, CNS_ERR_RANGE beyond the last chunk. */
CNS_MUST_CHECK int cns_uploader_from(struct cns_uploader *uploader, uint64_t chunk);
void cns_uploader_writable(struct cns_uploader *uploader);
/* x (words of them, not masked), for whoever else reads it. It stays where it is,
 * and the uploader's memory with it, until cns_uploader_release, on the loop's
 * thread like all of these. */
void cns_uploader_hold(struct cns_uploader *uploader, const uint32_t **ret_x, uint64_t *ret_words);
void cns_uploader_release(struct cns_uploader *uploader);
/* The link is gone: nothing is sent until cns_uploader_from. */
void cns_uploader_pause(struct cns_uploader *uploader);
