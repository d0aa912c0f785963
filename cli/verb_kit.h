/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs under `consilium kit`. */
#pragma once

int cns_cli_kit_request(int argc, char **argv);
int cns_cli_kit_accept(int argc, char **argv);
int cns_cli_kit_approve(int argc, char **argv);
int cns_cli_kit_issue(int argc, char **argv);
int cns_cli_kit_revoke(int argc, char **argv);
int cns_cli_kit_show(int argc, char **argv);
