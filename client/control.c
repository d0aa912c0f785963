/* SPDX-License-Identifier: Apache-2.0 */
#include "client/control.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/json.h"
#include "store/folder.h"

/* magic (8), study, round, digest of all that and of the numbers; the numbers. */
#define STUDY_AT 8
#define ROUND_AT (STUDY_AT + CNS_DIGEST_BYTES)
#define DIGEST_AT (ROUND_AT + CNS_DIGEST_BYTES)
#define HEADER_BYTES (DIGEST_AT + CNS_DIGEST_BYTES)
#define CURRENT "current"
#define PROPOSED ".proposed"
#define ROUND_DIGITS 20
#define ATTEMPT_DIGITS 10

static const uint8_t magic[8] = {'C', 'N', 'S', 'C', 'T', 'L', '0', '1'};

static int path_of(const struct cns_control *control, const char *name, char **ret_path,
                   struct cns_problem *problem) {
  if (asprintf(ret_path, "%s/control.%s", control->folder, name) >= 0) return 0;
  *ret_path = NULL;
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

static void digest_of(const uint8_t *bytes, size_t len, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 control variate");
  cns_hash_bytes(&hash, bytes, DIGEST_AT);
  cns_hash_blob(&hash, bytes + HEADER_BYTES, len - HEADER_BYTES);
  cns_hash_final(&hash, ret_digest);
}

static bool is_whole(const struct cns_control *control, const uint8_t *bytes, size_t len) {
  struct cns_digest digest;
  if (len != HEADER_BYTES + control->dim * sizeof(float) || memcmp(bytes, magic, sizeof magic) != 0)
    return false;
  digest_of(bytes, len, &digest);
  return memcmp(bytes + STUDY_AT, control->study.bytes, CNS_DIGEST_BYTES) == 0 &&
         memcmp(bytes + DIGEST_AT, digest.bytes, CNS_DIGEST_BYTES) == 0;
}

static void wipe_free(uint8_t *bytes, size_t len) {
  if (bytes) cns_wipe(bytes, len);
  free(bytes);
}

/* CNS_ERR_NOT_FOUND, CNS_ERR_FORMAT: none, or none that is whole and of this study. */
static int read_file(const struct cns_control *control, const char *name, uint8_t **ret_bytes,
                     size_t *ret_len, struct cns_problem *problem) {
  char *path;
  uint8_t *bytes = NULL;
  size_t len = 0;
  int r = path_of(control, name, &path, problem);
  if (r) return r;
  r = access(path, F_OK) == 0
          ? cns_file_read(path, HEADER_BYTES + control->dim * sizeof(float), &bytes, &len, problem)
          : CNS_ERR_NOT_FOUND;
  if (r == CNS_ERR_LIMIT) r = CNS_ERR_FORMAT;
  if (r == 0 && !is_whole(control, bytes, len)) r = CNS_ERR_FORMAT;
  free(path);
  if (r) {
    wipe_free(bytes, len);
    return r;
  }
  *ret_bytes = bytes;
  *ret_len = len;
  return 0;
}

int cns_control_read(const struct cns_control *control, float *ret_own, struct cns_problem *problem) {
  uint8_t *bytes;
  size_t len;
  memset(ret_own, 0, control->dim * sizeof *ret_own);
  int r = read_file(control, CURRENT, &bytes, &len, problem);
  if (r == CNS_ERR_NOT_FOUND || r == CNS_ERR_FORMAT) return CNS_CONTROL_LOST;
  if (r) return r;
  memcpy(ret_own, bytes + HEADER_BYTES, control->dim * sizeof *ret_own);
  wipe_free(bytes, len);
  return 0;
}

static int proposed_name(uint64_t number, uint32_t attempt, char **ret_name, struct cns_problem *problem) {
  if (asprintf(ret_name, "%0*" PRIu64 "-%0*" PRIu32 PROPOSED, ROUND_DIGITS, number, ATTEMPT_DIGITS,
               attempt) >= 0)
    return 0;
  *ret_name = NULL;
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

static void fill(const struct cns_control *control, const struct cns_control_round *round, const float *own,
                 uint8_t *bytes, size_t len) {
  struct cns_digest digest;
  memcpy(bytes, magic, sizeof magic);
  memcpy(bytes + STUDY_AT, control->study.bytes, CNS_DIGEST_BYTES);
  memcpy(bytes + ROUND_AT, round->digest.bytes, CNS_DIGEST_BYTES);
  memcpy(bytes + HEADER_BYTES, own, control->dim * sizeof *own);
  digest_of(bytes, len, &digest);
  memcpy(bytes + DIGEST_AT, digest.bytes, CNS_DIGEST_BYTES);
}

int cns_control_propose(const struct cns_control *control, const struct cns_control_round *round,
                        const float *own, struct cns_problem *problem) {
  size_t len = HEADER_BYTES + control->dim * sizeof *own;
  uint8_t *bytes = malloc(len);
  char *name = NULL, *path = NULL;
  int r = bytes ? proposed_name(round->number, round->attempt, &name, problem)
                : cns_problem_set(problem, CNS_ERR_MEMORY, "not enough memory for the control variate");
  if (r == 0) r = path_of(control, name, &path, problem);
  if (r == 0) {
    fill(control, round, own, bytes, len);
    r = cns_file_write(path, bytes, len, 0600, problem);
  }
  wipe_free(bytes, len);
  free(name);
  free(path);
  return r;
}

static bool is_included(const struct cns_manifest *manifest, uint16_t index) {
  for (size_t k = 0; k < manifest->member_count; k++)
    if (manifest->members[k].index == index) return manifest->outcomes[k] == CNS_INCLUDED;
  return false;
}

/* The proposal of the manifest's round and attempt becomes the present one. Damage, or another
 * study's: then there is none. */
static int accept(const struct cns_control *control, const struct cns_manifest *manifest,
                  struct cns_problem *problem) {
  uint8_t *bytes = NULL;
  size_t len = 0;
  char *name = NULL, *from = NULL, *to = NULL;
  int r = proposed_name(manifest->round, manifest->attempt, &name, problem);
  if (r == 0) r = path_of(control, name, &from, problem);
  if (r == 0) r = path_of(control, CURRENT, &to, problem);
  if (r == 0) r = read_file(control, name, &bytes, &len, problem);
  if (r == 0 && memcmp(bytes + ROUND_AT, manifest->descriptor.bytes, CNS_DIGEST_BYTES) == 0)
    r = cns_folder_rename(from, to, problem);
  wipe_free(bytes, len);
  free(name);
  free(from);
  free(to);
  return r == CNS_ERR_NOT_FOUND || r == CNS_ERR_FORMAT ? 0 : r;
}

/* Of a proposal's file name, also of a half made one. */
static bool parse_name(const char *name, uint64_t *ret_round) {
  static const char prefix[] = "control.";
  if (strncmp(name, prefix, strlen(prefix)) != 0) return false;
  name += strlen(prefix);
  if (strspn(name, "0123456789") != ROUND_DIGITS || name[ROUND_DIGITS] != '-' || !strstr(name, PROPOSED))
    return false;
  errno = 0;
  *ret_round = strtoull(name, NULL, 10);
  return errno == 0;
}

/* Proposals up to a round; 1 if there was one before it. */
static int sweep(const struct cns_control *control, uint64_t until, struct cns_problem *problem) {
  DIR *stream = opendir(control->folder);
  struct dirent *entry;
  uint64_t round;
  int r = 0, earlier = 0;
  if (!stream) return cns_folder_fail(errno, control->folder, "listing it", problem);
  while (r == 0 && (entry = readdir(stream))) {
    if (!parse_name(entry->d_name, &round) || round > until) continue;
    if (round < until) earlier = 1;
    if (unlinkat(dirfd(stream), entry->d_name, 0) != 0)
      r = cns_folder_fail(errno, control->folder, "deleting an old control variate", problem);
  }
  closedir(stream);
  return r ? r : earlier;
}

int cns_control_settle(const struct cns_control *control, const struct cns_manifest *manifest, uint16_t index,
                       struct cns_problem *problem) {
  int r = is_included(manifest, index) ? accept(control, manifest, problem) : 0;
  if (r == 0) r = sweep(control, manifest->round, problem);
  return r > 0 ? CNS_CONTROL_DROPPED : r;
}
