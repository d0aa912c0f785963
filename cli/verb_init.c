/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/audit_options.h"
#include "cli/privacy_options.h"

/* Hospitals' names, split from "a,b,c" or counted. */
struct names {
  char *text;
  char **items;
  size_t count;
};

static void names_deinit(struct names *names, bool counted) {
  for (size_t i = 0; counted && names->items && i < names->count; i++)
    free(names->items[i]);
  free(names->items);
  free(names->text);
}

static int split_names(const char *list, struct names *names) {
  size_t count = 1;
  for (const char *p = list; *p; p++)
    count += *p == ',';
  names->text = strdup(list);
  names->items = calloc(count, sizeof *names->items);
  if (!names->text || !names->items) return CNS_ERR_MEMORY;
  for (char *rest = names->text; rest;)
    names->items[names->count++] = strsep(&rest, ",");
  return 0;
}

static int count_names(int64_t count, struct names *names) {
  names->items = calloc((size_t)count, sizeof *names->items);
  if (!names->items) return CNS_ERR_MEMORY;
  for (; names->count < (size_t)count; names->count++)
    if (asprintf(&names->items[names->count], "hospital-%zu", names->count + 1) < 0) return CNS_ERR_MEMORY;
  return 0;
}

static int print_json(const char *folder, const struct cns_federation_options *options,
                      const char *authority) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "folder", folder);
  cJSON_AddStringToObject(json, "authority_key", authority);
  cJSON_AddStringToObject(json, "address", options->address ? options->address : CNS_FEDERATION_ADDRESS);
  cJSON *array = cJSON_AddArrayToObject(json, "hospitals");
  for (size_t i = 0; i < options->name_count; i++) {
    cJSON *item = cJSON_CreateObject();
    char *path = NULL;
    if (asprintf(&path, "%s/hospitals/%s", folder, options->names[i]) < 0) path = NULL;
    cJSON_AddNumberToObject(item, "index", (double)(i + 1));
    cJSON_AddStringToObject(item, "name", options->names[i]);
    cJSON_AddStringToObject(item, "folder", path ? path : "");
    cJSON_AddItemToArray(array, item);
    free(path);
  }
  return cns_cli_print_json(json);
}

static int print_text(const char *folder, const struct cns_federation_options *options,
                      const char *authority) {
  printf("The federation is in %s.\n\n"
         "  authority      %s/authority    keep offline; its key is the one root of trust\n"
         "  officer        %s/officer    signs the policy\n"
         "  coordinator    %s/coordinator    kit\n",
         folder, folder, folder, folder);
  for (size_t i = 0; i < options->name_count; i++)
    printf("  hospital %-4zu  %s/hospitals/%s    kit; its data goes to data.csv\n", i + 1, folder,
           options->names[i]);
  printf("\nThe authority's key, for comparing: %s\n", authority);
  if (options->enrol)
    printf("\nNext: each hospital runs \"consilium kit request\"; then, here, \"consilium kit approve\" for "
           "each,\n"
           "\"consilium policy new\", \"consilium policy sign\" and \"consilium kit issue\".\n");
  else
    printf("\nThe keys of all parties were made here: good for trying out and for one operator. Where "
           "hospitals\n"
           "must keep their keys to themselves, use \"consilium init --enrol\".\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

static int create(const char *folder, const struct cns_federation_options *options, bool json) {
  struct cns_problem problem = {0};
  struct cns_identity_public key;
  char hex[2 * CNS_IDENTITY_BYTES + 1];
  int r = cns_kit_create_federation(folder, options, &key, &problem);
  if (r) return cns_cli_fail(r, &problem);
  cns_hex_encode(key.bytes, sizeof key.bytes, hex);
  return json ? print_json(folder, options, hex) : print_text(folder, options, hex);
}

static int check_and_create(const char *folder, const struct cns_federation_options *options, bool json) {
  struct cns_problem problem = {0};
  if (cns_federation_check_options(options, &problem)) return cns_cli_usage_error("init", "%s", problem.text);
  return create(folder, options, json);
}

int cns_cli_init(int argc, char **argv) {
  struct cns_federation_options options = {.now_seconds = (int64_t)time(NULL)};
  struct cns_audit_call audit = {0};
  struct cns_privacy_call privacy = {0};
  struct names names = {0};
  const char *list = NULL;
  int64_t count = 0;
  bool json = false;
  int operands = 0;
  const struct cns_option table[] = {
      {"study", "FILE", "the study (JSON); signed here by the new authority", CNS_OPTION_TEXT,
       &options.study_path, 0, 0},
      {"hospitals", "A,B,C", "names: a-z 0-9 . _ -", CNS_OPTION_TEXT, &list, 0, 0},
      {"count", "N", "that many hospitals, named hospital-1 to hospital-N", CNS_OPTION_INT, &count,
       CNS_FEDERATION_HOSPITALS_MIN, CNS_HOSPITALS_MAX},
      {"enrol", NULL, "no hospitals yet: each makes its own keys (kit request)", CNS_OPTION_FLAG,
       &options.enrol, 0, 0},
      {"address", "URL", "that hospitals dial (default " CNS_FEDERATION_ADDRESS ")", CNS_OPTION_TEXT,
       &options.address, 0, 0},
      {"listen", "URL", "that the coordinator listens on (default: the address)", CNS_OPTION_TEXT,
       &options.listen, 0, 0},
      {"consortium", "NAME", "its name (default: the study's)", CNS_OPTION_TEXT, &options.consortium, 0, 0},
      CNS_AUDIT_OPTIONS(audit),
      CNS_PRIVACY_OPTIONS(privacy),
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "init DIR --study FILE (--hospitals A,B,C | --count N | --enrol) [OPTION]...",
      "Makes a federation in DIR, which must be new or empty: the authority, a privacy\n"
      "officer, the coordinator's kit and a kit for each hospital, with keys, certificates,\n"
      "roster, policy and study.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!options.study_path) return cns_cli_usage_error("init", "--study FILE is missing");
  if ((list != NULL) + (count > 0) + options.enrol != 1)
    return cns_cli_usage_error("init", "give exactly one of --hospitals, --count and --enrol");
  r = cns_cli_parse_audit("init", &audit, &options.audit);
  if (!r) r = cns_cli_parse_privacy("init", &privacy, &options.privacy);
  if (r) return r;
  if (options.enrol && (audit.level || privacy.epsilon > 0))
    return cns_cli_usage_error("init", "with --enrol the policy comes later: consilium policy new");
  if (list) r = split_names(list, &names);
  if (count > 0) r = count_names(count, &names);
  options.names = (const char *const *)names.items;
  options.name_count = names.count;
  int code = r ? cns_cli_fail(r, NULL) : check_and_create(argv[1], &options, json);
  names_deinit(&names, count > 0);
  return code;
}
