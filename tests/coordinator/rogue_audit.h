/* SPDX-License-Identifier: Apache-2.0 */
/* What tests/coordinator/rogue.c does in audits. */
#pragma once

#include "protocol/hospital.h"

/* In these modes the update is four times as long as the clip allows. */
bool rogue_is_poisoned(const char *mode);
/* Half a bound of noise, and four bounds more that the lies are to hide; both
 * malloc'd, words long. */
CNS_MUST_CHECK int rogue_poison(const struct cns_hospital *machine, uint16_t index, uint64_t words,
                                uint32_t **ret_x, uint32_t **ret_hidden);
/* The answer of phase audit, with the mode's lie in it. hidden: NULL, or of rogue_poison. */
CNS_MUST_CHECK int rogue_audit(struct cns_hospital *machine, uint16_t index, const char *mode,
                               const uint32_t *y, const uint32_t *hidden, const uint8_t **ret_answer,
                               size_t *ret_len, struct cns_problem *problem);
