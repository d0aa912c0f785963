/* SPDX-License-Identifier: Apache-2.0 */
/* What `consilium simulate` says: one line a round with what the audit found, and
 * at the end a table, or all of it as JSON. */
#pragma once

#include <cjson/cJSON.h>

#include "cli/simulation.h"

/* The phases of a round in order; those of an audit only with one. */
size_t cns_simulation_phases(bool audit, enum cns_phase ret_phases[static CNS_PHASE_COUNT]);

void cns_simulation_print_round(const struct cns_simulation_options *options,
                                const struct cns_simulation_result *result);
int cns_simulation_print_table(const struct cns_simulation_options *options,
                               const struct cns_simulation *simulation,
                               const struct cns_simulation_result *result);

/* One round for the list of all. NULL: out of memory. */
cJSON *cns_simulation_round_json(const struct cns_simulation_options *options,
                                 const struct cns_simulation_result *result);
/* The last round; takes the list (NULL: none). Prints; the exit code. */
int cns_simulation_print_json(const struct cns_simulation_options *options,
                              const struct cns_simulation *simulation,
                              const struct cns_simulation_result *result, cJSON *rounds);
