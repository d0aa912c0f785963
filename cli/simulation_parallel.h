/* SPDX-License-Identifier: Apache-2.0 */
/* A parallel for-loop on threads of its own that live for one call. */
#pragma once

#include "protocol/coordinator.h"

/* context: const size_t *, the number of threads, the caller among them. */
void cns_simulation_parallel_run(void *context, size_t count, void (*task)(void *argument, size_t k),
                                 void *argument);
