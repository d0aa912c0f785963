/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/folder.h"
#include "cli/model_call.h"
#include "cli/models.h"

/* A model file, and the digest by which a study file names it. */
struct shown {
  const struct cns_safetensors *file;
  char digest[CNS_DIGEST_CHARS];
  size_t parameters;
};

static cJSON *shape_json(const struct cns_safetensors_tensor *tensor) {
  cJSON *array = cJSON_CreateArray();
  for (size_t i = 0; i < tensor->shape_count; i++)
    cJSON_AddItemToArray(array, cJSON_CreateNumber((double)tensor->shape[i]));
  return array;
}

static int show_json(const struct shown *shown) {
  cJSON *json = cJSON_CreateObject();
  cJSON_AddStringToObject(json, "digest", shown->digest);
  cJSON_AddNumberToObject(json, "parameters", (double)shown->parameters);
  cJSON *metadata = cJSON_AddObjectToObject(json, "metadata");
  cJSON *tensors = cJSON_AddArrayToObject(json, "tensors");
  for (size_t i = 0; i < cns_safetensors_metadata_count(shown->file); i++) {
    struct cns_safetensors_pair pair = cns_safetensors_metadata_at(shown->file, i);
    cJSON_AddStringToObject(metadata, pair.key, pair.value);
  }
  for (size_t i = 0; i < cns_safetensors_count(shown->file); i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_get(shown->file, i);
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "name", tensor->name);
    cJSON_AddStringToObject(one, "dtype", cns_dtype_name(tensor->dtype));
    cJSON_AddItemToObject(one, "shape", shape_json(tensor));
    cJSON_AddNumberToObject(one, "count", (double)tensor->count);
    cJSON_AddItemToArray(tensors, one);
  }
  return cns_cli_print_json(json);
}

/* What a study file says of a model that Consilium can't compute with itself. */
static int show_study(const struct shown *shown, const char *path) {
  const char *slash = strrchr(path, '/');
  cJSON *json = cJSON_CreateObject();
  cJSON *model = cJSON_AddObjectToObject(json, "model");
  cJSON_AddStringToObject(model, "kind", "external");
  cJSON *tensors = cJSON_AddObjectToObject(model, "tensors");
  for (size_t i = 0; i < cns_safetensors_count(shown->file); i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_get(shown->file, i);
    cJSON_AddItemToObject(tensors, tensor->name, shape_json(tensor));
  }
  cJSON *initial = cJSON_AddObjectToObject(json, "initial_model");
  cJSON_AddStringToObject(initial, "file", slash ? slash + 1 : path);
  cJSON_AddStringToObject(initial, "digest", shown->digest);
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

static int show_text(const struct shown *shown) {
  for (size_t i = 0; i < cns_safetensors_metadata_count(shown->file); i++) {
    struct cns_safetensors_pair pair = cns_safetensors_metadata_at(shown->file, i);
    print_clean(pair.key);
    printf(": ");
    print_clean(pair.value);
    printf("\n");
  }
  for (size_t i = 0; i < cns_safetensors_count(shown->file); i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_get(shown->file, i);
    printf("  ");
    print_clean(tensor->name);
    printf(" %s [", cns_dtype_name(tensor->dtype));
    for (size_t k = 0; k < tensor->shape_count; k++)
      printf("%s%" PRIu64, k ? ", " : "", tensor->shape[k]);
    printf("]\n");
  }
  printf("%zu tensors, %zu parameters\nb2sum -l 256: %s\n", cns_safetensors_count(shown->file),
         shown->parameters, shown->digest);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int show_file(const char *path, const struct cns_safetensors *file, bool json, bool study) {
  struct shown shown = {.file = file};
  struct cns_problem problem = {0};
  uint8_t digest[CNS_DIGEST_BYTES];
  int r = cns_copy_file(path, NULL, digest, &problem);
  if (r) return cns_cli_fail(r, &problem);
  cns_hex_encode(digest, sizeof digest, shown.digest);
  for (size_t i = 0; i < cns_safetensors_count(file); i++)
    shown.parameters += cns_safetensors_get(file, i)->count;
  if (study) return show_study(&shown, path);
  return json ? show_json(&shown) : show_text(&shown);
}

int cns_model_show(int argc, char **argv) {
  bool json = false, study = false;
  const struct cns_option table[] = {
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &json, 0, 0},
      {"study", NULL, "print what a study file says of such a model", CNS_OPTION_FLAG, &study, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model show FILE [--json | --study]",
      "Prints the tensors and the metadata of a safetensors file, and its digest, as a study file\n"
      "names it and b2sum -l 256 prints it. Numbers that are not finite, or not those whose digest\n"
      "the metadata give, are refused. --study: \"model\" and \"initial_model\" of a study file that\n"
      "begins with this model, trained by the hospitals' own commands (docs/trainers.md).",
      table, 1, 1};
  struct cns_problem problem = {0};
  struct cns_safetensors *file = NULL;
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  r = cns_safetensors_open(argv[1], &file, &problem);
  if (r) return cns_cli_fail(r, &problem);
  r = cns_models_check_file(file, argv[1], &problem);
  int code = r ? cns_cli_fail(r, &problem) : show_file(argv[1], file, json, study);
  cns_safetensors_free(file);
  return code;
}
