/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/models.h"
#include "cli/predict.h"
#include "model/safetensors.h"

#define DIGEST_CHARS (2 * CNS_DIGEST_BYTES + 1)

static void hex(const struct cns_digest *digest, char out[static DIGEST_CHARS]) {
  cns_hex_encode(digest->bytes, sizeof digest->bytes, out);
}

/* ---- export ---- */

#define PAIRS_MAX 8

struct labels {
  struct cns_safetensors_pair pairs[PAIRS_MAX];
  size_t count;
  char round[24], version[24];
  char digest[DIGEST_CHARS], plan[DIGEST_CHARS], study[DIGEST_CHARS];
};

static void add_label(struct labels *labels, const char *key, const char *value) {
  labels->pairs[labels->count++] = (struct cns_safetensors_pair){key, value};
}

/* Where the file comes from, in the file itself. */
static void make_labels(const struct cns_models *models, const struct cns_models_version *version,
                        struct labels *labels) {
  *labels = (struct labels){0};
  snprintf(labels->round, sizeof labels->round, "%" PRIu64, version->round);
  hex(&version->digest, labels->digest);
  add_label(labels, "format", "consilium");
  add_label(labels, "round", labels->round);
  add_label(labels, "model_digest", labels->digest);
  if (!models->has_kit) return;
  snprintf(labels->version, sizeof labels->version, "%" PRIu64, models->plan.version);
  hex(&models->kit.study_document.digest, labels->plan);
  add_label(labels, "consortium", models->kit.roster.consortium);
  add_label(labels, "study", models->plan.name);
  add_label(labels, "study_version", labels->version);
  add_label(labels, "study_digest", labels->plan);
}

static int write_file(const struct cns_models_version *version, const struct labels *labels, const char *out,
                      struct cns_problem *problem) {
  struct cns_safetensors *file = NULL;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_safetensors_parse(version->bytes, version->len, "the model kept", &file, problem);
  if (r) return r;
  size_t count = cns_safetensors_count(file);
  struct cns_safetensors_tensor *tensors = calloc(count ? count : 1, sizeof *tensors);
  if (!tensors) r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  for (size_t i = 0; !r && i < count; i++)
    tensors[i] = *cns_safetensors_get(file, i);
  if (!r) r = cns_safetensors_serialize(tensors, count, labels->pairs, labels->count, &data, &len, problem);
  if (!r) r = cns_file_write(out, data, len, 0644, problem);
  free(data);
  free(tensors);
  cns_safetensors_free(file);
  return r;
}

static int say_exported(const struct cns_models *models, const struct cns_models_version *version,
                        const char *out, bool json) {
  char digest[DIGEST_CHARS];
  bool verified = version->has_manifest || (models->has_kit && version->round == 0);
  hex(&version->digest, digest);
  if (json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "file", out);
    if (models->has_kit) cJSON_AddStringToObject(object, "study", models->plan.name);
    cJSON_AddNumberToObject(object, "round", (double)version->round);
    cJSON_AddStringToObject(object, "model_digest", digest);
    cJSON_AddBoolToObject(object, "verified", verified);
    return cns_cli_print_json(object);
  }
  FILE *say = cns_cli_beside(out);
  fprintf(say, "%s: the model after round %" PRIu64 "%s%s\n  digest %s\n", out, version->round,
          models->has_kit ? " of " : "", models->has_kit ? models->plan.name : "", digest);
  if (!verified)
    fprintf(say, "  Without the kit nobody's signature could be checked, only that the file is whole.\n");
  else if (version->round > 0)
    fprintf(say, "  The coordinator's signature on this round is good.\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

static int export_model(int argc, char **argv) {
  const char *out = NULL;
  int64_t round = -1;
  bool json = false;
  const struct cns_option table[] = {
      {"out", "FILE", "write the model there (safetensors)", CNS_OPTION_TEXT, &out, 0, 0},
      {"round", "R", "the model after this round, 0 the initial one (the latest)", CNS_OPTION_INT, &round, 0,
       1e9},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model export KIT --out FILE [--round R] [--json]",
      "Copies a model out of a coordinator's or a hospital's kit, also while it runs, after\n"
      "checking that the coordinator signed it. The file says in its metadata which study and\n"
      "round it is of. The state folder alone will do too, without that check. The models of the\n"
      "last ten rounds are kept.",
      table, 1, 1};
  struct cns_problem problem = {0};
  struct cns_models models;
  struct cns_models_version version;
  struct labels labels;
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!out) return cns_cli_usage_error("model export", "--out FILE is missing");
  r = cns_models_open(argv[1], &models, &problem);
  if (r) return cns_cli_fail(r, &problem);
  r = cns_models_get(&models, round < 0 ? CNS_MODELS_LATEST : (uint64_t)round, &version, &problem);
  if (!r) {
    make_labels(&models, &version, &labels);
    r = write_file(&version, &labels, out, &problem);
    if (!r)
      r = say_exported(&models, &version, out, json);
    else
      r = cns_cli_fail(r, &problem);
    cns_models_version_deinit(&version);
  } else {
    r = cns_cli_fail(r, &problem);
  }
  cns_models_deinit(&models);
  return r;
}

/* ---- show ---- */

static cJSON *shape_json(const struct cns_safetensors_tensor *tensor) {
  cJSON *array = cJSON_CreateArray();
  for (size_t i = 0; i < tensor->shape_count; i++)
    cJSON_AddItemToArray(array, cJSON_CreateNumber((double)tensor->shape[i]));
  return array;
}

static int show_json(const struct cns_safetensors *file) {
  cJSON *json = cJSON_CreateObject();
  cJSON *metadata = cJSON_AddObjectToObject(json, "metadata");
  cJSON *tensors = cJSON_AddArrayToObject(json, "tensors");
  for (size_t i = 0; i < cns_safetensors_metadata_count(file); i++) {
    struct cns_safetensors_pair pair = cns_safetensors_metadata_at(file, i);
    cJSON_AddStringToObject(metadata, pair.key, pair.value);
  }
  for (size_t i = 0; i < cns_safetensors_count(file); i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_get(file, i);
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "name", tensor->name);
    cJSON_AddItemToObject(one, "shape", shape_json(tensor));
    cJSON_AddNumberToObject(one, "count", (double)tensor->count);
    cJSON_AddItemToArray(tensors, one);
  }
  return cns_cli_print_json(json);
}

/* The file may come from anywhere: nothing in it may steer a terminal. */
static void print_clean(const char *text) {
  char *copy = strdup(text);
  if (!copy) return;
  cns_text_clean(copy);
  fputs(copy, stdout);
  free(copy);
}

static int show_text(const struct cns_safetensors *file) {
  size_t parameters = 0;
  for (size_t i = 0; i < cns_safetensors_metadata_count(file); i++) {
    struct cns_safetensors_pair pair = cns_safetensors_metadata_at(file, i);
    print_clean(pair.key);
    printf(": ");
    print_clean(pair.value);
    printf("\n");
  }
  for (size_t i = 0; i < cns_safetensors_count(file); i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_get(file, i);
    printf("  ");
    print_clean(tensor->name);
    printf(" F32 [");
    for (size_t k = 0; k < tensor->shape_count; k++)
      printf("%s%" PRIu64, k ? ", " : "", tensor->shape[k]);
    printf("]\n");
    parameters += tensor->count;
  }
  printf("%zu tensors, %zu parameters\n", cns_safetensors_count(file), parameters);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int show(int argc, char **argv) {
  bool json = false;
  const struct cns_option table[] = {{"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model show FILE [--json]",
      "Prints the tensors and the metadata of a safetensors file. Numbers that are not finite, or\n"
      "not those whose digest the metadata give, are refused.",
      table, 1, 1};
  struct cns_problem problem = {0};
  struct cns_safetensors *file = NULL;
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = cns_safetensors_open(argv[1], &file, &problem);
  if (r) return cns_cli_fail(r, &problem);
  r = cns_models_check_file(file, argv[1], &problem);
  int code = r ? cns_cli_fail(r, &problem) : json ? show_json(file) : show_text(file);
  cns_safetensors_free(file);
  return code;
}

/* ---- predict ---- */

static int predict(int argc, char **argv) {
  struct cns_predict_options options = {0};
  const struct cns_option table[] = {
      {"model", "FILE", "the model (consilium model export)", CNS_OPTION_TEXT, &options.model, 0, 0},
      {"study", "FILE", "its study file, signed or not", CNS_OPTION_TEXT, &options.study, 0, 0},
      {"data", "FILE", "the table, CSV", CNS_OPTION_TEXT, &options.data, 0, 0},
      {"out", "FILE", "write the probabilities there, readable by you only", CNS_OPTION_TEXT, &options.out, 0,
       0},
      {"evaluate", NULL, "the table has labels: print loss and AUC", CNS_OPTION_FLAG, &options.evaluate, 0,
       0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &options.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model predict --model FILE --study FILE --data FILE [OPTION]...",
      "Prints, for each data row of a table, its number (from 1) and the probability of each class.\n"
      "Patient identifiers are never printed. Rows without a value that the study needs are left\n"
      "out, and counted. With --evaluate the probabilities are only written to --out.",
      table, 0, 0};
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!options.model) return cns_cli_usage_error("model predict", "--model FILE is missing");
  if (!options.study) return cns_cli_usage_error("model predict", "--study FILE is missing");
  if (!options.data) return cns_cli_usage_error("model predict", "--data FILE is missing");
  return cns_predict_run(&options);
}

int cns_cli_model(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"export", "copy a model out of a kit", export_model},
      {"predict", "class probabilities for the rows of a table; loss and AUC", predict},
      {"show", "print a model file's tensors and metadata", show},
      {NULL, NULL, NULL},
  };
  return cns_cli_dispatch("consilium model", "Models that a federation has trained.", verbs, argc, argv);
}
