/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/coordinator/rogue_audit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"
#include "dp/quantize.h"
#include "protocol/claim.h"

bool rogue_is_poisoned(const char *mode) {
  static const char *const modes[] = {"huge", "false-self", "false-pair", "refuse-opening",
                                      "gone-after-upload"};
  for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++)
    if (strcmp(mode, modes[k]) == 0) return true;
  return false;
}

int rogue_poison(const struct cns_hospital *machine, uint16_t index, uint64_t words, uint32_t **ret_x,
                 uint32_t **ret_hidden) {
  const struct cns_descriptor *d = cns_hospital_descriptor(machine);
  int position = cns_descriptor_position(d, index);
  uint64_t theta = 0;
  uint8_t bits;
  double spread = sqrt((double)d->dim);
  int r = cns_quantize_theta(d->clip_norm, d->members[position].weight, d->scale_log2, &theta);
  uint32_t *x = calloc(words, sizeof *x), *hidden = calloc(words, sizeof *hidden);
  if (r == 0 && (!x || !hidden)) r = CNS_ERR_MEMORY;
  for (uint64_t i = 0; r == 0 && i < d->dim; i++) {
    r = cns_rng_fill(cns_rng_system(), &bits, 1);
    hidden[i] = (uint32_t)(int32_t)((bits & 1 ? -4 : 4) * (double)theta / spread);
    x[i] = hidden[i] + (uint32_t)(int32_t)((bits & 2 ? -0.5 : 0.5) * (double)theta / spread);
  }
  *ret_x = x;
  *ret_hidden = hidden;
  return r;
}

/* Which of the masks is lied about; the first one is the self mask. */
static size_t subject(const char *mode, size_t count) {
  if (strcmp(mode, "false-self") == 0) return 0;
  return strcmp(mode, "false-pair") == 0 || strcmp(mode, "refuse-opening") == 0 ? 1 : count;
}

static int8_t sign_of(const struct cns_hospital *machine, const struct cns_hospital_audit *audit,
                      uint16_t index, size_t mask) {
  const struct cns_descriptor *d = cns_hospital_descriptor(machine);
  return (int8_t)(mask == 0 ? 1 : cns_pair_sign(index, d->members[audit->partners[mask]].index));
}

int rogue_audit(struct cns_hospital *machine, uint16_t index, const char *mode, const uint32_t *y,
                const uint32_t *hidden, const uint8_t **ret_answer, size_t *ret_len,
                struct cns_problem *problem) {
  struct cns_hospital_audit audit;
  int r = cns_hospital_audit(machine, &audit);
  if (r < 0) return r;
  const uint32_t *const vectors[] = {y, hidden ? hidden : y};
  uint32_t sketches[2 * CNS_SKETCH_MAX], claimed[CNS_SKETCH_MAX];
  const size_t k = audit.k, lie = hidden ? subject(mode, audit.count) : audit.count;
  uint32_t *masks = calloc(audit.count * k, sizeof *masks);
  if (!masks) return CNS_ERR_MEMORY;
  r = cns_sketch_masks(&audit.key, audit.k, audit.seeds, audit.count, audit.dim, (struct cns_parallel){0},
                       masks);
  if (r == 0)
    r = cns_sketch_vectors(&audit.key, audit.k, vectors, 2, audit.dim, (struct cns_parallel){0}, sketches);
  if (r == 0 && lie < audit.count)
    cns_sketch_add(masks + lie * k, sketches + k, sign_of(machine, &audit, index, lie), audit.k);
  memcpy(claimed, sketches,
         k * sizeof *claimed); /* what will be taken for A*x: so our own machine is content */
  for (size_t m = 0; r == 0 && m < audit.count; m++)
    cns_sketch_add(claimed, masks + m * k, -sign_of(machine, &audit, index, m), audit.k);
  if (r == 0) r = cns_hospital_audited(machine, masks, sketches, claimed, ret_answer, ret_len, problem);
  free(masks);
  return r;
}
