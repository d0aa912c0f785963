/* SPDX-License-Identifier: Apache-2.0 */
/* What of a kit expires, and when. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/status.h"
#include "protocol/expiry.h"

int cns_status_expiry_json(const struct cns_kit *kit, cJSON *json) {
  int64_t now = (int64_t)time(NULL);
  cJSON_AddNumberToObject(json, "roster_version", (double)kit->roster.version);
  cJSON_AddNumberToObject(json, "roster_days_left", (double)cns_days_left(kit->roster.valid_until, now));
  cJSON_AddNumberToObject(json, "policy_days_left", (double)cns_days_left(kit->policy.valid_until, now));
  cJSON_AddNumberToObject(json, "certificate_days_left", (double)cns_days_left(kit->certificate_until, now));
  if (kit->config.role == CNS_KIT_HOSPITAL) return 0;
  cJSON *array = cJSON_AddArrayToObject(json, "certificates_expiring");
  if (!array) return CNS_ERR_MEMORY;
  for (size_t k = 0; k < kit->roster.hospital_count; k++) {
    const struct cns_roster_hospital *hospital = &kit->roster.hospitals[k];
    if (hospital->revoked || !hospital->pin_until) continue;
    int64_t left = cns_days_left(hospital->pin_until, now);
    if (left > CNS_EXPIRY_DAYS) continue;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "hospital", hospital->name);
    cJSON_AddNumberToObject(item, "days_left", (double)left);
    cJSON_AddItemToArray(array, item);
  }
  return 0;
}

static void line(const char *before, const char *what, int64_t until, int64_t now) {
  struct cns_expiry expiry = {0};
  struct cns_problem sentence = {0};
  if (cns_expiry_due(&expiry, what, until, now, "see consilium-roster(1)", &sentence))
    printf("%s%s\n", before, sentence.text);
}

void cns_status_expiry_print(const struct cns_kit *kit, const char *before) {
  int64_t now = (int64_t)time(NULL);
  char what[CNS_NAME_MAX + 40];
  line(before, "the roster", kit->roster.valid_until, now);
  line(before, "the policy", kit->policy.valid_until, now);
  line(before, "this kit's certificate", kit->certificate_until, now);
  if (kit->config.role == CNS_KIT_HOSPITAL) return;
  for (size_t k = 0; k < kit->roster.hospital_count; k++) {
    const struct cns_roster_hospital *hospital = &kit->roster.hospitals[k];
    if (hospital->revoked) continue;
    snprintf(what, sizeof what, "the certificate of hospital %s", hospital->name);
    line(before, what, hospital->pin_until, now);
  }
}
