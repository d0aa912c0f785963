/* SPDX-License-Identifier: Apache-2.0 */
/* Exact integer square roots, for bounds that must not be rounded down. */
#pragma once

#include <stdint.h>

__extension__ typedef unsigned __int128 cns_root_wide;

/* ceil(sqrt(value)), value < 2^120. */
static inline uint64_t cns_root_ceil(cns_root_wide value) {
  cns_root_wide root = 0;
  for (int bit = 60; bit >= 0; bit--) {
    cns_root_wide candidate = root | (cns_root_wide)1 << bit;
    if (candidate * candidate <= value) root = candidate;
  }
  return (uint64_t)(root * root < value ? root + 1 : root);
}
