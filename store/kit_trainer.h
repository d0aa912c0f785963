/* SPDX-License-Identifier: Apache-2.0 */
/* "trainer" and "patients" of a hospital's config.json; for store/kit_files.c only. */
#pragma once

#include "store/kit.h"

/* Both may be left out. */
CNS_MUST_CHECK int cns_kit_trainer_read(const cJSON *json, struct cns_kit_config *config,
                                        struct cns_problem *problem);
/* False: out of memory. */
bool cns_kit_trainer_fill(cJSON *json, const struct cns_kit_config *config);
void cns_kit_trainer_deinit(struct cns_kit_trainer *trainer);
