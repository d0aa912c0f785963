/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deals one table out to simulated hospitals, unevenly in size and case mix,
 * with a test set held out: for demo, benchmarks and tests.
 */
#pragma once

#include "crypto/base.h"

#define CNS_SPLIT_TEST 0 /* part number of the test set; hospitals are 1..n */

struct cns_split_options {
  uint64_t seed;
  size_t hospitals;  /* 1..CNS_HOSPITALS_MAX */
  double test_share; /* of each class's patients, 0 <= share < 1 */
  /* Largest hospital to smallest, >= 1; sizes fall geometrically. 5.6 with five
   * hospitals gives about 40, 26, 17, 11 and 7 percent. */
  double size_ratio;
  /* Odds of the last class in the even hospitals against the odd ones, >= 1;
   * 1 = the same case mix everywhere. */
  double mix_ratio;
};

/* groups[row] (0..group_count-1) are patients, whose rows stay together (NULL:
 * each row is one); a patient counts with the label of its first row. Every
 * hospital gets at least one patient, else CNS_ERR_RANGE. */
CNS_MUST_CHECK int cns_split_uneven(const uint16_t *label, const uint32_t *groups, size_t rows,
                                    size_t classes, const struct cns_split_options *options,
                                    uint16_t *ret_part);

/*
 * Label skew as in the literature on federated learning: the class mix of each
 * hospital is drawn from a symmetric Dirichlet(alpha) (Hsu, Qi, Brown 2019,
 * section 2, with the parameter counted per class), then fitted to the hospitals'
 * sizes and the class totals: alpha 0.3 gives many hospitals with one class
 * only, a large alpha the same mix everywhere.
 */
struct cns_split_dirichlet_options {
  uint64_t seed;
  size_t hospitals;
  double test_share; /* as above */
  double size_ratio; /* as above; 1 = all of one size */
  double alpha;      /* 1e-3..1e9 */
};
/* As cns_split_uneven. */
CNS_MUST_CHECK int cns_split_dirichlet(const uint16_t *label, const uint32_t *groups, size_t rows,
                                       size_t classes, const struct cns_split_dirichlet_options *options,
                                       uint16_t *ret_part);

/* CSV text of one part: the header record and the data records with
 * part[record] == which, byte for byte; malloc'd. record_count is checked. */
CNS_MUST_CHECK int cns_split_csv(const char *text, size_t len, const uint16_t *part, size_t record_count,
                                 uint16_t which, char **ret_text, size_t *ret_len,
                                 struct cns_problem *problem);
