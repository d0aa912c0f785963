/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/models.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "model/modelfile.h"

static bool is_folder(const char *folder, const char *name) {
  struct stat info;
  char *path = cns_kit_path(folder, name);
  bool is = path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  free(path);
  return is;
}

/* The coordinator's registry is in <state>/models, the hospital's in <state>. */
static int find_registry(const char *state, char **ret_folder, struct cns_problem *problem) {
  char *folder = cns_kit_path(state, "models");
  if (folder && !is_folder(folder, "manifests")) {
    free(folder);
    folder = strdup(state);
  }
  if (!folder) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!is_folder(folder, "manifests") || !is_folder(folder, "models")) {
    free(folder);
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND,
                           "%s: holds no models: neither coordinator nor hospital has run here yet", state);
  }
  *ret_folder = folder;
  return 0;
}

static int open_kit(const char *folder, struct cns_models *models, struct cns_problem *problem) {
  struct cns_kit_config config = {0};
  int r = cns_kit_config_load(folder, &config, problem);
  enum cns_kit_role role = config.role;
  cns_kit_config_deinit(&config);
  if (!r) r = cns_kit_load(folder, role, (int64_t)time(NULL), &models->kit, problem);
  if (r) return r;
  models->has_kit = true;
  const struct cns_document *study = &models->kit.study_document;
  return cns_plan_parse(study->payload, study->payload_len, "study.json", &models->plan, problem);
}

static bool has_config(const char *folder) {
  struct stat info;
  char *path = cns_kit_path(folder, "config.json");
  bool has = path && stat(path, &info) == 0;
  free(path);
  return has;
}

int cns_models_open(const char *folder, struct cns_models *ret_models, struct cns_problem *problem) {
  struct cns_models models = {0};
  struct stat info;
  int r = 0;
  if (stat(folder, &info) != 0)
    r = cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: there is no such folder", folder);
  else if (has_config(folder))
    r = open_kit(folder, &models, problem);
  if (!r) r = find_registry(models.has_kit ? models.kit.config.state_path : folder, &models.folder, problem);
  if (r)
    cns_models_deinit(&models);
  else
    *ret_models = models;
  return r;
}

void cns_models_deinit(struct cns_models *models) {
  cns_plan_deinit(&models->plan);
  cns_kit_deinit(&models->kit);
  free(models->folder);
  *models = (struct cns_models){0};
}

static int get_initial(const struct cns_models *models, struct cns_models_version *version,
                       struct cns_problem *problem) {
  if (!models->has_kit)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND,
                           "the initial model (round 0) needs the kit, not only its state folder");
  int r = cns_model_initial_round(&models->plan, models->kit.folder, &version->bytes, &version->len, problem);
  if (!r) cns_registry_model_digest(version->bytes, version->len, &version->digest);
  return r;
}

/* "rounds 6 to 15", for the sentence. */
static void kept_text(const struct cns_registry_version *versions, size_t count, char *out, size_t room) {
  uint64_t first = 0, last = 0;
  for (size_t i = 0; i < count; i++) {
    if (!versions[i].has_model) continue;
    if (!first) first = versions[i].round;
    last = versions[i].round;
  }
  if (!first)
    snprintf(out, room, "no round");
  else if (first == last)
    snprintf(out, room, "round %" PRIu64, first);
  else
    snprintf(out, room, "rounds %" PRIu64 " to %" PRIu64, first, last);
}

/* The round asked for, or the latest whose model is still there. */
static int choose(const struct cns_models *models, struct cns_registry *registry, uint64_t round,
                  struct cns_models_version *version, struct cns_problem *problem) {
  struct cns_registry_version *versions = NULL;
  size_t count = 0;
  char kept[64];
  int r = cns_registry_list(registry, &versions, &count, problem);
  if (r) return r;
  for (size_t i = count; i > 0 && !version->round; i--) {
    if (!versions[i - 1].has_model || (round != CNS_MODELS_LATEST && versions[i - 1].round != round))
      continue;
    version->round = versions[i - 1].round;
    version->digest = versions[i - 1].model;
  }
  kept_text(versions, count, kept, sizeof kept);
  free(versions);
  if (version->round) return 0;
  if (round == CNS_MODELS_LATEST)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: no round is done yet", models->folder);
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND,
                         "%s: the model of round %" PRIu64 " is not here: it was never made, or is no longer "
                         "kept; there are models of %s",
                         models->folder, round, kept);
}

/* What is exported is what the coordinator signed. */
static int verify(const struct cns_models *models, struct cns_registry *registry,
                  struct cns_models_version *version, struct cns_problem *problem) {
  uint8_t *bytes = NULL;
  size_t len = 0;
  struct cns_digest model, study;
  int r = cns_registry_get_manifest(registry, version->round, &model, &bytes, &len, problem);
  if (r) return r;
  r = cns_manifest_open(bytes, len, "the round's manifest", &models->kit.roster, &version->manifest, problem);
  free(bytes);
  if (r) return r;
  version->has_manifest = true;
  cns_study_digest(models->kit.roster.consortium, models->plan.name, &study);
  if (cns_digest_equal(&version->manifest.model, &version->digest) &&
      cns_digest_equal(&version->manifest.study, &study) && version->manifest.round == version->round)
    return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "%s: the manifest of round %" PRIu64 " is signed for another model, round or study",
                         models->folder, version->round);
}

static int get_round(const struct cns_models *models, uint64_t round, struct cns_models_version *version,
                     struct cns_problem *problem) {
  struct cns_registry *registry = NULL;
  int r = cns_registry_open(models->folder, &registry, problem);
  if (r) return r;
  r = choose(models, registry, round, version, problem);
  if (!r && models->has_kit) r = verify(models, registry, version, problem);
  if (!r) r = cns_registry_get_model(registry, &version->digest, &version->bytes, &version->len, problem);
  cns_registry_free(registry);
  return r;
}

int cns_models_get(const struct cns_models *models, uint64_t round, struct cns_models_version *ret_version,
                   struct cns_problem *problem) {
  struct cns_models_version version = {0};
  int r = round == 0 ? get_initial(models, &version, problem) : get_round(models, round, &version, problem);
  if (r)
    cns_models_version_deinit(&version);
  else
    *ret_version = version;
  return r;
}

void cns_models_version_deinit(struct cns_models_version *version) {
  if (version->has_manifest) cns_manifest_deinit(&version->manifest);
  free(version->bytes);
  *version = (struct cns_models_version){0};
}

static int take(void *context, const void *data, size_t len, struct cns_problem *problem) {
  (void)problem;
  cns_hash_bytes(context, data, len);
  return 0;
}

int cns_models_digest(const struct cns_tensor_list *list, const struct cns_tensors_source *source,
                      struct cns_digest *ret_digest, struct cns_problem *problem) {
  struct cns_hash hash;
  cns_registry_model_digest_begin(&hash);
  int r = cns_tensors_stream(list, source, take, &hash, problem);
  if (r == 0) cns_hash_final(&hash, ret_digest);
  return r;
}

int cns_models_check_file(const struct cns_safetensors *file, const char *path, struct cns_problem *problem) {
  const char *named = cns_safetensors_metadata(file, "model_digest");
  struct cns_tensor_list list = {0};
  struct cns_tensors_file from = {file, &list};
  struct cns_tensors_source source = {
      .load = cns_tensors_from_file, .context = &from, .where = path, .finite = true};
  struct cns_digest found;
  char hex[2 * CNS_DIGEST_BYTES + 1];
  int r = cns_tensor_list_from_safetensors(file, &list, problem);
  if (r) return cns_problem_prefix(problem, r, "%s", path);
  r = cns_models_digest(&list, &source, &found, problem);
  cns_tensor_list_deinit(&list);
  if (r) return r;
  cns_hex_encode(found.bytes, sizeof found.bytes, hex);
  if (!named || strcmp(hex, named) == 0) return 0;
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: its weights are not those whose digest its metadata give (model_digest); the "
                         "file is damaged: export it anew",
                         path);
}
