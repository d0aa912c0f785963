/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of `consilium policy`. */
#pragma once

#include "cli/cli.h"
#include "protocol/policy.h"

#define CNS_POLICY_KIND "policy"

/* A policy as an officer hands it in: signed, or JSON edited by hand. */
CNS_MUST_CHECK int cns_policy_file_load(const char *path, struct cns_document *ret_document,
                                        struct cns_problem *problem);
/* roster NULL: whoever signed it. */
CNS_MUST_CHECK int cns_policy_file_open(const struct cns_document *document, const char *path,
                                        const struct cns_roster *roster, struct cns_policy *ret_policy,
                                        struct cns_problem *problem);
/* malloc'd path of the policy that an operand names: itself, or in a kit or the authority's folder;
 * NULL: out of memory. */
char *cns_policy_file_path(const char *operand, bool *ret_folder);

int cns_cli_policy_sign(int argc, char **argv);
int cns_cli_policy_diff(int argc, char **argv);
