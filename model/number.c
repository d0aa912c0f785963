/* SPDX-License-Identifier: Apache-2.0 */
#include "model/number.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#define DIGITS_MAX 400

static locale_t c_locale;
static once_flag c_locale_once = ONCE_FLAG_INIT;

static void open_c_locale(void) {
  c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static const char *skip_digits(const char *text, size_t *count) {
  size_t n = strspn(text, "0123456789");
  *count += n;
  return text + n;
}

static bool has_shape(const char *text, char point) {
  size_t digits = 0, exponent = 0;
  if (*text == '+' || *text == '-') text++;
  text = skip_digits(text, &digits);
  if (*text == point) text = skip_digits(text + 1, &digits);
  if (digits == 0) return false;
  if (*text == 'e' || *text == 'E') {
    text++;
    if (*text == '+' || *text == '-') text++;
    text = skip_digits(text, &exponent);
    if (exponent == 0) return false;
  }
  return *text == 0;
}

bool cns_number_parse(const char *text, double *ret_value) {
  if (strlen(text) > DIGITS_MAX || !has_shape(text, '.')) return false;
  call_once(&c_locale_once, open_c_locale);
  if (!c_locale) return false;
  double value = strtod_l(text, NULL, c_locale);
  if (!isfinite(value)) return false;
  *ret_value = value;
  return true;
}

bool cns_number_is_too_large(const char *text) {
  double value = 0;
  return has_shape(text, '.') && !cns_number_parse(text, &value);
}

bool cns_number_has_comma(const char *text) {
  return has_shape(text, ',');
}
