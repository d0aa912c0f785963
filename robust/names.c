/* SPDX-License-Identifier: Apache-2.0 */
#include "robust/names.h"

#include <ctype.h>
#include <string.h>

#define PREFIX_MIN 3

static int folded(char c) {
  return c == '_' || c == ' ' ? '-' : tolower((unsigned char)c);
}

static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len) {
  size_t row[CNS_NAMES_CHARS_MAX + 1];
  for (size_t j = 0; j <= b_len; j++)
    row[j] = j;
  for (size_t i = 1; i <= a_len; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_len; j++) {
      size_t changed = diagonal + (folded(a[i - 1]) != folded(b[j - 1]));
      size_t shifted = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      diagonal = row[j];
      row[j] = changed < shifted ? changed : shifted;
    }
  }
  return row[b_len];
}

static bool begins_alike(const char *name, size_t len, const char *other) {
  if (len < PREFIX_MIN || strlen(other) < len) return false;
  for (size_t i = 0; i < len; i++)
    if (folded(name[i]) != folded(other[i])) return false;
  return true;
}

const char *cns_names_nearest(const char *name, const char *const *names, size_t count) {
  size_t len = strlen(name), least = len < 3 ? 1 : len / 3;
  const char *nearest = NULL, *begun = NULL;
  if (len == 0 || len > CNS_NAMES_CHARS_MAX) return NULL;
  for (size_t i = 0; i < count; i++) {
    size_t other_len = strlen(names[i]);
    if (other_len > CNS_NAMES_CHARS_MAX) continue;
    if (!begun && begins_alike(name, len, names[i])) begun = names[i];
    size_t gap = distance(name, len, names[i], other_len);
    if (gap > least || (nearest && gap == least)) continue;
    least = gap;
    nearest = names[i];
  }
  return nearest ? nearest : begun;
}
