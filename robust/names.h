/* SPDX-License-Identifier: Apache-2.0 */
/* The name that somebody meant who wrote another. */
#pragma once

#include "crypto/base.h"

#define CNS_NAMES_CHARS_MAX 40 /* longer ones are near to nothing */

/* Of the names the nearest, the first of equals: at most a third of the letters (but
 * two of 3 to 8, and one of 2) changed, added, taken away or swapped with the next;
 * the beginning of a name is as near as a name with one letter changed. NULL if none
 * is near. Upper and lower case, '-', '_' and blanks are alike. */
const char *cns_names_nearest(const char *name, const char *const *names, size_t count);
