/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The randomness of one call of a sampler: the AES-256-CTR keystream
 * (crypto/mask.h) under a key of 32 bytes that are drawn when it is opened.
 */
#pragma once

#include "crypto/mask.h"
#include "crypto/rng.h"

/* Bytes that are made at a time. */
#define CNS_NOISE_STREAM_BYTES 8192

struct cns_noise_stream;

/* CNS_ERR_RANDOM, CNS_ERR_MEMORY, CNS_ERR_LIBRARY. */
CNS_MUST_CHECK int cns_noise_stream_open(struct cns_rng rng, struct cns_noise_stream **ret_stream);
/* The next CNS_NOISE_STREAM_BYTES, which belong to the stream, aligned to 64 bytes; NULL if
 * the cipher failed. What _u64 had not used of the bytes before is skipped. */
CNS_MUST_CHECK const uint8_t *cns_noise_stream_next(struct cns_noise_stream *stream);
/* The next 8 bytes as a number. CNS_ERR_LIBRARY. */
CNS_MUST_CHECK int cns_noise_stream_u64(struct cns_noise_stream *stream, uint64_t *ret_value);
struct cns_noise_stream *cns_noise_stream_free(struct cns_noise_stream *stream); /* wipes; NULL */
