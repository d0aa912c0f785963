/* SPDX-License-Identifier: Apache-2.0 */
/* The name that somebody meant who wrote another. */
#pragma once

#include "crypto/base.h"

#define CNS_NAMES_CHARS_MAX 40 /* longer ones are near to nothing */

/* Of the names the nearest, the first of equals, by Levenshtein's distance of at
 * most a third of the characters (1 up to 5 characters); the beginning of a name
 * is as near as a name with one letter changed. NULL if none is near. Upper and
 * lower case, '-', '_' and blanks are alike. */
const char *cns_names_nearest(const char *name, const char *const *names, size_t count);
