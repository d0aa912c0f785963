/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/folder.h"
#include "cli/models.h"
#include "model/modelfile.h"
#include "store/kit.h"

#define KIND "study"

static int parse_plain(const char *text, size_t len, const char *path, struct cns_document *ret_document,
                       struct cns_problem *problem) {
  cJSON *json = NULL;
  int r = cns_json_parse(text, len, path, &json, problem);
  if (r) return r;
  r = cns_document_from_json(KIND, json, ret_document);
  cJSON_Delete(json);
  return r ? cns_problem_set(problem, r, "%s: can't be written in canonical form", path) : 0;
}

static int read_document(const char *path, struct cns_document *ret_document, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_PLAN_BYTES_MAX, &data, &len, problem);
  if (r) return r;
  if (strstr((const char *)data, "\n-- consilium signature "))
    r = cns_document_parse(KIND, data, len, path, ret_document, problem);
  else
    r = parse_plain((const char *)data, len, path, ret_document, problem);
  free(data);
  return r;
}

/* Every daemon reads it so later; better to know before anything is signed. */
static int check_initial(const struct cns_study *study, struct cns_problem *problem) {
  struct cns_safetensors *file = NULL;
  float *params = calloc(study->plan.dim, sizeof *params);
  if (!params) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  int r = cns_safetensors_open(study->initial_path, &file, problem);
  if (!r) r = cns_models_check_file(file, study->initial_path, problem);
  cns_safetensors_free(file);
  if (!r) r = cns_model_read(&study->plan, study->initial_path, params, problem);
  free(params);
  return r;
}

static int find_initial(const char *path, struct cns_study *study, struct cns_problem *problem) {
  uint8_t digest[CNS_DIGEST_BYTES];
  if (!study->plan.initial_from_file) return 0;
  if (cns_kit_reserves(study->plan.initial_file))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: initial_model.file can't be %s, which is the name of a kit's own file", path,
                           study->plan.initial_file);
  const char *slash = strrchr(path, '/');
  int folder = slash ? (int)(slash - path) + 1 : 0;
  if (asprintf(&study->initial_path, "%.*s%s", folder, path, study->plan.initial_file) < 0) {
    study->initial_path = NULL;
    return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", path);
  }
  int r = cns_copy_file(study->initial_path, NULL, digest, problem);
  if (r) return cns_problem_prefix(problem, r, "%s: its initial model", path);
  if (memcmp(digest, study->plan.initial_digest, sizeof digest) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: is not the initial model that %s means: its digest differs (b2sum -l 256)",
                           study->initial_path, path);
  return check_initial(study, problem);
}

static int load(const char *path, bool whole, struct cns_study *ret_study, struct cns_problem *problem) {
  struct cns_study study = {0};
  int r = read_document(path, &study.document, problem);
  if (!r) r = cns_plan_parse(study.document.payload, study.document.payload_len, path, &study.plan, problem);
  if (!r && whole) r = find_initial(path, &study, problem);
  if (r)
    cns_study_deinit(&study);
  else
    *ret_study = study;
  return r;
}

int cns_study_load(const char *path, struct cns_study *ret_study, struct cns_problem *problem) {
  return load(path, true, ret_study, problem);
}

int cns_study_load_plan(const char *path, struct cns_study *ret_study, struct cns_problem *problem) {
  return load(path, false, ret_study, problem);
}

void cns_study_deinit(struct cns_study *study) {
  cns_document_deinit(&study->document);
  cns_plan_deinit(&study->plan);
  free(study->initial_path);
  *study = (struct cns_study){0};
}
