/* SPDX-License-Identifier: Apache-2.0 */
/* The two sides of `consilium status`. Both only read, also while the daemon
 * runs, and return the exit code. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "store/kit.h"

int cns_status_coordinator(const char *kit_folder, size_t last, bool json);
int cns_status_hospital(const char *kit_folder, bool json);

/* Days left of roster, policy and certificates, as fields; and what is near its end, a sentence a
 * line with `before` in front. */
CNS_MUST_CHECK int cns_status_expiry_json(const struct cns_kit *kit, cJSON *json);
void cns_status_expiry_print(const struct cns_kit *kit, const char *before);
