/* SPDX-License-Identifier: Apache-2.0 */
/* Apart from crypto/base.c, which needs OpenSSL. */
#include <sodium.h>

#include "crypto/base.h"

void cns_wipe(void *secret, size_t len) {
  sodium_memzero(secret, len);
}
