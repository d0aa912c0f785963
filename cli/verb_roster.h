/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of `consilium roster`. */
#pragma once

int cns_cli_roster_show(int argc, char **argv);
