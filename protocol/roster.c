/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KIND "roster"
#define ROLE "authority"
#define HOSPITAL_NAME_MAX 32

/* Text a person sees in logs and tables: no control characters, not blank. */
bool cns_roster_is_reason(const char *text) {
  size_t len = strlen(text);
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) return false;
  return len > 0 && len <= CNS_REASON_MAX;
}

bool cns_roster_is_text(const char *text) {
  size_t len = strlen(text);
  bool visible = false;
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i], next = (unsigned char)text[i + 1];
    if (c < 0x20 || c == 0x7F || (c == 0xC2 && next >= 0x80 && next <= 0x9F)) return false;
    if (c != ' ') visible = true;
  }
  return visible && len <= CNS_NAME_MAX;
}

bool cns_roster_is_name(const char *name) {
  size_t len = strlen(name);
  return len >= 1 && len <= HOSPITAL_NAME_MAX && name[0] != '.' && name[0] != '-' &&
         strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static bool is_loopback(const char *authority) {
  static const char *const hosts[] = {"127.0.0.1:", "localhost:", "[::1]:"};
  for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
    if (strncmp(authority, hosts[i], strlen(hosts[i])) == 0) return true;
  return false;
}

int cns_roster_check_address(const char *address, struct cns_problem *problem) {
  static const char *const schemes[] = {"tls+tcp://", "wss://", "ipc:///", "tcp://"};
  size_t len = strlen(address);
  if (len > CNS_ADDRESS_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "an address may have at most %d characters",
                           CNS_ADDRESS_MAX);
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)address[i] <= 0x20 || (unsigned char)address[i] >= 0x7F)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "an address may not hold spaces or unprintable characters");
  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
    size_t scheme_len = strlen(schemes[i]);
    if (strncmp(address, schemes[i], scheme_len) != 0 || len == scheme_len) continue;
    if (strcmp(schemes[i], "tcp://") == 0 && !is_loopback(address + scheme_len))
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "%s is not encrypted and only allowed on loopback; use tls+tcp:// or wss://",
                             address);
    return 0;
  }
  return cns_problem_set(
      problem, CNS_ERR_FORMAT,
      "%s is not an address like tls+tcp://host:7443 or wss://host:443/path (or on one machine tcp:// "
      "on loopback or ipc:///path)",
      address);
}

static int get_text(const cJSON *object, const char *path, const char *name,
                    char ret_text[static CNS_NAME_MAX + 1], struct cns_problem *problem) {
  const char *text = NULL;
  int r = cns_json_get_string(object, path, name, CNS_NAME_MAX, &text, problem);
  if (r) return r;
  if (!cns_roster_is_text(text))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s%s%s must be 1 to %d printable characters", path,
                           *path ? "." : "", name, CNS_NAME_MAX);
  memcpy(ret_text, text, strlen(text) + 1);
  return 0;
}

static int get_party(const cJSON *object, const char *path, struct cns_party *ret_party,
                     struct cns_problem *problem) {
  int r = get_text(object, path, "name", ret_party->name, problem);
  if (r) return r;
  return cns_json_get_hex(object, path, "identity", CNS_IDENTITY_BYTES, ret_party->identity.bytes, problem);
}

static int read_authority(const cJSON *json, struct cns_roster *roster, struct cns_problem *problem) {
  static const char *const fields[] = {"name", "identity", NULL};
  const cJSON *object = NULL;
  int r = cns_json_get_object(json, "", "authority", &object, problem);
  if (!r) r = cns_json_only(object, "authority", fields, problem);
  if (!r) r = get_party(object, "authority", &roster->authority, problem);
  return r;
}

static int read_coordinator(const cJSON *json, struct cns_roster *roster, struct cns_problem *problem) {
  static const char *const fields[] = {"name", "identity", "tls", "address", NULL};
  const cJSON *object = NULL;
  const char *address = NULL;
  int r = cns_json_get_object(json, "", "coordinator", &object, problem);
  if (!r) r = cns_json_only(object, "coordinator", fields, problem);
  if (!r) r = get_party(object, "coordinator", &roster->coordinator, problem);
  if (!r)
    r = cns_json_get_hex(object, "coordinator", "tls", CNS_TLS_PIN_BYTES, roster->coordinator_pin.bytes,
                         problem);
  if (!r) r = cns_json_get_string(object, "coordinator", "address", CNS_ADDRESS_MAX, &address, problem);
  if (r) return r;
  if ((r = cns_roster_check_address(address, problem)))
    return cns_problem_prefix(problem, r, "coordinator.address");
  memcpy(roster->address, address, strlen(address) + 1);
  return 0;
}

static int read_officers(const cJSON *json, struct cns_roster *roster, struct cns_problem *problem) {
  static const char *const fields[] = {"name", "identity", NULL};
  const cJSON *array = NULL;
  int r = cns_json_get_array(json, "", "officers", &array, problem);
  if (r) return r;
  int count = cJSON_GetArraySize(array);
  if (count < 1 || count > CNS_OFFICERS_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "officers has %d entries, but must have 1 to %d", count,
                           CNS_OFFICERS_MAX);
  for (const cJSON *item = array->child; item && !r; item = item->next) {
    char path[32];
    snprintf(path, sizeof path, "officers[%zu]", roster->officer_count);
    r = cns_json_only(item, path, fields, problem);
    if (!r) r = get_party(item, path, &roster->officers[roster->officer_count++], problem);
  }
  return r;
}

static int read_optional_time(const cJSON *item, const char *path, const char *name, int64_t *ret_time,
                              struct cns_problem *problem) {
  if (!cJSON_HasObjectItem(item, name)) return 0;
  return cns_json_get_time(item, path, name, ret_time, problem);
}

static int read_revocation(const cJSON *item, const char *path, struct cns_roster_hospital *hospital,
                           struct cns_problem *problem) {
  const char *reason = NULL;
  int r = read_optional_time(item, path, "revoked_at", &hospital->revoked_at, problem);
  if (!r && cJSON_HasObjectItem(item, "reason"))
    r = cns_json_get_string(item, path, "reason", CNS_REASON_MAX, &reason, problem);
  if (r) return r;
  if ((hospital->revoked_at || reason) && !hospital->revoked)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s says when or why it was revoked, but it isn't", path);
  if (!reason) return 0;
  if (!cns_roster_is_reason(reason))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s.reason must be printable", path);
  memcpy(hospital->reason, reason, strlen(reason) + 1);
  return 0;
}

static int read_hospital(const cJSON *item, const char *path, struct cns_roster_hospital *ret_hospital,
                         struct cns_problem *problem) {
  static const char *const fields[] = {"index",     "name",       "identity", "tls", "revoked",
                                       "tls_until", "revoked_at", "reason",   NULL};
  struct cns_party party;
  int64_t index = 0;
  int r = cns_json_only(item, path, fields, problem);
  if (!r) r = cns_json_get_int(item, path, "index", 1, CNS_HOSPITALS_MAX, &index, problem);
  if (!r) r = get_party(item, path, &party, problem);
  if (!r) r = cns_json_get_hex(item, path, "tls", CNS_TLS_PIN_BYTES, ret_hospital->pin.bytes, problem);
  if (!r) r = cns_json_get_bool(item, path, "revoked", &ret_hospital->revoked, problem);
  if (!r) r = read_optional_time(item, path, "tls_until", &ret_hospital->pin_until, problem);
  if (!r) r = read_revocation(item, path, ret_hospital, problem);
  if (r) return r;
  if (!cns_roster_is_name(party.name))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s.name must be 1 to %d of a-z 0-9 . _ - and begin with a-z 0-9 _", path,
                           HOSPITAL_NAME_MAX);
  ret_hospital->index = (uint16_t)index;
  ret_hospital->identity = party.identity;
  memcpy(ret_hospital->name, party.name, sizeof party.name);
  return 0;
}

static int read_hospitals(const cJSON *json, struct cns_roster *roster, struct cns_problem *problem) {
  const cJSON *array = NULL;
  int r = cns_json_get_array(json, "", "hospitals", &array, problem);
  if (r) return r;
  int count = cJSON_GetArraySize(array);
  if (count > CNS_HOSPITALS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "hospitals has %d entries, but may have at most %d", count,
                           CNS_HOSPITALS_MAX);
  roster->hospitals = calloc(count ? (size_t)count : 1, sizeof *roster->hospitals);
  if (!roster->hospitals) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (const cJSON *item = array->child; item && !r; item = item->next) {
    char path[32];
    snprintf(path, sizeof path, "hospitals[%zu]", roster->hospital_count);
    r = read_hospital(item, path, &roster->hospitals[roster->hospital_count++], problem);
  }
  return r;
}

/* A key or a name that stands for two parties would let one vote twice, or be
 * taken for the other. */
static int check_pair(const struct cns_roster_hospital *a, const struct cns_roster_hospital *b,
                      struct cns_problem *problem) {
  const char *same = NULL;
  if (strcmp(a->name, b->name) == 0) same = "name";
  if (memcmp(a->identity.bytes, b->identity.bytes, sizeof a->identity.bytes) == 0) same = "identity";
  if (memcmp(a->pin.bytes, b->pin.bytes, sizeof a->pin.bytes) == 0) same = "tls key";
  if (!same) return 0;
  return cns_problem_set(problem, CNS_ERR_FORMAT, "hospitals %u and %u have the same %s", a->index, b->index,
                         same);
}

static int check_hospitals(const struct cns_roster *roster, struct cns_problem *problem) {
  for (size_t i = 0; i < roster->hospital_count; i++) {
    const struct cns_roster_hospital *hospital = &roster->hospitals[i];
    if (i > 0 && hospital->index <= hospital[-1].index)
      return cns_problem_set(problem, CNS_ERR_FORMAT,
                             "hospitals must be sorted by index, each index once (at %u)", hospital->index);
    if (memcmp(hospital->pin.bytes, roster->coordinator_pin.bytes, sizeof hospital->pin.bytes) == 0)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "hospital %u has the coordinator's tls key",
                             hospital->index);
    for (size_t j = 0; j < i; j++) {
      int r = check_pair(&roster->hospitals[j], hospital, problem);
      if (r) return r;
    }
  }
  return 0;
}

static int check_identities(const struct cns_roster *roster, struct cns_problem *problem) {
  const struct cns_party *parties[2 + CNS_OFFICERS_MAX] = {&roster->authority, &roster->coordinator};
  size_t count = 2;
  for (size_t i = 0; i < roster->officer_count; i++)
    parties[count++] = &roster->officers[i];
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < i; j++)
      if (cns_identity_public_equal(&parties[i]->identity, &parties[j]->identity))
        return cns_problem_set(problem, CNS_ERR_FORMAT, "%s and %s have the same identity", parties[j]->name,
                               parties[i]->name);
    const struct cns_roster_hospital *hospital = cns_roster_find_identity(roster, &parties[i]->identity);
    if (hospital)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s and hospital %u have the same identity",
                             parties[i]->name, hospital->index);
  }
  return 0;
}

int cns_roster_check(const struct cns_roster *roster, struct cns_problem *problem) {
  if (roster->valid_until <= roster->valid_from)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "valid_until must be later than valid_from");
  int r = check_hospitals(roster, problem);
  return r ? r : check_identities(roster, problem);
}

static int read_roster(const cJSON *json, struct cns_roster *roster, struct cns_problem *problem) {
  static const char *const fields[] = {"consortium",  "version",  "valid_from", "valid_until", "authority",
                                       "coordinator", "officers", "hospitals",  NULL};
  int64_t version = 0;
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = get_text(json, "", "consortium", roster->consortium, problem);
  if (!r) r = cns_json_get_int(json, "", "version", 1, INT64_C(1) << 53, &version, problem);
  if (!r) r = cns_json_get_time(json, "", "valid_from", &roster->valid_from, problem);
  if (!r) r = cns_json_get_time(json, "", "valid_until", &roster->valid_until, problem);
  if (!r) r = read_authority(json, roster, problem);
  if (!r) r = read_coordinator(json, roster, problem);
  if (!r) r = read_officers(json, roster, problem);
  if (!r) r = read_hospitals(json, roster, problem);
  if (r) return r;
  roster->version = (uint64_t)version;
  return cns_roster_check(roster, problem);
}

/* Verified before its content is looked at, unless the key must come from it. */
static int open_document(const struct cns_document *document, const char *where,
                         const struct cns_identity_public *authority, struct cns_roster *roster,
                         struct cns_problem *problem) {
  cJSON *json = NULL;
  int r = authority ? cns_document_verify(KIND, document, ROLE, authority, problem) : 0;
  if (r) return cns_problem_prefix(problem, r, "%s", where);
  r = cns_json_parse(document->payload, document->payload_len, where, &json, problem);
  if (r) return r;
  r = read_roster(json, roster, problem);
  cJSON_Delete(json);
  if (!r && !authority) r = cns_document_verify(KIND, document, ROLE, &roster->authority.identity, problem);
  if (!r && authority && !cns_identity_public_equal(authority, &roster->authority.identity))
    r = cns_problem_set(problem, CNS_ERR_SIGNATURE, "names another authority than the one that signed it");
  if (r) return cns_problem_prefix(problem, r, "%s", where);
  roster->digest = document->digest;
  return 0;
}

int cns_roster_open(const uint8_t *data, size_t len, const char *where,
                    const struct cns_identity_public *authority, struct cns_roster *ret_roster,
                    struct cns_problem *problem) {
  struct cns_document document;
  struct cns_roster roster = {0};
  int r = cns_document_parse(KIND, data, len, where, &document, problem);
  if (r) return r;
  r = open_document(&document, where, authority, &roster, problem);
  cns_document_deinit(&document);
  if (r) {
    cns_roster_deinit(&roster);
    return r;
  }
  *ret_roster = roster;
  return 0;
}

void cns_roster_deinit(struct cns_roster *roster) {
  if (!roster) return;
  free(roster->hospitals);
  *roster = (struct cns_roster){0};
}

static int add_party(cJSON *object, const struct cns_party *party) {
  if (!object || !cJSON_AddStringToObject(object, "name", party->name)) return CNS_ERR_MEMORY;
  return cns_json_add_hex(object, "identity", party->identity.bytes, sizeof party->identity.bytes);
}

static int add_coordinator(cJSON *json, const struct cns_roster *roster) {
  cJSON *object = cJSON_AddObjectToObject(json, "coordinator");
  int r = add_party(object, &roster->coordinator);
  if (!r)
    r = cns_json_add_hex(object, "tls", roster->coordinator_pin.bytes, sizeof roster->coordinator_pin.bytes);
  if (!r && !cJSON_AddStringToObject(object, "address", roster->address)) r = CNS_ERR_MEMORY;
  return r;
}

static cJSON *add_item(cJSON *array) {
  cJSON *item = cJSON_CreateObject();
  if (item && !cJSON_AddItemToArray(array, item)) {
    cJSON_Delete(item);
    item = NULL;
  }
  return item;
}

static int add_hospital(cJSON *array, const struct cns_roster_hospital *hospital) {
  cJSON *item = add_item(array);
  if (!item || !cJSON_AddNumberToObject(item, "index", hospital->index) ||
      !cJSON_AddStringToObject(item, "name", hospital->name) ||
      !cJSON_AddBoolToObject(item, "revoked", hospital->revoked))
    return CNS_ERR_MEMORY;
  int r = cns_json_add_hex(item, "identity", hospital->identity.bytes, sizeof hospital->identity.bytes);
  if (!r && hospital->pin_until) r = cns_json_add_time(item, "tls_until", hospital->pin_until);
  if (!r && hospital->revoked_at) r = cns_json_add_time(item, "revoked_at", hospital->revoked_at);
  if (!r && hospital->reason[0] && !cJSON_AddStringToObject(item, "reason", hospital->reason))
    r = CNS_ERR_MEMORY;
  return r ? r : cns_json_add_hex(item, "tls", hospital->pin.bytes, sizeof hospital->pin.bytes);
}

static int fill_json(cJSON *json, const struct cns_roster *roster) {
  if (!cJSON_AddStringToObject(json, "consortium", roster->consortium) ||
      !cJSON_AddNumberToObject(json, "version", (double)roster->version))
    return CNS_ERR_MEMORY;
  int r = cns_json_add_time(json, "valid_from", roster->valid_from);
  if (!r) r = cns_json_add_time(json, "valid_until", roster->valid_until);
  if (!r) r = add_party(cJSON_AddObjectToObject(json, "authority"), &roster->authority);
  if (!r) r = add_coordinator(json, roster);
  cJSON *officers = cJSON_AddArrayToObject(json, "officers"),
        *hospitals = cJSON_AddArrayToObject(json, "hospitals");
  if (!r && (!officers || !hospitals)) r = CNS_ERR_MEMORY;
  for (size_t i = 0; i < roster->officer_count && !r; i++)
    r = add_party(add_item(officers), &roster->officers[i]);
  for (size_t i = 0; i < roster->hospital_count && !r; i++)
    r = add_hospital(hospitals, &roster->hospitals[i]);
  return r;
}

int cns_roster_to_document(const struct cns_roster *roster, struct cns_document *ret_document) {
  cJSON *json = cJSON_CreateObject();
  if (!json) return CNS_ERR_MEMORY;
  int r = fill_json(json, roster);
  if (!r) r = cns_document_from_json(KIND, json, ret_document);
  cJSON_Delete(json);
  return r;
}

static void format_day(int64_t seconds, char out[static 32]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0) out[0] = '\0';
}

int cns_roster_check_time(const struct cns_roster *roster, int64_t now_seconds, struct cns_problem *problem) {
  char day[32];
  if (now_seconds < roster->valid_from) {
    format_day(roster->valid_from, day);
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the roster is valid only from %s on; check this machine's clock", day);
  }
  if (now_seconds >= roster->valid_until) {
    format_day(roster->valid_until, day);
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the roster was valid until %s; ask the consortium's authority for a new one",
                           day);
  }
  return 0;
}

size_t cns_roster_active_count(const struct cns_roster *roster) {
  size_t count = 0;
  for (size_t i = 0; i < roster->hospital_count; i++)
    if (!roster->hospitals[i].revoked) count++;
  return count;
}

const struct cns_roster_hospital *cns_roster_find(const struct cns_roster *roster, uint16_t index) {
  size_t low = 0, high = roster->hospital_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (roster->hospitals[middle].index == index) return &roster->hospitals[middle];
    if (roster->hospitals[middle].index < index)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

const struct cns_roster_hospital *cns_roster_find_name(const struct cns_roster *roster, const char *name) {
  for (size_t i = 0; i < roster->hospital_count; i++)
    if (strcmp(roster->hospitals[i].name, name) == 0) return &roster->hospitals[i];
  return NULL;
}

const struct cns_roster_hospital *cns_roster_find_identity(const struct cns_roster *roster,
                                                           const struct cns_identity_public *identity) {
  for (size_t i = 0; i < roster->hospital_count; i++)
    if (cns_identity_public_equal(&roster->hospitals[i].identity, identity)) return &roster->hospitals[i];
  return NULL;
}
