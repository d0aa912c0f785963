/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of `consilium budget`. */
#pragma once

#include "cli/budget.h"
#include "cli/page.h"

int cns_cli_budget_ledger(int argc, char **argv);
/* The statement of a view that counts. made_at: UTC seconds. Errors of the accountant. */
CNS_MUST_CHECK int cns_statement_write(const struct cns_budget_view *view, int64_t made_at,
                                       struct cns_page *page, struct cns_problem *problem);
int cns_cli_budget_carry(int argc, char **argv);
int cns_cli_budget_take(int argc, char **argv);
