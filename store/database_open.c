/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and creating: everything that can be wrong with a file before its
 * first row is read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crypto/seal.h"
#include "store/database.h"
#include "store/folder.h"

#define LOCK_PAUSE_MS 10

static const char key_check_text[] = "this key opens this file";

static int lock_take(struct cns_database *database, struct cns_problem *problem) {
  char *lock_path = NULL;
  if (asprintf(&lock_path, "%s.lock", database->path) < 0) return CNS_ERR_MEMORY;
  int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    int error = cns_folder_fail(errno, lock_path, "creating the lock", problem);
    free(lock_path);
    return error;
  }
  free(lock_path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = "";
    ssize_t got = pread(fd, holder, sizeof(holder) - 1, 0);
    long pid = got > 0 ? strtol(holder, NULL, 10) : 0;
    close(fd);
    return cns_problem_set(problem, CNS_ERR_STATE,
                           "%s: another %s (process %ld) is using this %s; two can't share one state folder: "
                           "stop the other one first",
                           database->path, database->kind->holder, pid, database->kind->noun);
  }
  /* The number only makes that sentence better: a full disk may swallow it. */
  char text[32];
  int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) errno = 0;
  database->lock_fd = fd;
  return 0;
}

static void lock_release(struct cns_database *database) {
  if (database->lock_fd >= 0) close(database->lock_fd);
  database->lock_fd = -1;
}

/* Several processes open a shared file, one after the other, so that one makes
 * it and the others find it whole. */
static int lock_wait(struct cns_database *database, struct cns_problem *problem) {
  const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
  int error = CNS_ERR_STATE;
  for (int waited_ms = 0; error == CNS_ERR_STATE; waited_ms += LOCK_PAUSE_MS) {
    error = lock_take(database, problem);
    if (waited_ms >= CNS_DATABASE_BUSY_TIMEOUT_MS) break;
    if (error == CNS_ERR_STATE) (void)nanosleep(&pause, NULL);
  }
  if (error != CNS_ERR_STATE) return error;
  return cns_problem_set(
      problem, error, "%s: another %s has been opening this %s for %d seconds; if it hangs, end it",
      database->path, database->kind->holder, database->kind->noun, CNS_DATABASE_BUSY_TIMEOUT_MS / 1000);
}

/* Nobody has it open who writes: then there would be a log of what was written ahead. */
static bool is_at_rest(const char *path) {
  char *log = NULL;
  if (asprintf(&log, "%s-wal", path) < 0) return false;
  bool there = access(log, F_OK) == 0;
  free(log);
  return !there;
}

/* "file:<path>?immutable=1": SQLite then makes no files beside it, which stay behind when a
 * reader was the last; so reading changes nothing, and works where nothing can be written. */
static char *uri_of(const char *path) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
  char *uri = malloc(3 * strlen(path) + 32), *out = uri;
  if (!uri) return NULL;
  out += sprintf(out, "file:%s", path[0] == '/' ? "" : "./");
  for (; *path; path++)
    out += strchr(plain, *path) ? sprintf(out, "%c", *path) : sprintf(out, "%%%02X", (unsigned char)*path);
  strcpy(out, "?immutable=1");
  return uri;
}

static int connect_to(struct cns_database *database, const char *path, struct cns_problem *problem) {
  int flags = database->readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  char *uri = database->readonly && is_at_rest(path) ? uri_of(path) : NULL;
  if (uri) flags |= SQLITE_OPEN_URI;
  int result = sqlite3_open_v2(uri ? uri : path, &database->sqlite, flags | SQLITE_OPEN_NOMUTEX, NULL);
  free(uri);
  if (result != SQLITE_OK) return cns_database_fail(database, result, "opening it", problem);
  (void)sqlite3_extended_result_codes(database->sqlite, 1);
  (void)sqlite3_busy_timeout(database->sqlite, CNS_DATABASE_BUSY_TIMEOUT_MS);
  /* A file is data, never a program: no SQL in it may reach further. */
  (void)sqlite3_db_config(database->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  (void)sqlite3_db_config(database->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  int error =
      cns_database_exec(database, "PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON", "opening it", problem);
  if (error || database->readonly) return error;
  return cns_database_exec(database,
                           "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
                           "PRAGMA journal_size_limit=16777216",
                           "opening it", problem);
}

static void key_check_bound(const struct cns_database *database, struct cns_digest *ret_bound) {
  cns_hash_once(database->kind->context, key_check_text, sizeof(key_check_text), ret_bound);
}

static int write_key_check(struct cns_database *database, struct cns_problem *problem) {
  struct cns_digest bound;
  key_check_bound(database, &bound);
  uint8_t *sealed = NULL;
  size_t len = 0;
  int error = cns_database_seal(database, &bound, (const uint8_t *)key_check_text, sizeof(key_check_text),
                                &sealed, &len);
  sqlite3_stmt *stmt = NULL;
  if (!error)
    error = cns_database_prepare(database, "INSERT INTO key_check(sealed) VALUES(?)", &stmt, problem);
  if (!error) error = cns_bind_blob(stmt, 1, sealed, len);
  if (!error) error = cns_database_run(database, stmt, "creating it", problem);
  sqlite3_finalize(stmt);
  free(sealed);
  return error;
}

static int write_schema(struct cns_database *database, struct cns_problem *problem) {
  char numbers[128];
  (void)snprintf(numbers, sizeof(numbers), "PRAGMA application_id=%u; PRAGMA user_version=%d",
                 (unsigned)database->kind->application_id, database->kind->version);
  int error = cns_database_begin(database, problem);
  if (!error) error = cns_database_exec(database, numbers, "creating it", problem);
  if (!error)
    error =
        cns_database_exec(database, "CREATE TABLE key_check(sealed BLOB NOT NULL)", "creating it", problem);
  if (!error) error = cns_database_exec(database, database->kind->schema, "creating it", problem);
  if (!error) error = write_key_check(database, problem);
  if (!error) error = cns_database_commit(database, problem);
  if (error) cns_database_rollback(database);
  return error;
}

static int remove_leftovers(const char *path, struct cns_problem *problem) {
  static const char *const suffixes[] = {"", "-wal", "-shm"};
  for (size_t k = 0; k < sizeof(suffixes) / sizeof(suffixes[0]); k++) {
    char *name = NULL;
    if (asprintf(&name, "%s%s", path, suffixes[k]) < 0) return CNS_ERR_MEMORY;
    int failed = unlink(name) != 0 && errno != ENOENT ? errno : 0;
    int error = failed ? cns_folder_fail(failed, name, "removing a leftover", problem) : 0;
    free(name);
    if (error) return error;
  }
  return 0;
}

/* Everything into the one file that is moved: closing would do that too, but
 * says nothing when it can't. */
static int move_log_into_file(struct cns_database *database, struct cns_problem *problem) {
  errno = 0;
  int result = sqlite3_wal_checkpoint_v2(database->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  return result == SQLITE_OK ? 0 : cns_database_fail(database, result, "creating it", problem);
}

static int check_no_log(const char *path, struct cns_problem *problem) {
  char *log = NULL;
  if (asprintf(&log, "%s-wal", path) < 0) return CNS_ERR_MEMORY;
  int found = access(log, F_OK) == 0 ? EEXIST : errno == ENOENT ? 0 : errno;
  int error = found ? cns_folder_fail(found, log, "creating the file that it belongs to", problem) : 0;
  free(log);
  return error;
}

/* A new database is made beside and moved into place when it is complete, so
 * that an empty file by its name is damage and never mistaken for a new one. */
static int create_beside(struct cns_database *database, const char *beside, struct cns_problem *problem) {
  int error = remove_leftovers(beside, problem);
  if (error) return error;
  int fd = open(beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return cns_folder_fail(errno, beside, "creating it", problem);
  close(fd);
  error = connect_to(database, beside, problem);
  if (!error) error = write_schema(database, problem);
  if (!error) error = move_log_into_file(database, problem);
  if (sqlite3_close(database->sqlite) != SQLITE_OK && !error) error = CNS_ERR_LIBRARY;
  database->sqlite = NULL;
  if (!error) error = check_no_log(beside, problem);
  if (!error) error = cns_folder_rename(beside, database->path, problem);
  /* Best effort: the next creation removes what is left. */
  if (error && remove_leftovers(beside, NULL) != 0) return error;
  return error;
}

static int create(struct cns_database *database, struct cns_problem *problem) {
  char *beside = NULL;
  if (asprintf(&beside, "%s.new", database->path) < 0) return CNS_ERR_MEMORY;
  int error = create_beside(database, beside, problem);
  free(beside);
  return error;
}

static int read_number(struct cns_database *database, const char *sql, int64_t *ret_value,
                       struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(database, sql, &stmt, problem);
  if (error) return error;
  int step = sqlite3_step(stmt);
  if (step == SQLITE_ROW)
    *ret_value = sqlite3_column_int64(stmt, 0);
  else
    error = cns_database_fail(database, step == SQLITE_DONE ? SQLITE_CORRUPT : step, "opening it", problem);
  sqlite3_finalize(stmt);
  return error;
}

static int check_version(struct cns_database *database, struct cns_problem *problem) {
  int64_t id = 0, version = 0;
  int error = read_number(database, "PRAGMA application_id", &id, problem);
  if (!error) error = read_number(database, "PRAGMA user_version", &version, problem);
  if (error) return error;
  if ((uint32_t)id != database->kind->application_id)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: this file is not a %s, or it is empty; restore it from a copy",
                           database->path, database->kind->noun);
  bool known = version == database->kind->version ||
               (database->kind->upgrades && version >= 1 && version < database->kind->version);
  if (!known)
    return cns_problem_set(
        problem, CNS_ERR_VERSION,
        "%s: this %s has format %lld and this program reads format %d; use the program that "
        "wrote it",
        database->path, database->kind->noun, (long long)version, database->kind->version);
  database->version = (int)version;
  return 0;
}

/* Version by version, as one transaction. */
static int upgrade(struct cns_database *database, struct cns_problem *problem) {
  static const char doing[] = "bringing it up to this program's format";
  char number[64];
  if (database->version == database->kind->version) return 0;
  int error = cns_database_begin(database, problem);
  for (int version = database->version; version < database->kind->version && !error; version++)
    error = cns_database_exec(database, database->kind->upgrades[version - 1], doing, problem);
  (void)snprintf(number, sizeof(number), "PRAGMA user_version=%d", database->kind->version);
  if (!error) error = cns_database_exec(database, number, doing, problem);
  if (!error) error = cns_database_commit(database, problem);
  if (error)
    cns_database_rollback(database);
  else
    database->version = database->kind->version;
  return error;
}

static int check_key(struct cns_database *database, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(database, "SELECT sealed FROM key_check", &stmt, problem);
  if (error) return error;
  struct cns_digest bound;
  key_check_bound(database, &bound);
  uint8_t *plain = NULL;
  size_t len = 0;
  int step = sqlite3_step(stmt);
  if (step != SQLITE_ROW)
    error =
        cns_database_fail(database, step == SQLITE_DONE ? SQLITE_CORRUPT : step, "reading its key", problem);
  else
    error = cns_database_unseal(database, &bound, sqlite3_column_blob(stmt, 0),
                                (size_t)sqlite3_column_bytes(stmt, 0), &plain, &len);
  sqlite3_finalize(stmt);
  cns_wipe_free(plain, len);
  if (error != CNS_ERR_PROOF) return error;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "%s: this %s was written under another key; use the kit that it belongs to",
                         database->path, database->kind->noun);
}

/* Walks every page and compares indexes with tables. What the values are is
 * not SQLite's business: seals and chains find that. */
static int check_pages(struct cns_database *database, struct cns_problem *problem) {
  sqlite3_stmt *stmt = NULL;
  int error = cns_database_prepare(database, "PRAGMA integrity_check(1)", &stmt, problem);
  if (error) return error;
  int step = sqlite3_step(stmt);
  const char *text = step == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
  if (step != SQLITE_ROW)
    error = cns_database_fail(database, step == SQLITE_DONE ? SQLITE_CORRUPT : step, "checking it", problem);
  else if (!text || strcmp(text, "ok") != 0)
    error = cns_database_fail(database, SQLITE_CORRUPT, "checking it", problem);
  sqlite3_finalize(stmt);
  return error;
}

static int open_existing(struct cns_database *database, struct cns_problem *problem) {
  int error = connect_to(database, database->path, problem);
  if (!error) error = check_version(database, problem);
  if (!error) error = check_key(database, problem);
  if (!error && (!database->readonly || database->kind->shared)) error = check_pages(database, problem);
  if (error || database->readonly) return error;
  error = upgrade(database, problem);
  if (error) return error;
  /* What an earlier process erased may still be in a log that it couldn't empty. */
  cns_database_request_checkpoint(database);
  return cns_database_commit(database, problem);
}

static int derive_key(struct cns_database *database, const uint8_t *key) {
  database->key = sodium_malloc(CNS_SEAL_KEY_BYTES);
  if (!database->key) return CNS_ERR_MEMORY;
  struct cns_hash hash;
  struct cns_digest derived;
  cns_hash_init(&hash, database->kind->context);
  cns_hash_bytes(&hash, key, CNS_DATABASE_KEY_BYTES);
  cns_hash_final(&hash, &derived);
  memcpy(database->key, derived.bytes, CNS_SEAL_KEY_BYTES);
  cns_wipe(&derived, sizeof(derived));
  return 0;
}

static int open_or_create(struct cns_database *database, struct cns_problem *problem) {
  if (!database->readonly) {
    int error = database->kind->shared ? lock_wait(database, problem) : lock_take(database, problem);
    if (error) return error;
  }
  struct stat status;
  if (stat(database->path, &status) != 0) {
    if (errno != ENOENT) return cns_folder_fail(errno, database->path, "opening it", problem);
    if (database->readonly)
      return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: there is no %s here", database->path,
                             database->kind->noun);
    int error = create(database, problem);
    if (error) return error;
  } else if (!S_ISREG(status.st_mode) || status.st_size == 0) {
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: this file is not a %s, or it is empty; restore it from a copy",
                           database->path, database->kind->noun);
  }
  return open_existing(database, problem);
}

int cns_database_open(const struct cns_database_kind *kind, const char *path,
                      const uint8_t key[static CNS_DATABASE_KEY_BYTES], bool readonly,
                      struct cns_database *ret_database, struct cns_problem *problem) {
  struct cns_database database = {.kind = kind, .lock_fd = -1, .readonly = readonly};
  database.path = strdup(path);
  if (!database.path) return CNS_ERR_MEMORY;
  int error = derive_key(&database, key);
  if (!error) error = open_or_create(&database, problem);
  if (error) {
    cns_database_deinit(&database);
    return error;
  }
  if (kind->shared) lock_release(&database);
  *ret_database = database;
  return 0;
}

void cns_database_deinit(struct cns_database *database) {
  if (database->sqlite) {
    cns_database_rollback(database);
    (void)sqlite3_close_v2(database->sqlite);
  }
  /* lock_fd of a zeroed struct is standard input: told apart by the kind. */
  if (database->kind) lock_release(database);
  sodium_free(database->key);
  free(database->path);
  memset(database, 0, sizeof(*database));
}
