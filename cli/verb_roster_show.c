/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/verb_roster.h"
#include "protocol/expiry.h"
#include "store/kit.h"

static void format_day(int64_t seconds, char out[static 16]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 16, "%Y-%m-%d", &tm) == 0) out[0] = '\0';
}

/* The folder that `init` makes has the authority's in it. */
static int load_folder(const char *path, struct cns_roster *ret_roster, struct cns_problem *problem) {
  char *own = cns_kit_path(path, "roster.json"), *inside = cns_kit_path(path, "authority");
  struct stat info;
  int r = own && inside ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r)
    r = cns_kit_roster_newest(stat(own, &info) != 0 && stat(inside, &info) == 0 ? inside : path, ret_roster,
                              problem);
  free(own);
  free(inside);
  return r;
}

static int load(const char *path, const char *key_path, bool *ret_verified, struct cns_roster *ret_roster,
                struct cns_problem *problem) {
  struct cns_identity_public key;
  struct stat info;
  uint8_t *data = NULL;
  size_t len = 0;
  *ret_verified = true;
  if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return load_folder(path, ret_roster, problem);
  *ret_verified = key_path != NULL;
  int r = key_path ? cns_kit_authority_read(key_path, &key, problem) : 0;
  if (!r) r = cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem);
  if (!r) r = cns_roster_open(data, len, path, key_path ? &key : NULL, ret_roster, problem);
  free(data);
  return r;
}

static int add_hospital(cJSON *array, const struct cns_roster_hospital *hospital, int64_t now) {
  cJSON *item = cJSON_CreateObject();
  cJSON_AddItemToArray(array, item);
  cJSON_AddNumberToObject(item, "index", hospital->index);
  cJSON_AddStringToObject(item, "name", hospital->name);
  int r = cns_json_add_hex(item, "identity", hospital->identity.bytes, sizeof hospital->identity.bytes);
  if (!r) r = cns_json_add_hex(item, "tls", hospital->pin.bytes, sizeof hospital->pin.bytes);
  if (!r && hospital->pin_until) {
    r = cns_json_add_time(item, "tls_until", hospital->pin_until);
    cJSON_AddNumberToObject(item, "tls_days_left", (double)cns_days_left(hospital->pin_until, now));
  }
  cJSON_AddBoolToObject(item, "revoked", hospital->revoked);
  if (!r && hospital->revoked_at) r = cns_json_add_time(item, "revoked_at", hospital->revoked_at);
  if (hospital->reason[0]) cJSON_AddStringToObject(item, "reason", hospital->reason);
  return r;
}

static int print_json(const struct cns_roster *roster, bool verified, int64_t now) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "consortium", roster->consortium);
  cJSON_AddNumberToObject(json, "version", (double)roster->version);
  int r = cns_json_add_hex(json, "digest", roster->digest.bytes, sizeof roster->digest.bytes);
  cJSON_AddBoolToObject(json, "verified", verified);
  if (!r) r = cns_json_add_time(json, "valid_from", roster->valid_from);
  if (!r) r = cns_json_add_time(json, "valid_until", roster->valid_until);
  cJSON_AddNumberToObject(json, "days_left", (double)cns_days_left(roster->valid_until, now));
  if (!r)
    r = cns_json_add_hex(json, "authority_key", roster->authority.identity.bytes,
                         sizeof roster->authority.identity.bytes);
  cJSON_AddStringToObject(json, "address", roster->address);
  cJSON_AddNumberToObject(json, "active", (double)cns_roster_active_count(roster));
  cJSON *array = cJSON_AddArrayToObject(json, "hospitals");
  for (size_t k = 0; k < roster->hospital_count && !r; k++)
    r = add_hospital(array, &roster->hospitals[k], now);
  if (!r) return cns_cli_print_json(json);
  cJSON_Delete(json);
  return cns_cli_fail(r, NULL);
}

static void print_hospital(const struct cns_roster_hospital *hospital, int64_t now) {
  char key[2 * 8 + 1], pin[2 * 8 + 1], day[16];
  cns_hex_encode(hospital->identity.bytes, 8, key);
  cns_hex_encode(hospital->pin.bytes, 8, pin);
  printf("  %4u  %-32s  key %s  tls %s", hospital->index, hospital->name, key, pin);
  if (hospital->revoked) {
    printf("  REVOKED");
    if (hospital->revoked_at) {
      format_day(hospital->revoked_at, day);
      printf(" %s", day);
    }
    if (hospital->reason[0]) printf(": %s", hospital->reason);
  } else if (hospital->pin_until) {
    format_day(hospital->pin_until, day);
    printf("  certificate until %s, %" PRId64 " days left", day, cns_days_left(hospital->pin_until, now));
  }
  printf("\n");
}

static int print_text(const struct cns_roster *roster, bool verified, int64_t now) {
  char key[2 * CNS_IDENTITY_BYTES + 1], until[16];
  cns_hex_encode(roster->authority.identity.bytes, sizeof roster->authority.identity.bytes, key);
  format_day(roster->valid_until, until);
  printf("Roster of \"%s\", version %" PRIu64 ": %zu hospitals, %zu of them revoked\n", roster->consortium,
         roster->version, roster->hospital_count, roster->hospital_count - cns_roster_active_count(roster));
  printf("  valid until %s, %" PRId64 " days left\n  authority   %s%s\n  coordinator %s at %s\n", until,
         cns_days_left(roster->valid_until, now), key,
         verified ? "" : " (as the file says: compare it, or give --authority-key-file)",
         roster->coordinator.name, roster->address);
  for (size_t k = 0; k < roster->hospital_count; k++)
    print_hospital(&roster->hospitals[k], now);
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_roster_show(int argc, char **argv) {
  struct cns_problem problem = {0};
  struct cns_roster roster = {0};
  const char *key_path = NULL;
  bool json = false, verified = false;
  int operands = 0;
  int64_t now = (int64_t)time(NULL);
  const struct cns_option table[] = {{"authority-key-file", "FILE",
                                      "authority.pub, to check a roster's file against", CNS_OPTION_TEXT,
                                      &key_path, 0, 0},
                                     {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "roster show DIR|FILE [--authority-key-file FILE] [--json]",
      "Who is in the roster of a kit or of the authority's folder, or in a roster's file: indexes,\n"
      "fingerprints (the first 16 digits), how long all is valid, who was revoked, when and why.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = load(argv[1], key_path, &verified, &roster, &problem);
  if (r) return cns_cli_fail(r, &problem);
  int code = json ? print_json(&roster, verified, now) : print_text(&roster, verified, now);
  cns_roster_deinit(&roster);
  return code;
}
