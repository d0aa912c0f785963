/* SPDX-License-Identifier: Apache-2.0 */
/* XChaCha20-Poly1305 (libsodium) with associated data. */
#pragma once

#include "crypto/hash.h"

#define CNS_SEAL_KEY_BYTES 32
#define CNS_SEAL_NONCE_BYTES 24
#define CNS_SEAL_TAG_BYTES 16

/* key and nonce used once; ret_sealed has len + CNS_SEAL_TAG_BYTES. */
CNS_MUST_CHECK int cns_seal(const uint8_t key[static CNS_SEAL_KEY_BYTES],
                            const uint8_t nonce[static CNS_SEAL_NONCE_BYTES], const uint8_t *ad,
                            size_t ad_len, const uint8_t *plain, size_t len, uint8_t *ret_sealed);
/* 0, or CNS_ERR_PROOF; sealed_len >= CNS_SEAL_TAG_BYTES else CNS_ERR_FORMAT. */
CNS_MUST_CHECK int cns_unseal(const uint8_t key[static CNS_SEAL_KEY_BYTES],
                              const uint8_t nonce[static CNS_SEAL_NONCE_BYTES], const uint8_t *ad,
                              size_t ad_len, const uint8_t *sealed, size_t sealed_len, uint8_t *ret_plain);
