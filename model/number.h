/* SPDX-License-Identifier: Apache-2.0 */
/* Decimal numbers of a table's cells, whatever the program's locale. */
#pragma once

#include "crypto/base.h"

/* Sign, digits with at most one point, exponent; nothing else (no hex, no
 * "inf", no blanks), and finite. */
bool cns_number_parse(const char *text, double *ret_value);
/* Would it be a number with a decimal comma? For the hint only. */
bool cns_number_has_comma(const char *text);
