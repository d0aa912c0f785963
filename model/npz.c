/* SPDX-License-Identifier: Apache-2.0 */
#include "model/npz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"

int cns_npz_open(const char *path, struct cns_npz *ret_npz, struct cns_problem *problem) {
  struct cns_npz npz = {.path = strdup(path)};
  size_t len = 0;
  if (!npz.path) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", path);
  int r = cns_file_read(path, CNS_NPZ_BYTES_MAX, &npz.bytes, &len, problem);
  if (r == 0) r = cns_zip_init(&npz.zip, npz.bytes, len, npz.path, problem);
  if (r < 0) {
    cns_npz_deinit(&npz);
    return r;
  }
  *ret_npz = npz;
  return 0;
}

int cns_npz_array(const struct cns_npz *npz, const char *name, struct cns_npy_array *ret_array,
                  struct cns_problem *problem) {
  char member[CNS_ZIP_NAME_MAX + 1], where[1024];
  uint8_t *bytes = NULL;
  size_t len = 0;
  if (snprintf(member, sizeof member, "%s.npy", name) >= (int)sizeof member)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: no array has a name that long", npz->path);
  int r = cns_zip_extract(&npz->zip, member, &bytes, &len, problem);
  if (r < 0) return r;
  snprintf(where, sizeof where, "%s, array '%s'", npz->path, name);
  r = cns_npy_parse_array(bytes, len, where, ret_array, problem);
  free(bytes);
  return r;
}

void cns_npz_deinit(struct cns_npz *npz) {
  free(npz->bytes);
  free(npz->path);
  *npz = (struct cns_npz){0};
}
