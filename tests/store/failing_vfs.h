/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite's file system with a step at which something happens. Each write, sync,
 * truncation and removal is a step. The methods of the files are those of
 * SQLite's own "unix", but for the ones that count.
 */
#pragma once

#include <signal.h>
#include <sqlite3.h>

#include "scratch.h"

enum failing_how {
  FAILING_KILL, /* the process dies before the step */
  FAILING_TORN, /* the same, after half of what was to be written */
  FAILING_LOSE, /* the machine dies: of what wasn't synced some is lost */
  FAILING_FULL, /* the disk is full from this step on */
  FAILING_ONCE, /* this step alone fails, as a worn disk's might */
};

static enum failing_how failing_how;
static unsigned failing_at, failing_step, failing_seed; /* failing_at 0: never */
static sqlite3_vfs *failing_real, failing_vfs;
/* "unix" has two sets: of the file that is locked, and of those that belong to it. */
#define FAILING_SETS 4
static const sqlite3_io_methods *failing_originals[FAILING_SETS];
static sqlite3_io_methods failing_sets[FAILING_SETS];

static inline const sqlite3_io_methods *failing_original(const sqlite3_file *file) {
  return failing_originals[file->pMethods - failing_sets];
}

/* What a file held before what was not synced was written over it. */
struct failing_undo {
  sqlite3_file *file;
  sqlite3_int64 offset, size;
  int len;
  uint8_t bytes[8192];
};
#define FAILING_UNDOS 4096
static struct failing_undo *failing_undos;
static size_t failing_undo_count;

static inline void failing_remember(sqlite3_file *file, int len, sqlite3_int64 offset) {
  if (failing_how != FAILING_LOSE || failing_at == 0) return;
  if (!failing_undos) failing_undos = calloc(FAILING_UNDOS, sizeof(*failing_undos));
  if (!failing_undos || failing_undo_count == FAILING_UNDOS || len > 8192) _exit(3);
  struct failing_undo *undo = &failing_undos[failing_undo_count++];
  *undo = (struct failing_undo){.file = file, .offset = offset, .len = len};
  failing_original(file)->xFileSize(file, &undo->size);
  /* Short at the end of the file: SQLite fills with zeros. */
  if (len > 0) (void)failing_original(file)->xRead(file, undo->bytes, len, offset);
}

static inline void failing_forget(const sqlite3_file *file) {
  size_t kept = 0;
  for (size_t k = 0; k < failing_undo_count; k++)
    if (failing_undos[k].file != file) failing_undos[kept++] = failing_undos[k];
  failing_undo_count = kept;
}

static inline void failing_lose(void) {
  for (size_t k = failing_undo_count; k > 0; k--) {
    struct failing_undo *undo = &failing_undos[k - 1];
    if (rand_r(&failing_seed) % 3 == 0) continue;
    if (undo->len > 0)
      (void)failing_original(undo->file)->xWrite(undo->file, undo->bytes, undo->len, undo->offset);
    (void)failing_original(undo->file)->xTruncate(undo->file, undo->size);
  }
}

/* True if this step fails. */
static inline bool failing_now(void) {
  failing_step++;
  if (failing_at == 0 || failing_step < failing_at) return false;
  if (failing_how == FAILING_FULL) return true;
  if (failing_step > failing_at) return false;
  if (failing_how == FAILING_ONCE) return true;
  if (failing_how == FAILING_LOSE) failing_lose();
  if (failing_how != FAILING_TORN) raise(SIGKILL);
  return true;
}

static inline int failing_result(int otherwise) {
  return failing_how == FAILING_FULL ? SQLITE_FULL : otherwise;
}

static inline int failing_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset) {
  if (failing_now()) {
    if (failing_how == FAILING_TORN) {
      (void)failing_original(file)->xWrite(file, data, len / 2, offset);
      raise(SIGKILL);
    }
    return failing_result(SQLITE_IOERR_WRITE);
  }
  failing_remember(file, len, offset);
  return failing_original(file)->xWrite(file, data, len, offset);
}

static inline int failing_sync(sqlite3_file *file, int flags) {
  if (failing_now()) {
    if (failing_how == FAILING_TORN) raise(SIGKILL);
    return failing_result(SQLITE_IOERR_FSYNC);
  }
  failing_forget(file);
  return failing_original(file)->xSync(file, flags);
}

static inline int failing_truncate(sqlite3_file *file, sqlite3_int64 size) {
  if (failing_now()) {
    if (failing_how == FAILING_TORN) raise(SIGKILL);
    return failing_result(SQLITE_IOERR_TRUNCATE);
  }
  failing_remember(file, 0, 0);
  return failing_original(file)->xTruncate(file, size);
}

static inline int failing_close(sqlite3_file *file) {
  failing_forget(file);
  return failing_original(file)->xClose(file);
}

static inline int failing_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
                               int *ret_flags) {
  int result = failing_real->xOpen(failing_real, name, file, flags, ret_flags);
  if (result != SQLITE_OK || !file->pMethods) return result;
  for (size_t k = 0; k < FAILING_SETS; k++) {
    if (failing_originals[k] && failing_originals[k] != file->pMethods) continue;
    if (!failing_originals[k]) {
      failing_originals[k] = file->pMethods;
      failing_sets[k] = *file->pMethods;
      failing_sets[k].xWrite = failing_write;
      failing_sets[k].xSync = failing_sync;
      failing_sets[k].xTruncate = failing_truncate;
      failing_sets[k].xClose = failing_close;
    }
    file->pMethods = &failing_sets[k];
    return result;
  }
  return result;
}

static inline int failing_delete(sqlite3_vfs *vfs, const char *name, int sync_folder) {
  if (failing_now()) {
    if (failing_how == FAILING_TORN) raise(SIGKILL);
    return SQLITE_IOERR_DELETE;
  }
  return failing_real->xDelete(failing_real, name, sync_folder);
}

/* From now on in this process. step 0: only counts. */
static inline void failing_begin(enum failing_how how, unsigned step, unsigned seed) {
  failing_how = how;
  failing_at = step;
  failing_seed = seed;
  failing_step = 0;
  if (failing_real) return;
  failing_real = sqlite3_vfs_find(NULL);
  failing_vfs = *failing_real;
  failing_vfs.zName = "failing";
  failing_vfs.pNext = NULL;
  failing_vfs.xOpen = failing_open;
  failing_vfs.xDelete = failing_delete;
  assert_int_equal(sqlite3_vfs_register(&failing_vfs, 1), SQLITE_OK);
}

static inline void failing_end(void) {
  failing_at = 0;
}
