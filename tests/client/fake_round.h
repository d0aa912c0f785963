/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two files of the fake coordinator. */
#pragma once

#include "tests/client/fake.h"

/* Bytes and digest of the present parameters. */
void fake_set_model(struct fake *fake);
struct cns_link_callbacks fake_callbacks(struct fake *fake);
