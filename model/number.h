/* SPDX-License-Identifier: Apache-2.0 */
/* Decimal numbers of a table's cells, whatever the program's locale. */
#pragma once

#include "crypto/base.h"

/* Sign, digits with at most one point, exponent; nothing else (no hex, no
 * "inf", no blanks), and finite. */
bool cns_number_parse(const char *text, double *ret_value);
/* For hints only: a number in form, which _parse refuses for its size; a number
 * with a decimal comma. */
bool cns_number_is_too_large(const char *text);
bool cns_number_has_comma(const char *text);
