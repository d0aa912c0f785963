/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/names.h"

#include <ctype.h>
#include <string.h>

static int folded(char c) {
  return c == '_' || c == ' ' ? '-' : tolower((unsigned char)c);
}

/* Levenshtein's distance; or one more than that to the nearest beginning of
 * `full`, for a name that was cut off. */
static size_t distance(const char *name, const char *full) {
  size_t row[CNS_NAMES_CHARS_MAX + 1], len = strlen(full);
  for (size_t j = 0; j <= len; j++)
    row[j] = j;
  for (size_t i = 1; name[i - 1]; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= len; j++) {
      size_t changed = diagonal + (folded(name[i - 1]) != folded(full[j - 1]));
      size_t shifted = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      diagonal = row[j];
      row[j] = changed < shifted ? changed : shifted;
    }
  }
  size_t least = row[len];
  for (size_t j = 1; j < len; j++)
    if (row[j] + 1 < least) least = row[j] + 1;
  return least;
}

const char *cns_names_nearest(const char *name, const char *const *names, size_t count) {
  size_t len = strlen(name), least = len < 6 ? 2 : len / 3 + 1;
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
