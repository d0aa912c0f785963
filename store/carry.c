/* SPDX-License-Identifier: Apache-2.0 */
#include "store/carry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND "charges"
#define ROLE "coordinator"

/* ---- from the coordinator's ledger ---- */

struct collecting {
  const struct cns_digest *study;
  struct cns_carry *carry;
  size_t capacity;
};

static int add(struct collecting *c, const struct cns_ledger_entry *entry) {
  struct cns_carry *carry = c->carry;
  if (carry->count == CNS_CARRY_ROUNDS_MAX) return CNS_ERR_LIMIT;
  if (carry->count == c->capacity) {
    size_t capacity = c->capacity ? 2 * c->capacity : 64;
    struct cns_carried_round *rounds = realloc(carry->rounds, capacity * sizeof *rounds);
    if (!rounds) return CNS_ERR_MEMORY;
    carry->rounds = rounds;
    c->capacity = capacity;
  }
  carry->rounds[carry->count++] = (struct cns_carried_round){.round = entry->round, .time = entry->time};
  return 0;
}

/* What follows an entry mostly follows soon. */
static int take_entry(void *context, const struct cns_ledger_entry *entry) {
  struct collecting *c = context;
  struct cns_carry *carry = c->carry;
  if (c->study && !cns_digest_equal(&entry->round.study, c->study)) return 0;
  if (entry->kind == CNS_LEDGER_RESERVED) return add(c, entry);
  size_t k = carry->count;
  while (k > 0 && !cns_digest_equal(&carry->rounds[k - 1].round.descriptor, &entry->round.descriptor))
    k--;
  if (k == 0) return CNS_ERR_FORMAT;
  if (entry->kind == CNS_LEDGER_CANCELLED) carry->rounds[k - 1].refunded = CNS_LEDGER_EVERYONE;
  if (entry->kind == CNS_LEDGER_REFUNDED) carry->rounds[k - 1].refunded |= entry->observers;
  return 0;
}

int cns_carry_collect(struct cns_ledger *ledger, const struct cns_digest *study, struct cns_carry *carry,
                      struct cns_problem *problem) {
  struct collecting collecting = {.study = study, .carry = carry};
  size_t kept = 0;
  int r = cns_ledger_entries(ledger, 1, take_entry, &collecting, problem);
  if (r == CNS_ERR_LIMIT)
    return cns_problem_set(problem, r, "the ledger has more than %d attempts, too many to be carried over",
                           CNS_CARRY_ROUNDS_MAX);
  if (r) return r;
  for (size_t k = 0; k < carry->count; k++)
    if (carry->rounds[k].refunded != CNS_LEDGER_EVERYONE || (study && k + 1 == carry->count))
      carry->rounds[kept++] = carry->rounds[k];
  carry->count = kept;
  return 0;
}

/* ---- the document ---- */

static int add_cost(cJSON *item, const char *name, const struct cns_budget_cost *cost) {
  cJSON *object = cJSON_AddObjectToObject(item, name);
  return object && cJSON_AddNumberToObject(object, "noise_multiplier", cost->noise_multiplier) &&
                 cJSON_AddNumberToObject(object, "sampling_rate", cost->sampling_rate) &&
                 cJSON_AddNumberToObject(object, "rounds", (double)cost->rounds) &&
                 cJSON_AddNumberToObject(object, "extra_delta", cost->extra_delta)
             ? 0
             : CNS_ERR_MEMORY;
}

static int add_round(cJSON *array, const struct cns_carried_round *carried) {
  const struct cns_ledger_round *round = &carried->round;
  cJSON *item = cJSON_CreateObject();
  if (!item || !cJSON_AddItemToArray(array, item)) {
    cJSON_Delete(item);
    return CNS_ERR_MEMORY;
  }
  if (!cJSON_AddNumberToObject(item, "round", (double)round->round) ||
      !cJSON_AddNumberToObject(item, "attempt", round->attempt) ||
      !cJSON_AddNumberToObject(item, "refunded", carried->refunded))
    return CNS_ERR_MEMORY;
  int r = cns_json_add_hex(item, "descriptor", round->descriptor.bytes, sizeof round->descriptor.bytes);
  if (!r) r = cns_json_add_time(item, "time", carried->time);
  if (!r) r = add_cost(item, "readers", &round->costs[CNS_LEDGER_READERS]);
  return r ? r : add_cost(item, "coordinator", &round->costs[CNS_LEDGER_COORDINATOR]);
}

static int fill(cJSON *json, const struct cns_carry *carry) {
  uint8_t head[CNS_LEDGER_HEAD_BYTES];
  if (!json || !cJSON_AddStringToObject(json, "consortium", carry->consortium) ||
      !cJSON_AddStringToObject(json, "study", carry->study) ||
      !cJSON_AddNumberToObject(json, "hospital", carry->index) ||
      !cJSON_AddStringToObject(json, "name", carry->name))
    return CNS_ERR_MEMORY;
  int r = cns_json_add_hex(json, "identity", carry->identity.bytes, sizeof carry->identity.bytes);
  if (!r) r = cns_json_add_time(json, "issued_at", carry->issued_at);
  if (!r && carry->has_head) r = cns_ledger_head_encode(&carry->head, head);
  if (!r && carry->has_head) r = cns_json_add_hex(json, "head", head, sizeof head);
  if (!r && !carry->has_head && !cJSON_AddStringToObject(json, "head", "")) r = CNS_ERR_MEMORY;
  cJSON *array = cJSON_AddArrayToObject(json, "rounds");
  if (!r && !array) r = CNS_ERR_MEMORY;
  for (size_t k = 0; k < carry->count && !r; k++)
    r = add_round(array, &carry->rounds[k]);
  return r;
}

int cns_carry_issue(const struct cns_carry *carry, const struct cns_identity *coordinator, uint8_t **ret_data,
                    size_t *ret_len, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  cJSON *json = cJSON_CreateObject();
  int r = fill(json, carry);
  if (r)
    cJSON_Delete(json);
  else
    r = cns_document_issue(KIND, json, ROLE, coordinator, &data, &len);
  if (!r && len > CNS_JSON_BYTES_MAX) r = CNS_ERR_LIMIT;
  if (!r) {
    *ret_data = data;
    *ret_len = len;
    return 0;
  }
  free(data);
  if (r == CNS_ERR_LIMIT)
    return cns_problem_set(
        problem, r,
        "%zu attempts are too many for one statement of charges, which may have %u bytes: "
        "the hospital goes by the other way of docs/operating.md, \"A ledger that is lost\"",
        carry->count, CNS_JSON_BYTES_MAX);
  return cns_problem_set(problem, r, "the statement of charges can't be made (%s)", cns_error_name(r));
}

static int read_cost(const cJSON *item, const char *path, const char *name, struct cns_budget_cost *cost,
                     struct cns_problem *problem) {
  static const char *const fields[] = {"noise_multiplier", "sampling_rate", "rounds", "extra_delta", NULL};
  const cJSON *object = NULL;
  int64_t rounds = 0;
  int r = cns_json_get_object(item, path, name, &object, problem);
  if (!r) r = cns_json_only(object, name, fields, problem);
  if (!r) r = cns_json_get_number(object, name, "noise_multiplier", 0, 1e9, &cost->noise_multiplier, problem);
  if (!r) r = cns_json_get_number(object, name, "sampling_rate", 0, 1, &cost->sampling_rate, problem);
  if (!r) r = cns_json_get_int(object, name, "rounds", 1, INT64_C(1) << 40, &rounds, problem);
  if (!r) r = cns_json_get_number(object, name, "extra_delta", 0, 1, &cost->extra_delta, problem);
  cost->rounds = (uint64_t)rounds;
  return r ? r : cns_budget_check_cost(cost, problem);
}

static int read_round(const cJSON *item, const char *path, struct cns_carried_round *carried,
                      struct cns_problem *problem) {
  static const char *const fields[] = {"round", "attempt", "refunded",    "descriptor",
                                       "time",  "readers", "coordinator", NULL};
  struct cns_ledger_round *round = &carried->round;
  int64_t number = 0, attempt = 0, refunded = 0;
  int r = cns_json_only(item, path, fields, problem);
  if (!r) r = cns_json_get_int(item, path, "round", 1, INT64_C(1) << 53, &number, problem);
  if (!r) r = cns_json_get_int(item, path, "attempt", 1, UINT32_MAX, &attempt, problem);
  if (!r) r = cns_json_get_int(item, path, "refunded", 0, CNS_LEDGER_EVERYONE, &refunded, problem);
  if (!r) r = cns_json_get_hex(item, path, "descriptor", CNS_DIGEST_BYTES, round->descriptor.bytes, problem);
  if (!r) r = cns_json_get_time(item, path, "time", &carried->time, problem);
  if (!r) r = read_cost(item, path, "readers", &round->costs[CNS_LEDGER_READERS], problem);
  if (!r) r = read_cost(item, path, "coordinator", &round->costs[CNS_LEDGER_COORDINATOR], problem);
  round->round = (uint64_t)number;
  round->attempt = (uint32_t)attempt;
  carried->refunded = (uint8_t)refunded;
  return r;
}

static int read_rounds(const cJSON *json, struct cns_carry *carry, struct cns_problem *problem) {
  const cJSON *array = NULL;
  int r = cns_json_get_array(json, "", "rounds", &array, problem);
  if (r) return r;
  int count = cJSON_GetArraySize(array);
  if (count > CNS_CARRY_ROUNDS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "rounds has %d entries, and may have %d", count,
                           CNS_CARRY_ROUNDS_MAX);
  carry->rounds = calloc(count ? (size_t)count : 1, sizeof *carry->rounds);
  if (!carry->rounds) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (const cJSON *item = array->child; item && !r; item = item->next) {
    struct cns_carried_round *carried = &carry->rounds[carry->count];
    char path[32];
    snprintf(path, sizeof path, "rounds[%zu]", carry->count++);
    memcpy(carried->round.study_name, carry->study, sizeof carry->study);
    r = read_round(item, path, carried, problem);
  }
  return r;
}

static int read_head(const cJSON *json, struct cns_carry *carry, struct cns_problem *problem) {
  const char *text = NULL;
  uint8_t bytes[CNS_LEDGER_HEAD_BYTES];
  int r = cns_json_get_string(json, "", "head", 2 * CNS_LEDGER_HEAD_BYTES, &text, problem);
  if (r || !*text) return r;
  r = cns_json_get_hex(json, "", "head", sizeof bytes, bytes, problem);
  if (!r) r = cns_ledger_head_decode(bytes, sizeof bytes, &carry->head);
  if (!r) r = cns_ledger_head_verify(&carry->head, &carry->head.owner);
  if (r)
    return cns_problem_set(problem, CNS_ERR_SIGNATURE, "the lost ledger's head isn't signed by its owner");
  carry->has_head = true;
  return 0;
}

static int read_carry(const cJSON *json, struct cns_carry *carry, struct cns_problem *problem) {
  static const char *const fields[] = {"consortium", "study", "hospital", "name", "identity",
                                       "issued_at",  "head",  "rounds",   NULL};
  const char *consortium = NULL, *study = NULL, *name = NULL;
  int64_t index = 0;
  int r = cns_json_only(json, "", fields, problem);
  if (!r) r = cns_json_get_string(json, "", "consortium", CNS_NAME_MAX, &consortium, problem);
  if (!r) r = cns_json_get_string(json, "", "study", CNS_NAME_MAX, &study, problem);
  if (!r) r = cns_json_get_int(json, "", "hospital", 1, CNS_HOSPITALS_MAX, &index, problem);
  if (!r) r = cns_json_get_string(json, "", "name", CNS_NAME_MAX, &name, problem);
  if (!r) r = cns_json_get_hex(json, "", "identity", CNS_IDENTITY_BYTES, carry->identity.bytes, problem);
  if (!r) r = cns_json_get_time(json, "", "issued_at", &carry->issued_at, problem);
  if (!r) r = read_head(json, carry, problem);
  if (r) return r;
  snprintf(carry->consortium, sizeof carry->consortium, "%s", consortium);
  snprintf(carry->study, sizeof carry->study, "%s", study);
  snprintf(carry->name, sizeof carry->name, "%s", name);
  carry->index = (uint16_t)index;
  return read_rounds(json, carry, problem);
}

int cns_carry_open(const uint8_t *data, size_t len, const char *where,
                   const struct cns_identity_public *coordinator, struct cns_carry *ret_carry,
                   struct cns_problem *problem) {
  struct cns_document document;
  struct cns_carry carry = {0};
  cJSON *json = NULL;
  int r = cns_document_parse(KIND, data, len, where, &document, problem);
  if (r) return r;
  r = cns_document_verify(KIND, &document, ROLE, coordinator, problem);
  if (!r) r = cns_json_parse(document.payload, document.payload_len, where, &json, problem);
  if (!r) r = read_carry(json, &carry, problem);
  cJSON_Delete(json);
  carry.digest = document.digest;
  cns_document_deinit(&document);
  if (r) {
    cns_carry_deinit(&carry);
    return cns_problem_prefix(problem, r, "%s", where);
  }
  *ret_carry = carry;
  return 0;
}

void cns_carry_deinit(struct cns_carry *carry) {
  free(carry->rounds);
  *carry = (struct cns_carry){0};
}

/* ---- what it allows, at the coordinator ---- */

uint64_t cns_carry_entries(const struct cns_carry *carry) {
  return 2 * (uint64_t)carry->count;
}

void cns_carry_last(const struct cns_carry *carry, uint64_t *ret_round, uint32_t *ret_attempt) {
  *ret_round = 0;
  *ret_attempt = 0;
  for (size_t k = 0; k < carry->count; k++) {
    const struct cns_ledger_round *round = &carry->rounds[k].round;
    if (round->round < *ret_round || (round->round == *ret_round && round->attempt < *ret_attempt)) continue;
    *ret_round = round->round;
    *ret_attempt = round->attempt;
  }
}

static bool head_equal(const struct cns_ledger_head *a, const struct cns_ledger_head *b) {
  return cns_identity_public_equal(&a->owner, &b->owner) && cns_digest_equal(&a->subject, &b->subject) &&
         a->sequence == b->sequence && cns_digest_equal(&a->digest, &b->digest);
}

int cns_carry_allows(const struct cns_carry *carry, const struct cns_ledger_head *kept,
                     const struct cns_ledger_head *head, struct cns_problem *problem) {
  if (!carry->has_head || !head_equal(&carry->head, kept))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the statement of charges is of another ledger, or the one that was said to be "
                           "lost was shown again since: make a new one (consilium budget carry)");
  if (cns_identity_public_equal(&head->owner, &kept->owner) ||
      !cns_digest_equal(&head->subject, &kept->subject))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "a ledger in a lost one's place needs an owner's key of its own");
  if (head->sequence < cns_carry_entries(carry))
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "its new privacy ledger has %llu entries, and the statement of charges makes %llu: "
        "there, consilium budget take",
        (unsigned long long)head->sequence, (unsigned long long)cns_carry_entries(carry));
  return 0;
}
