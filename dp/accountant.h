/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of arguments that the parts of the accountant share. */
#pragma once

#include "dp/dp.h"

/* CNS_ERR_RANGE with a sentence. */
CNS_MUST_CHECK int cns_dp_check_number(double value, double min, double max, const char *name,
                                       struct cns_problem *problem);
CNS_MUST_CHECK int cns_dp_check_segment(const struct cns_dp_segment *segment, struct cns_problem *problem);
CNS_MUST_CHECK int cns_dp_check_delta(double delta, struct cns_problem *problem);
/* Sentences for what the mathematics can't give. */
int cns_dp_fail(int error, struct cns_problem *problem);

/* As cns_dp_epsilon; only the upper end is tight, relative to `expected` > 0, which epsilon is about. */
CNS_MUST_CHECK int cns_dp_epsilon_upper(const struct cns_dp_segment *segment, double delta,
                                        const struct cns_dp_options *options, double expected,
                                        struct cns_dp_interval *ret_epsilon, struct cns_problem *problem);
