/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/identity.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"

#define SEED_BYTES 32
#define FILE_WORD "consilium-identity-1 "
#define FILE_WORD_BYTES (sizeof FILE_WORD - 1)
#define FILE_BYTES (FILE_WORD_BYTES + 2 * SEED_BYTES + 1)
#define SIGNED_BYTES_MAX (CNS_HASH_CONTEXT_MAX + 1 + CNS_DIGEST_BYTES)

struct cns_identity {
  uint8_t seed[SEED_BYTES];
  uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
  struct cns_identity_public public;
};

int cns_identity_from_seed(const uint8_t seed[static 32], struct cns_identity **ret_identity) {
  struct cns_identity *identity = sodium_malloc(sizeof *identity);
  if (!identity) return CNS_ERR_MEMORY;
  memcpy(identity->seed, seed, SEED_BYTES);
  if (crypto_sign_seed_keypair(identity->public.bytes, identity->secret_key, seed) != 0 ||
      sodium_mprotect_readonly(identity) != 0) {
    sodium_free(identity);
    return CNS_ERR_LIBRARY;
  }
  *ret_identity = identity;
  return CNS_OK;
}

int cns_identity_new(struct cns_rng rng, struct cns_identity **ret_identity) {
  uint8_t seed[SEED_BYTES];
  int error = cns_rng_fill(rng, seed, sizeof seed);
  if (!error) error = cns_identity_from_seed(seed, ret_identity);
  cns_wipe(seed, sizeof seed);
  return error;
}

struct cns_identity *cns_identity_free(struct cns_identity *identity) {
  sodium_free(identity);
  return NULL;
}

const struct cns_identity_public *cns_identity_get_public(const struct cns_identity *identity) {
  return &identity->public;
}

void cns_identity_derive(const struct cns_identity *identity, const char *context,
                         uint8_t ret_key[static 32]) {
  struct cns_digest key;
  cns_hash_once(context, identity->seed, SEED_BYTES, &key);
  memcpy(ret_key, key.bytes, sizeof key.bytes);
  cns_wipe(&key, sizeof key);
}

/* context || 0x00 || digest: contexts hold no NUL, so no two pairs collide. */
static size_t signed_bytes(const char *context, const struct cns_digest *digest,
                           uint8_t out[static SIGNED_BYTES_MAX]) {
  assert(cns_hash_context_valid(context));
  const size_t len = strlen(context);
  memcpy(out, context, len + 1);
  memcpy(out + len + 1, digest->bytes, CNS_DIGEST_BYTES);
  return len + 1 + CNS_DIGEST_BYTES;
}

int cns_sign(const struct cns_identity *identity, const char *context, const struct cns_digest *digest,
             struct cns_signature *ret_signature) {
  uint8_t message[SIGNED_BYTES_MAX];
  struct cns_signature signature;
  const size_t len = signed_bytes(context, digest, message);
  if (crypto_sign_detached(signature.bytes, NULL, message, len, identity->secret_key) != 0)
    return CNS_ERR_LIBRARY;
  *ret_signature = signature;
  return CNS_OK;
}

int cns_verify(const struct cns_identity_public *who, const char *context, const struct cns_digest *digest,
               const struct cns_signature *signature) {
  uint8_t message[SIGNED_BYTES_MAX];
  const size_t len = signed_bytes(context, digest, message);
  if (crypto_sign_verify_detached(signature->bytes, message, len, who->bytes) != 0) return CNS_ERR_SIGNATURE;
  return CNS_OK;
}

bool cns_identity_public_equal(const struct cns_identity_public *a, const struct cns_identity_public *b) {
  return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static int write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    const ssize_t done = write(fd, data, len);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? errno : EIO;
    data += done;
    len -= (size_t)done;
  }
  return 0;
}

static int save_line(const char *line, size_t len, const char *path) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  int number = fchmod(fd, 0600) != 0 ? errno : 0;
  if (!number) number = write_all(fd, line, len);
  if (!number && fsync(fd) != 0) number = errno;
  if (close(fd) != 0 && !number) number = errno;
  if (!number) number = cns_file_sync_folder(path);
  if (number) unlink(path);
  return number;
}

int cns_identity_save(const struct cns_identity *identity, const char *path, struct cns_problem *problem) {
  char line[FILE_BYTES + 1];
  memcpy(line, FILE_WORD, FILE_WORD_BYTES);
  cns_hex_encode(identity->seed, SEED_BYTES, line + FILE_WORD_BYTES);
  line[FILE_BYTES - 1] = '\n';

  const int number = save_line(line, FILE_BYTES, path);
  cns_wipe(line, sizeof line);
  if (!number) return CNS_OK;
  if (number == EEXIST)
    return cns_problem_set(problem, CNS_ERR_EXISTS,
                           "%s exists already and an identity is never overwritten; move it away first",
                           path);
  return cns_problem_set(problem, cns_error_from_errno(number), "the key file %s can't be written: %s", path,
                         strerror(number));
}

/* Reads until the end or until the buffer is full. */
static int read_all(int fd, char *out, size_t size, size_t *ret_len) {
  size_t at = 0;
  while (at < size) {
    const ssize_t got = read(fd, out + at, size - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    at += (size_t)got;
  }
  *ret_len = at;
  return 0;
}

static int check_key_file(int fd, const char *path, struct cns_problem *problem) {
  struct stat status;
  if (fstat(fd, &status) != 0)
    return cns_problem_set(problem, cns_error_from_errno(errno), "the key file %s can't be read: %s", path,
                           strerror(errno));
  if (!S_ISREG(status.st_mode))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is not a file; give the path of the key file", path);
  if (status.st_mode & (S_IRWXG | S_IRWXO))
    return cns_problem_set(problem, CNS_ERR_PERMISSION,
                           "the key file %s is open to others on this machine (mode %03o); run: chmod 600 %s",
                           path, (unsigned)(status.st_mode & 0777), path);
  return CNS_OK;
}

static int parse_line(const char *line, size_t len, uint8_t seed[static SEED_BYTES]) {
  if (len != FILE_BYTES || memcmp(line, FILE_WORD, FILE_WORD_BYTES) != 0 || line[FILE_BYTES - 1] != '\n')
    return CNS_ERR_FORMAT;
  char hex[2 * SEED_BYTES + 1];
  memcpy(hex, line + FILE_WORD_BYTES, 2 * SEED_BYTES);
  hex[2 * SEED_BYTES] = '\0';
  const int error = cns_hex_decode(hex, SEED_BYTES, seed);
  cns_wipe(hex, sizeof hex);
  return error;
}

static int load_seed(int fd, const char *path, uint8_t seed[static SEED_BYTES], struct cns_problem *problem) {
  int error = check_key_file(fd, path, problem);
  if (error) return error;

  char line[FILE_BYTES + 1];
  size_t len = 0;
  const int number = read_all(fd, line, sizeof line, &len);
  if (number)
    error = cns_problem_set(problem, cns_error_from_errno(number), "the key file %s can't be read: %s", path,
                            strerror(number));
  else if (parse_line(line, len, seed) != CNS_OK)
    error = cns_problem_set(problem, CNS_ERR_FORMAT,
                            "%s is not an identity key file (one line, \"" FILE_WORD "\" and 64 hex digits); "
                            "restore it from a backup or ask for a new kit",
                            path);
  cns_wipe(line, sizeof line);
  return error;
}

int cns_identity_load(const char *path, struct cns_identity **ret_identity, struct cns_problem *problem) {
  /* O_NONBLOCK: a pipe under this name must not hang us. */
  const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return cns_problem_set(problem, cns_error_from_errno(errno), "the key file %s can't be opened: %s", path,
                           strerror(errno));
  uint8_t seed[SEED_BYTES];
  int error = load_seed(fd, path, seed, problem);
  close(fd);
  if (!error) {
    error = cns_identity_from_seed(seed, ret_identity);
    if (error) error = cns_problem_set(problem, error, "no locked memory for the key of %s", path);
  }
  cns_wipe(seed, sizeof seed);
  return error;
}
