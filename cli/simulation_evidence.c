/* SPDX-License-Identifier: Apache-2.0 */
/* The roster that rounds are simulated under, and the evidence against liars, as
 * files that `consilium evidence verify` reads. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/kit.h"
#include "cli/simulation_internal.h"
#include "store/kit.h"

/* Nobody dials it (RFC 6761, section 6.4). */
#define ADDRESS "tls+tcp://simulation.invalid:7443"
/* 9999-12-31: the clock plays no part. */
#define VALID_UNTIL INT64_C(253402214400)

static void set_party(struct cns_party *party, const char *name, const struct cns_identity *identity) {
  snprintf(party->name, sizeof party->name, "%s", name);
  party->identity = *cns_identity_get_public(identity);
}

/* There is no TLS; but a roster needs pins that differ. */
static void set_pin(const char *name, const struct cns_identity_public *identity, struct cns_tls_pin *pin) {
  struct cns_digest digest;
  struct cns_hash hash;
  cns_hash_init(&hash, "consilium/1 simulation pin");
  cns_hash_blob(&hash, name, strlen(name));
  cns_hash_bytes(&hash, identity->bytes, sizeof identity->bytes);
  cns_hash_final(&hash, &digest);
  _Static_assert(sizeof digest.bytes == sizeof pin->bytes, "a pin is a digest");
  memcpy(pin->bytes, digest.bytes, sizeof pin->bytes);
}

int cns_simulation_roster_make(struct cns_simulation *s, struct cns_problem *problem) {
  struct cns_roster *roster = &s->roster;
  size_t n = s->options.hospitals;
  snprintf(roster->consortium, sizeof roster->consortium, "simulation");
  snprintf(roster->address, sizeof roster->address, "%s", ADDRESS);
  roster->version = 1;
  roster->valid_until = VALID_UNTIL;
  set_party(&roster->authority, "authority", s->authority);
  set_party(&roster->coordinator, "coordinator", s->coordinator_identity);
  set_pin("coordinator", &roster->coordinator.identity, &roster->coordinator_pin);
  roster->officer_count = 1;
  set_party(&roster->officers[0], "officer", s->officer);
  roster->hospitals = calloc(n, sizeof *roster->hospitals);
  if (!roster->hospitals) return CNS_ERR_MEMORY;
  roster->hospital_count = n;
  for (size_t k = 0; k < n; k++) {
    struct cns_roster_hospital *hospital = &roster->hospitals[k];
    hospital->index = (uint16_t)(k + 1);
    snprintf(hospital->name, sizeof hospital->name, "hospital-%zu", k + 1);
    hospital->identity = *cns_identity_get_public(s->hospitals[k].identity);
    set_pin(hospital->name, &hospital->identity, &hospital->pin);
  }
  int r = cns_kit_sign_roster(roster, s->authority, &s->roster_document, problem);
  if (r == 0) roster->digest = s->roster_document.digest;
  return r;
}

int cns_simulation_evidence_begin(const struct cns_simulation *s, struct cns_problem *problem) {
  const char *folder = s->options.evidence;
  if (!folder) return 0;
  int r = cns_kit_authority_save(folder, &s->roster.authority.identity, problem);
  return r < 0 ? r : cns_kit_document_save(folder, "roster.json", "roster", &s->roster_document, problem);
}

void cns_simulation_evidence_name(const struct cns_simulation_result *result,
                                  const struct cns_simulation_blame *blame, char out[static 128]) {
  snprintf(out, 128, "evidence-%" PRIu64 "-%" PRIu32 "-hospital-%zu-%d.bin", result->round, result->attempt,
           blame->hospital + 1, (int)blame->blame);
}

int cns_simulation_evidence_save(const struct cns_simulation *s, const struct cns_verdict *verdict,
                                 const struct cns_simulation_blame *blame, struct cns_problem *problem) {
  char name[128];
  if (!s->options.evidence) return 0;
  cns_simulation_evidence_name(&s->result, blame, name);
  char *path = cns_kit_path(s->options.evidence, name);
  int r =
      path ? cns_file_write(path, verdict->evidence, verdict->evidence_len, 0600, problem) : CNS_ERR_MEMORY;
  free(path);
  return r;
}
