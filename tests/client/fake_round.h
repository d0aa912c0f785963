/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the fake coordinator. */
#pragma once

#include "tests/client/fake.h"

/* Bytes and digest of the present parameters. */
void fake_set_model(struct fake *fake);
/* What came over the peer's link, or from a rogue. */
void fake_take_answer(struct fake *fake, struct fake_peer *peer, const uint8_t *data, size_t len);
struct cns_link_callbacks fake_callbacks(struct fake *fake);
/* The round is unmasked: new model and manifest, to everybody. */
void fake_complete(struct fake *fake);
