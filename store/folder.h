/* SPDX-License-Identifier: Apache-2.0 */
/* Files and folders that must be there after a crash. */
#pragma once

#include "crypto/base.h"

/* CNS_ERR_* and sentence for an errno: DISK_FULL, PERMISSION, NOT_FOUND,
 * EXISTS, MEMORY, else IO. doing: "creating it". Never 0. */
int cns_folder_fail(int system_errno, const char *path, const char *doing, struct cns_problem *problem);
/* Makes the entries of the folder that holds `path` durable. */
CNS_MUST_CHECK int cns_folder_sync_parent(const char *path, struct cns_problem *problem);
/* fsync of `from`, rename, fsync of the folder. */
CNS_MUST_CHECK int cns_folder_rename(const char *from, const char *to, struct cns_problem *problem);
/* Takes the room for so many bytes of an open file now, so that no later write finds the disk
 * full. An errno, 0 for done; EOPNOTSUPP where the file system can't. */
CNS_MUST_CHECK int cns_folder_reserve(int fd, uint64_t bytes);
/* Creates one folder (0700) if it is not there. */
CNS_MUST_CHECK int cns_folder_create(const char *path, struct cns_problem *problem);
