/* SPDX-License-Identifier: Apache-2.0 */
/* The name that somebody meant who wrote another. */
#pragma once

#include "crypto/base.h"

#define CNS_NAMES_CHARS_MAX 40 /* longer ones are near to nothing */

/* Of the names, the nearest: by Levenshtein's distance, at most a third of the
 * characters; or one that begins as it does, from 3 characters on. NULL if none
 * is near. Upper and lower case, '-', '_' and blanks are alike. */
const char *cns_names_nearest(const char *name, const char *const *names, size_t count);
