/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draws noise from 32 bytes that were never written, for valgrind: it follows what is
 * undefined through every computation, and reports a branch or an address that depends
 * on it, in our code or the cipher's. The samples come from the bytes alone, so that
 * what is undefined is what is secret. Needs no valgrind to run by itself.
 *
 *   noise_constant_time          must not be reported
 *   noise_constant_time leak     must be: one branch on a sample
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dp/discrete_gaussian_internal.h"

enum { COUNT = 700 };

/* malloc'd bytes, which valgrind takes for undefined. */
static int fill_undefined(void *context, uint8_t *out, size_t len) {
  uint8_t *bytes = malloc(len);
  if (!bytes) return CNS_ERR_RANDOM;
  __asm__ volatile("" : : "r"(bytes) : "memory"); /* they might have been written, for the compiler */
  memcpy(out, bytes, len);
  free(bytes);
  return CNS_OK;
}

static int draw(double sigma, int64_t *samples, uint32_t *words) {
  const struct cns_rng rng = {.fill = fill_undefined, .context = NULL};
  const struct cns_discrete_gaussian_version *version;
  struct cns_discrete_gaussian *sampler = NULL;
  int r = cns_discrete_gaussian_new(sigma, &sampler, NULL);
  for (size_t number = 0; r == 0 && (version = cns_discrete_gaussian_version(number)); number++) {
    printf("sigma %g, %s\n", sigma, version->name);
    cns_discrete_gaussian_use(sampler, version);
    r = cns_discrete_gaussian_fill(sampler, rng, samples, COUNT);
    if (r == 0) r = cns_discrete_gaussian_add(sampler, rng, words, COUNT);
  }
  cns_discrete_gaussian_free(sampler);
  return r;
}

int main(int argc, char **argv) {
  static const double sigmas[] = {0.5, 16, 100, 0x1p30};
  static int64_t samples[COUNT];
  static uint32_t words[COUNT];
  if (cns_init() != 0) return 1;
  for (size_t k = 0; k < sizeof sigmas / sizeof sigmas[0]; k++)
    if (draw(sigmas[k], samples, words) != 0) return 1;
  if (argc > 1 && strcmp(argv[1], "leak") == 0 && samples[0] > 0) puts("leaked");
  return 0;
}
