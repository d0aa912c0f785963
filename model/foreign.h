/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file is that isn't one of ours, by its content and never by its name: so
 * that whoever hands in a pickle reads why it isn't taken and what to do instead.
 *
 * Pickles (Python's own, PyTorch's .pt and .pth, joblib's) and R's data files are
 * programs that run when they are loaded. Nothing here executes, unpickles or
 * follows anything: first bytes are compared with what the formats begin with, and
 * of a zlib or gzip stream the first few bytes are inflated.
 */
#pragma once

#include "crypto/base.h"

#define CNS_FOREIGN_HEAD_BYTES 4096 /* how much of a file is looked at */

/* head: the file's first bytes. If they are of a known foreign format, a sentence that says
 * which, and how to convert it, and CNS_ERR_UNSUPPORTED; else `error`, and the problem as it is. */
int cns_foreign_refuse(const uint8_t *head, size_t len, int error, struct cns_problem *problem);
/* Is this the beginning of a NumPy .npy file? */
bool cns_foreign_is_npy(const uint8_t *head, size_t len);
