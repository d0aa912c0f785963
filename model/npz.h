/* SPDX-License-Identifier: Apache-2.0 */
/* Named arrays of a .npz file, which is a ZIP archive of .npy files
 * (numpy.savez, numpy.savez_compressed). */
#pragma once

#include "model/npy.h"
#include "model/zip.h"

#define CNS_NPZ_BYTES_MAX ((size_t)1 << 31)

struct cns_npz {
  uint8_t *bytes;
  char *path;
  struct cns_zip zip;
};

/* CNS_ERR_NOT_FOUND, CNS_ERR_IO and the errors of cns_zip_init. */
CNS_MUST_CHECK int cns_npz_open(const char *path, struct cns_npz *ret_npz, struct cns_problem *problem);
/* name without ".npy". Errors of cns_zip_extract and cns_npy_parse_array. */
CNS_MUST_CHECK int cns_npz_array(const struct cns_npz *npz, const char *name, struct cns_npy_array *ret_array,
                                 struct cns_problem *problem);
void cns_npz_deinit(struct cns_npz *npz); /* fine on a zeroed struct */
