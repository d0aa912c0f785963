/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways of dealing patients out share: model/split.c. */
#pragma once

#include "model/split.h"

struct cns_split_dealing;

struct cns_split_wish {
  uint64_t seed;
  const char *label; /* of the stream that shuffles the patients */
  size_t hospitals;
  double test_share;
  double size_ratio;
  int (*mix)(struct cns_split_dealing *dealing); /* fills `wanted` with each hospital's mix of classes */
  const void *options;                           /* its own */
};

/* Patients, their labels, and how many of each class each part is to get. */
struct cns_split_dealing {
  const struct cns_split_wish *wish;
  size_t hospitals;
  size_t classes;
  size_t patients;
  uint16_t *label_of; /* by patient */
  uint16_t *part_of;  /* by patient */
  uint32_t *order;
  double *shares;    /* hospitals */
  double *wanted;    /* hospitals x classes */
  size_t *quota;     /* hospitals x classes, whole */
  size_t *per_class; /* patients left for hospitals */
};

CNS_MUST_CHECK int cns_split_deal(const uint16_t *label, const uint32_t *groups, size_t rows, size_t classes,
                                  const struct cns_split_wish *wish, uint16_t *ret_part);
