/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to model/safetensors*.c. */
#pragma once

#include "crypto/json.h"
#include "model/safetensors.h"

struct cns_safetensors {
  struct cns_safetensors_tensor *tensors;
  size_t count;
  cJSON *header;
  const cJSON *metadata; /* in header */
  void *mapping;         /* NULL: none */
  size_t mapping_len;
  bool floats_only; /* tensors of whole numbers are passed over */
  size_t passed_over;
  int fd;     /* -1, but for a file that isn't mapped */
  char *path; /* of that file */
};

/* Judges a header against the length of its file and fills tensors, count, header and
 * metadata; on failure too what is there is to be freed. header: header_len bytes. */
CNS_MUST_CHECK int cns_safetensors_read_header(struct cns_safetensors *file, const char *header,
                                               size_t header_len, uint64_t file_len,
                                               struct cns_problem *problem);
