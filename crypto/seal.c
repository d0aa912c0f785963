/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/seal.h"

#include <sodium.h>

_Static_assert(CNS_SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key length");
_Static_assert(CNS_SEAL_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce length");
_Static_assert(CNS_SEAL_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag length");

int cns_seal(const uint8_t key[static CNS_SEAL_KEY_BYTES], const uint8_t nonce[static CNS_SEAL_NONCE_BYTES],
             const uint8_t *ad, size_t ad_len, const uint8_t *plain, size_t len, uint8_t *ret_sealed) {
  /* libsodium aborts the program above this. */
  if (len > crypto_aead_xchacha20poly1305_ietf_MESSAGEBYTES_MAX) return CNS_ERR_ARGUMENT;
  if (crypto_aead_xchacha20poly1305_ietf_encrypt(ret_sealed, NULL, plain, len, ad, ad_len, NULL, nonce,
                                                 key) != 0)
    return CNS_ERR_LIBRARY;
  return CNS_OK;
}

int cns_unseal(const uint8_t key[static CNS_SEAL_KEY_BYTES], const uint8_t nonce[static CNS_SEAL_NONCE_BYTES],
               const uint8_t *ad, size_t ad_len, const uint8_t *sealed, size_t sealed_len,
               uint8_t *ret_plain) {
  if (sealed_len < CNS_SEAL_TAG_BYTES) return CNS_ERR_FORMAT;
  /* First without an output: libsodium zeroes the output of what it refuses,
   * and a caller's bytes must stay as they are. */
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(NULL, NULL, NULL, sealed, sealed_len, ad, ad_len, nonce,
                                                 key) != 0)
    return CNS_ERR_PROOF;
  if (sealed_len == CNS_SEAL_TAG_BYTES) return CNS_OK;
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(ret_plain, NULL, NULL, sealed, sealed_len, ad, ad_len, nonce,
                                                 key) != 0)
    return CNS_ERR_LIBRARY;
  return CNS_OK;
}
