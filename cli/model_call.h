/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of "consilium model" that have files of their own. */
#pragma once

#include "crypto/base.h"

#define CNS_DIGEST_CHARS (2 * CNS_DIGEST_BYTES + 1)

int cns_model_export(int argc, char **argv);
int cns_model_import(int argc, char **argv);
int cns_model_show(int argc, char **argv);
