/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON that is safe to sign: strict parsing (no duplicate keys, no trailing
 * bytes, UTF-8, depth at most 32, finite numbers) and one canonical form
 * (keys sorted bytewise, two-space indentation, integers without exponent,
 * other numbers as the shortest decimal that reads back to the same double,
 * newline at the end).
 *
 * The _get_ helpers fill a problem that names the path ("training.rounds"),
 * what was found and what is expected. They are for objects whose fields are
 * all known: cns_json_only refuses any other.
 */
#pragma once

#include <cjson/cJSON.h>

#include "crypto/base.h"
#include "crypto/group.h"
#include "crypto/identity.h"

#define CNS_JSON_BYTES_MAX (8u << 20)

/* where: file name or other origin, for the sentence. Free with cJSON_Delete. */
CNS_MUST_CHECK int cns_json_parse(const char *text, size_t len, const char *where, cJSON **ret_json,
                                  struct cns_problem *problem);
/* malloc'd, NUL-terminated; ret_len without the NUL. */
CNS_MUST_CHECK int cns_json_canonical(const cJSON *json, char **ret_text, size_t *ret_len);
/* 0, or CNS_ERR_FORMAT if text is not byte for byte its own canonical form. */
CNS_MUST_CHECK int cns_json_check_canonical(const char *text, size_t len, const char *where,
                                            struct cns_problem *problem);

/* Only these field names may occur; names ends with NULL. */
CNS_MUST_CHECK int cns_json_only(const cJSON *object, const char *path, const char *const *names,
                                 struct cns_problem *problem);
/* Required members of the right type, else CNS_ERR_FORMAT; numbers out of
 * [min, max] are CNS_ERR_RANGE. path is the object's own path ("" at the top). */
CNS_MUST_CHECK int cns_json_get_object(const cJSON *object, const char *path, const char *name,
                                       const cJSON **ret_value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_json_get_array(const cJSON *object, const char *path, const char *name,
                                      const cJSON **ret_value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_json_get_string(const cJSON *object, const char *path, const char *name,
                                       size_t max_len, const char **ret_value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_json_get_int(const cJSON *object, const char *path, const char *name, int64_t min,
                                    int64_t max, int64_t *ret_value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_json_get_number(const cJSON *object, const char *path, const char *name, double min,
                                       double max, double *ret_value, struct cns_problem *problem);
CNS_MUST_CHECK int cns_json_get_bool(const cJSON *object, const char *path, const char *name, bool *ret_value,
                                     struct cns_problem *problem);
CNS_MUST_CHECK int cns_json_get_hex(const cJSON *object, const char *path, const char *name, size_t bytes,
                                    uint8_t *ret_bytes, struct cns_problem *problem);
/* "2026-11-22T10:00:00Z" as seconds since 1970. */
CNS_MUST_CHECK int cns_json_get_time(const cJSON *object, const char *path, const char *name,
                                     int64_t *ret_seconds, struct cns_problem *problem);
/* Adds a UTC time in that form. */
CNS_MUST_CHECK int cns_json_add_time(cJSON *object, const char *name, int64_t seconds);
CNS_MUST_CHECK int cns_json_add_hex(cJSON *object, const char *name, const uint8_t *bytes, size_t len);
/* JSON "name" present? (optional members) */
bool cns_json_has(const cJSON *object, const char *name);

/* Whole file into malloc'd memory (NUL appended), at most max bytes; sentences
 * for missing, unreadable, empty, too large, and for what is no plain file. */
CNS_MUST_CHECK int cns_file_read(const char *path, size_t max, uint8_t **ret_data, size_t *ret_len,
                                 struct cns_problem *problem);
/* Temporary file in the same folder, fsync, rename, fsync of the folder. mode
 * e.g. 0600. CNS_ERR_DISK_FULL on ENOSPC/EDQUOT. After an error the old file is
 * still there, unless it was only the folder that couldn't be synced. Behind a
 * link its target is replaced, and the link stays. What is no plain file (a
 * device, a pipe), and our own output, are written to as they are. */
CNS_MUST_CHECK int cns_file_write(const char *path, const void *data, size_t len, unsigned mode,
                                  struct cns_problem *problem);
/* The same piece by piece, for what needn't be in memory at once: begin, append as
 * often as needed, commit; discard in the end, in any case: what was not committed
 * leaves the old file as it was. */
struct cns_file_writer;
CNS_MUST_CHECK int cns_file_begin(const char *path, unsigned mode, struct cns_file_writer **ret_writer,
                                  struct cns_problem *problem);
CNS_MUST_CHECK int cns_file_append(struct cns_file_writer *writer, const void *data, size_t len,
                                   struct cns_problem *problem);
CNS_MUST_CHECK int cns_file_commit(struct cns_file_writer *writer, struct cns_problem *problem);
struct cns_file_writer *cns_file_discard(struct cns_file_writer *writer); /* NULL is fine */
/* The sentence for an errno, which is never 0, and its CNS_ERR_*. */
int cns_file_read_failed(const char *path, int number, struct cns_problem *problem);
/* len bytes at that offset of an open file, all of them. An errno, 0 for done; EIO also where
 * a file ends before that, or takes nothing. */
CNS_MUST_CHECK int cns_file_read_at(int fd, void *ret_data, size_t len, uint64_t at);
CNS_MUST_CHECK int cns_file_write_at(int fd, const void *data, size_t len, uint64_t at);
/* cns_file_read_at with a sentence: what can't be read, and what became shorter meanwhile. */
CNS_MUST_CHECK int cns_file_load_at(int fd, const char *path, void *ret_data, size_t len, uint64_t at,
                                    struct cns_problem *problem);
/* Makes the name of a new or renamed file durable. Returns an errno, 0 for done
 * (also on a file system that can't sync folders). */
CNS_MUST_CHECK int cns_file_sync_folder(const char *path);
