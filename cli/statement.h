/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the statement. */
#pragma once

#include "cli/verb_budget.h"

void cns_statement_time(int64_t seconds, char out[static 32]);
/* Accountant, what was spent and what the whole study will. Errors of the accountant. */
CNS_MUST_CHECK int cns_statement_spent(struct cns_page *page, const struct cns_budget_view *view,
                                       struct cns_problem *problem);
