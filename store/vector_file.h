/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One uploaded masked vector per file, written chunk by chunk and found again
 * after a crash. At rest the words are encrypted with the AES-256-CTR
 * keystream of crypto/mask.h, added modulo 2^32, under a random key of the
 * file's own that the header holds sealed. There is no integrity here: the
 * protocol's signed tree digest over the vector is checked by who reads it.
 *
 * An offset is written once, or again with the same words: other words at the
 * same offset would reuse the keystream. A range that was never written reads
 * as noise; which chunks are there is the journal's knowledge.
 *
 * Reads and writes of disjoint ranges may run on several threads.
 */
#pragma once

#include "crypto/base.h"

#define CNS_VECTOR_FILE_KEY_BYTES 32
/* Longest vector: 2^32 elements, 16 GiB. */
#define CNS_VECTOR_FILE_WORDS_MAX ((uint64_t)1 << 32)
/* Longest name. Letters, digits, '-', '_' and '.', not starting with '.'. */
#define CNS_VECTOR_FILE_NAME_MAX 100

struct cns_vector_file;

/* The folder must exist. Reserves the space, so that a full disk shows here:
 * CNS_ERR_DISK_FULL leaves no file. CNS_ERR_EXISTS if there is one by that
 * name; CNS_ERR_ARGUMENT for a bad name or length. Durable when it returns. */
CNS_MUST_CHECK int cns_vector_file_create(const char *folder, const char *name, uint64_t words,
                                          const uint8_t key[static CNS_VECTOR_FILE_KEY_BYTES],
                                          struct cns_vector_file **ret_file, struct cns_problem *problem);
/* An existing one. CNS_ERR_NOT_FOUND; CNS_ERR_FORMAT if damaged, of another
 * name, or sealed under another key. */
CNS_MUST_CHECK int cns_vector_file_open(const char *folder, const char *name,
                                        const uint8_t key[static CNS_VECTOR_FILE_KEY_BYTES],
                                        struct cns_vector_file **ret_file, struct cns_problem *problem);
/* Closes; the file stays. Takes NULL, returns NULL. */
struct cns_vector_file *cns_vector_file_free(struct cns_vector_file *file);

uint64_t cns_vector_file_words(const struct cns_vector_file *file);
/* words[0..count-1] go to offset.. (in elements). CNS_ERR_RANGE beyond the end. */
CNS_MUST_CHECK int cns_vector_file_write(struct cns_vector_file *file, uint64_t offset, const uint32_t *words,
                                         size_t count, struct cns_problem *problem);
CNS_MUST_CHECK int cns_vector_file_read(struct cns_vector_file *file, uint64_t offset, size_t count,
                                        uint32_t *ret_words, struct cns_problem *problem);
/* Everything written before is durable when it returns 0. */
CNS_MUST_CHECK int cns_vector_file_sync(struct cns_vector_file *file, struct cns_problem *problem);

/* Overwrites the sealed key (what is left on the disk can't be read any more),
 * then unlinks. 0 also if there is no such file. Works on a damaged one. The room of a large one is free a
 * little later. */
CNS_MUST_CHECK int cns_vector_file_delete(const char *folder, const char *name, struct cns_problem *problem);

/* Names of the vector files in a folder, in no order; a result other than 0
 * ends the listing and is its result. The callback may delete the file. */
CNS_MUST_CHECK int cns_vector_file_each(const char *folder, int (*callback)(void *context, const char *name),
                                        void *context, struct cns_problem *problem);
