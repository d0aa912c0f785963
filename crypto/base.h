/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every room shares: result codes, limits, and the sentence that a
 * person reads when something they gave us was wrong.
 *
 * Convention of results: 0 done; negative a fatal CNS_ERR_* that is passed on
 * unchanged; positive a case that the caller must handle (named by the
 * function). Outputs come last, are named ret_..., and are untouched on
 * failure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CNS_VERSION "0.1.0"

#define CNS_MUST_CHECK __attribute__((warn_unused_result))
#define CNS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define CNS_DIGEST_BYTES 32
/* Most hospitals in a roster, and the largest roster index. */
#define CNS_HOSPITALS_MAX 1000

enum cns_error {
  CNS_OK = 0,
  CNS_ERR_ARGUMENT = -1,  /* our own caller passed nonsense */
  CNS_ERR_MEMORY = -2,    /* allocation failed */
  CNS_ERR_RANDOM = -3,    /* the random source failed: always fatal */
  CNS_ERR_LIBRARY = -4,   /* a library call failed that should not fail */
  CNS_ERR_IO = -5,        /* read, write, sync or database failure */
  CNS_ERR_DISK_FULL = -6, /* no space left */
  CNS_ERR_FORMAT = -7,    /* malformed bytes: truncated, trailing, wrong type */
  CNS_ERR_SIGNATURE = -8, /* a signature does not verify */
  CNS_ERR_PROOF = -9,     /* a zero-knowledge proof or share check does not verify */
  CNS_ERR_RANGE = -10,    /* a number outside its limits */
  CNS_ERR_LIMIT = -11,    /* a named limit would be exceeded */
  CNS_ERR_STATE = -12,    /* not possible in this state */
  CNS_ERR_REFUSED = -13,  /* policy, floor or protocol forbids it */
  CNS_ERR_NOT_FOUND = -14,
  CNS_ERR_EXISTS = -15,
  CNS_ERR_VERSION = -16,     /* unknown or too old version */
  CNS_ERR_UNSUPPORTED = -17, /* a reserved name that this version does not offer */
  CNS_ERR_PERMISSION = -18,
  CNS_ERR_CLOSED = -19, /* connection closed */
  CNS_ERR_TIMEOUT = -20,
  CNS_ERR_CANCELLED = -21,
  CNS_ERR_BUDGET = -22,  /* the privacy budget is spent */
  CNS_ERR_STOPPED = -23, /* the study was stopped for good */
};

/* Short fixed name of a CNS_ERR_* ("CNS_ERR_FORMAT"), never NULL. */
const char *cns_error_name(int error);
/* The CNS_ERR_* of a failed call on a file. */
int cns_error_from_errno(int number);

/*
 * A sentence for a person: what was wrong, where, what to do. Never holds a
 * secret or a patient's value. Zero-initialise before use.
 */
struct cns_problem {
  char text[512];
};

/* Writes the sentence (truncated if too long) and returns `error`.
 * problem may be NULL. */
int cns_problem_set(struct cns_problem *problem, int error, const char *fmt, ...) CNS_PRINTF(3, 4);

/* Puts "context: " in front of the sentence already there. Returns `error`. */
int cns_problem_prefix(struct cns_problem *problem, int error, const char *fmt, ...) CNS_PRINTF(3, 4);

/* Calls sodium_init once; must be the first call of a program. */
CNS_MUST_CHECK int cns_init(void);

/* Lower-case hex; out has 2*len+1 chars. */
void cns_hex_encode(const uint8_t *bytes, size_t len, char *out);
/* Exactly len bytes from exactly 2*len hex digits, else CNS_ERR_FORMAT. */
CNS_MUST_CHECK int cns_hex_decode(const char *hex, size_t len, uint8_t *ret_bytes);

/* RFC 3629; no character may be cut off. */
bool cns_text_is_utf8(const char *text);

/*
 * For logs and screens: makes one line of readable UTF-8 of a text, whoever
 * wrote it. '?' takes the place of each byte that isn't UTF-8 (RFC 3629) and of
 * each character that steers a terminal or a reader instead of being read:
 * controls (C0, DEL, C1: some terminals obey U+009B in UTF-8), line and
 * paragraph separators, and marks that turn the direction of writing.
 */
void cns_text_clean(char *text);

/* No core file of this process from now on: it would hold secrets. CNS_ERR_LIBRARY. */
CNS_MUST_CHECK int cns_forbid_core_files(struct cns_problem *problem);

/* sodium_memzero under our name; also for stack copies of secrets. */
void cns_wipe(void *secret, size_t len);
