/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hospital among the agents that lies in the audit: the real machine, without an
 * agent or a link, which the test feeds with the coordinator's requests. Its update
 * is zeros, or a poison far beyond the norm bound.
 */
#pragma once

#include "protocol/hospital.h"
#include "tests/client/fake.h"

/* masks: as cns_hospital_audit has them, true sketches; changed in place. */
typedef void fake_lie(const struct cns_hospital_audit *audit, const uint32_t *of_x, uint32_t *masks);

/* Before fake_start_all. poison: of each coordinate. */
void fake_rogue_new(struct fake *fake, size_t k, uint32_t poison, fake_lie *lie);
void fake_rogue_free(struct fake *fake);
bool fake_is_rogue(const struct fake *fake, size_t k);
/* Answers what it is asked; not from within the coordinator's steps. */
void fake_rogue_work(struct fake *fake);
