/* SPDX-License-Identifier: Apache-2.0 */
/* The two sides of `consilium status`. Both only read, also while the daemon
 * runs, and return the exit code. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

int cns_status_coordinator(const char *kit_folder, size_t last, bool json);
int cns_status_hospital(const char *kit_folder, bool json);
