/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "crypto/base.h"

int main(void) {
  printf("consilium %s\n", CNS_VERSION);
  return 0;
}
