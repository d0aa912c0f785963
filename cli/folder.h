/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that verbs make, whole or not at all. */
#pragma once

#include <signal.h>

#include "crypto/hash.h"

/* A folder that this verb fills. */
struct cns_folder_claim {
  char *path;
  bool created; /* false: it was there, empty */
};

/* The folder must not exist, or be empty (CNS_ERR_EXISTS); mode 0700. */
CNS_MUST_CHECK int cns_claim_folder(const char *path, struct cns_folder_claim *ret_claim,
                                    struct cns_problem *problem);
/* With failed: removes what is in it, and the folder itself if it was created. */
void cns_claim_end(struct cns_folder_claim *claim, bool failed);

/* Between these, Ctrl-C and a shutdown wait: half a federation is of no use to anybody. */
struct cns_held_signals {
  struct sigaction before[3];
};
void cns_hold_signals(struct cns_held_signals *ret_held);
/* What came meanwhile is delivered now. */
void cns_release_signals(const struct cns_held_signals *held);

/* One new folder, 0700, in `folder`; its path is malloc'd. */
CNS_MUST_CHECK int cns_subfolder_create(const char *folder, const char *name, char **ret_path,
                                        struct cns_problem *problem);
/* Copies a file of any size (new file, 0644) and gives its unkeyed BLAKE2b-256.
 * to NULL: the digest alone. */
CNS_MUST_CHECK int cns_copy_file(const char *from, const char *to,
                                 uint8_t ret_digest[static CNS_DIGEST_BYTES], struct cns_problem *problem);
