/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/names.h"

#include <ctype.h>
#include <string.h>

static int folded(char c) {
  return c == '_' || c == ' ' ? '-' : tolower((unsigned char)c);
}

/* Letters to change, add, take away or swap with the next (optimal string
 * alignment); or one more than that to the nearest beginning of `full`, for a
 * name that was cut off. */
static size_t distance(const char *name, const char *full) {
  size_t rows[3][CNS_NAMES_CHARS_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
  size_t len = strlen(full);
  for (size_t j = 0; j <= len; j++)
    row[j] = j;
  for (size_t i = 1; name[i - 1]; i++) {
    size_t *oldest = before;
    before = last;
    last = row;
    row = oldest;
    row[0] = i;
    for (size_t j = 1; j <= len; j++) {
      row[j] = last[j - 1] + (folded(name[i - 1]) != folded(full[j - 1]));
      if (last[j] + 1 < row[j]) row[j] = last[j] + 1;
      if (row[j - 1] + 1 < row[j]) row[j] = row[j - 1] + 1;
      bool swapped = i > 1 && j > 1 && folded(name[i - 1]) == folded(full[j - 2]) &&
                     folded(name[i - 2]) == folded(full[j - 1]);
      if (swapped && before[j - 2] + 1 < row[j]) row[j] = before[j - 2] + 1;
    }
  }
  size_t least = row[len];
  for (size_t j = 1; j < len; j++)
    if (row[j] + 1 < least) least = row[j] + 1;
  return least;
}

const char *cns_names_nearest(const char *name, const char *const *names, size_t count) {
  size_t len = strlen(name), least = 1 + (len < 3 ? 1 : len < 9 ? 2 : len / 3);
  const char *nearest = NULL;
  if (len < 2 || len > CNS_NAMES_CHARS_MAX) return NULL;
  for (size_t i = 0; i < count; i++) {
    size_t gap = strlen(names[i]) > CNS_NAMES_CHARS_MAX ? SIZE_MAX : distance(name, names[i]);
    if (gap >= least) continue;
    least = gap;
    nearest = names[i];
  }
  return nearest;
}
