/* SPDX-License-Identifier: Apache-2.0 */
/* A study as a person hands it in: plain JSON, or signed already. */
#pragma once

#include "crypto/document.h"
#include "model/plan.h"

struct cns_study {
  struct cns_document document;
  struct cns_plan plan;
  char *initial_path; /* beside the study's file; NULL without one */
};

/* Parses and validates the whole study; an initial model must be there and
 * have the digest that the study gives. */
CNS_MUST_CHECK int cns_study_load(const char *path, struct cns_study *ret_study, struct cns_problem *problem);
/* The same without its initial model, which needn't be there yet. */
CNS_MUST_CHECK int cns_study_load_plan(const char *path, struct cns_study *ret_study,
                                       struct cns_problem *problem);
void cns_study_deinit(struct cns_study *study); /* also fine on a zeroed struct */
