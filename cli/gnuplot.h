/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures by gnuplot(1), which need not be installed. */
#pragma once

#include <stdio.h>

#include "crypto/base.h"

/*
 * write puts gnuplot's commands into out; what gnuplot draws to its standard
 * output becomes the file. Commands and picture go through temporary files: the
 * file is written only when there is something to write. CNS_ERR_NOT_FOUND: no
 * gnuplot; CNS_ERR_LIBRARY: it failed; CNS_ERR_IO and others of files.
 */
CNS_MUST_CHECK int cns_gnuplot_draw(void (*write)(const void *context, FILE *out), const void *context,
                                    const char *path, struct cns_problem *problem);
