/* SPDX-License-Identifier: Apache-2.0 */
#include "store/registry.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/json.h"
#include "store/folder.h"

#define HEX_CHARS (2 * CNS_DIGEST_BYTES)
#define ROUND_DIGITS 20
#define MODEL_SUFFIX ".model"
/* Among the models, by a name that no model has and the sweep takes away. */
#define DRAFT_NAME "models/0000000000000000000000000000000000000000000000000000000000000000.model.draft"
#define MANIFEST_SUFFIX ".manifest"
#define MANIFEST_NAME_CHARS (ROUND_DIGITS + 1 + HEX_CHARS + sizeof(MANIFEST_SUFFIX) - 1)

struct cns_registry {
  char *folder;
};

void cns_registry_model_digest(const void *bytes, size_t len, struct cns_digest *ret_digest) {
  struct cns_hash hash;
  cns_registry_model_digest_begin(&hash);
  cns_hash_bytes(&hash, bytes, len);
  cns_hash_final(&hash, ret_digest);
}

void cns_registry_model_digest_begin(struct cns_hash *ret_hash) {
  cns_hash_init(ret_hash, "consilium/1 model digest");
}

void cns_registry_model_hash(struct cns_hash *hash) {
  cns_hash_init(hash, "consilium/1 model digest");
}

static int subfolder(const struct cns_registry *registry, const char *name, char **ret_path) {
  return asprintf(ret_path, "%s/%s", registry->folder, name) < 0 ? CNS_ERR_MEMORY : 0;
}

static int create_subfolder(const struct cns_registry *registry, const char *name,
                            struct cns_problem *problem) {
  char *path = NULL;
  int error = subfolder(registry, name, &path);
  if (error) return error;
  error = cns_folder_create(path, problem);
  free(path);
  return error;
}

int cns_registry_open(const char *folder, struct cns_registry **ret_registry, struct cns_problem *problem) {
  struct cns_registry *registry = calloc(1, sizeof(*registry));
  if (!registry) return CNS_ERR_MEMORY;
  registry->folder = strdup(folder);
  int error = registry->folder ? cns_folder_create(folder, problem) : CNS_ERR_MEMORY;
  if (!error) error = create_subfolder(registry, "models", problem);
  if (!error) error = create_subfolder(registry, "manifests", problem);
  if (error) {
    cns_registry_free(registry);
    return error;
  }
  *ret_registry = registry;
  return 0;
}

struct cns_registry *cns_registry_free(struct cns_registry *registry) {
  if (!registry) return NULL;
  free(registry->folder);
  free(registry);
  return NULL;
}

static int model_path(const struct cns_registry *registry, const struct cns_digest *digest, char **ret_path) {
  char hex[HEX_CHARS + 1];
  cns_hex_encode(digest->bytes, sizeof(digest->bytes), hex);
  return asprintf(ret_path, "%s/models/%s" MODEL_SUFFIX, registry->folder, hex) < 0 ? CNS_ERR_MEMORY : 0;
}

static int manifest_path(const struct cns_registry *registry, const struct cns_registry_version *version,
                         char **ret_path) {
  char hex[HEX_CHARS + 1];
  cns_hex_encode(version->model.bytes, sizeof(version->model.bytes), hex);
  return asprintf(ret_path, "%s/manifests/%020" PRIu64 "-%s" MANIFEST_SUFFIX, registry->folder,
                  version->round, hex) < 0
             ? CNS_ERR_MEMORY
             : 0;
}

/* Maps and checks; a file that is damaged is CNS_ERR_FORMAT. */
static int map_model(const char *path, const struct cns_digest *digest, struct cns_model_map **ret_map,
                     struct cns_problem *problem) {
  struct cns_model_map *map = NULL;
  struct cns_digest found;
  size_t len;
  if (access(path, F_OK) != 0)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: this model version is not kept any more", path);
  int error = cns_model_map_open(path, CNS_REGISTRY_MODEL_BYTES_MAX, &map, problem);
  if (error == CNS_ERR_LIMIT) error = CNS_ERR_FORMAT;
  if (error) return error;
  const uint8_t *bytes = cns_model_map_bytes(map, &len);
  cns_registry_model_digest(bytes, len, &found);
  if (!cns_digest_equal(&found, digest)) {
    cns_model_map_free(map);
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s: this model file is damaged, its content does not have its digest; restore it from "
        "a copy",
        path);
  }
  *ret_map = map;
  return 0;
}

int cns_registry_put_model(struct cns_registry *registry, const void *bytes, size_t len,
                           struct cns_digest *ret_digest, struct cns_problem *problem) {
  if (len == 0 || len > CNS_REGISTRY_MODEL_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "registry: a model of %zu bytes is out of range", len);
  struct cns_digest digest;
  cns_registry_model_digest(bytes, len, &digest);
  char *path = NULL;
  int error = model_path(registry, &digest, &path);
  if (error) return error;
  struct cns_model_map *old = NULL;
  /* Only a whole copy counts as there: a damaged one is replaced. */
  if (map_model(path, &digest, &old, NULL) != 0) error = cns_file_write(path, bytes, len, 0600, problem);
  cns_model_map_free(old);
  free(path);
  if (!error) *ret_digest = digest;
  return error;
}

int cns_registry_map_model(struct cns_registry *registry, const struct cns_digest *digest,
                           struct cns_model_map **ret_map, struct cns_problem *problem) {
  char *path = NULL;
  int error = model_path(registry, digest, &path);
  if (error) return error;
  error = map_model(path, digest, ret_map, problem);
  free(path);
  return error;
}

int cns_registry_get_model(struct cns_registry *registry, const struct cns_digest *digest,
                           uint8_t **ret_bytes, size_t *ret_len, struct cns_problem *problem) {
  struct cns_model_map *map = NULL;
  size_t len;
  int error = cns_registry_map_model(registry, digest, &map, problem);
  if (error) return error;
  const uint8_t *bytes = cns_model_map_bytes(map, &len);
  uint8_t *copy = malloc(len);
  if (copy) memcpy(copy, bytes, len);
  cns_model_map_free(map);
  if (!copy) return cns_problem_set(problem, CNS_ERR_MEMORY, "not enough memory for a model");
  *ret_bytes = copy;
  *ret_len = len;
  return 0;
}

int cns_registry_draft_model(struct cns_registry *registry, size_t len, struct cns_model_draft **ret_draft,
                             struct cns_problem *problem) {
  char *path = NULL;
  if (len == 0 || len > CNS_REGISTRY_MODEL_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "registry: a model of %zu bytes is out of range", len);
  int error = subfolder(registry, DRAFT_NAME, &path);
  if (error) return error;
  error = cns_model_draft_new(path, len, ret_draft, problem);
  free(path);
  return error;
}

int cns_registry_put_draft(const struct cns_registry *registry, struct cns_model_draft *draft,
                           const struct cns_digest *digest, struct cns_model_map **ret_map,
                           struct cns_problem *problem) {
  char *path = NULL;
  int error = model_path(registry, digest, &path);
  if (error) return error;
  error = cns_model_draft_move(draft, path, problem);
  if (!error) error = cns_model_map_open(path, CNS_REGISTRY_MODEL_BYTES_MAX, ret_map, problem);
  free(path);
  return error;
}

/* Files that are not ours (temporary ones too) are passed over. */
static bool parse_name(const char *name, struct cns_registry_version *ret_version) {
  if (strlen(name) != MANIFEST_NAME_CHARS || strspn(name, "0123456789") != ROUND_DIGITS ||
      name[ROUND_DIGITS] != '-' ||
      strcmp(name + MANIFEST_NAME_CHARS - strlen(MANIFEST_SUFFIX), MANIFEST_SUFFIX) != 0)
    return false;
  char hex[HEX_CHARS + 1];
  memcpy(hex, name + ROUND_DIGITS + 1, HEX_CHARS);
  hex[HEX_CHARS] = 0;
  errno = 0;
  unsigned long long round = strtoull(name, NULL, 10);
  if (errno != 0) return false;
  struct cns_registry_version version = {.round = round};
  if (cns_hex_decode(hex, CNS_DIGEST_BYTES, version.model.bytes) != 0) return false;
  *ret_version = version;
  return true;
}

static int compare_versions(const void *a, const void *b) {
  const struct cns_registry_version *left = a, *right = b;
  return left->round < right->round ? -1 : left->round > right->round;
}

static int read_names(DIR *stream, struct cns_registry_version **versions, size_t *count) {
  size_t capacity = 0;
  struct dirent *entry;
  struct cns_registry_version version;
  while ((entry = readdir(stream))) {
    if (!parse_name(entry->d_name, &version)) continue;
    if (*count == capacity) {
      capacity = capacity ? 2 * capacity : 64;
      struct cns_registry_version *grown = reallocarray(*versions, capacity, sizeof(*grown));
      if (!grown) return CNS_ERR_MEMORY;
      *versions = grown;
    }
    (*versions)[(*count)++] = version;
  }
  return 0;
}

static int mark_models(struct cns_registry *registry, struct cns_registry_version *versions, size_t count) {
  for (size_t k = 0; k < count; k++) {
    char *path = NULL;
    int error = model_path(registry, &versions[k].model, &path);
    if (error) return error;
    versions[k].has_model = access(path, F_OK) == 0;
    free(path);
  }
  return 0;
}

int cns_registry_list(struct cns_registry *registry, struct cns_registry_version **ret_versions,
                      size_t *ret_count, struct cns_problem *problem) {
  char *folder = NULL;
  int error = subfolder(registry, "manifests", &folder);
  if (error) return error;
  DIR *stream = opendir(folder);
  if (!stream) error = cns_folder_fail(errno, folder, "listing model versions", problem);
  free(folder);
  if (error) return error;
  struct cns_registry_version *versions = NULL;
  size_t count = 0;
  error = read_names(stream, &versions, &count);
  closedir(stream);
  if (!error) error = mark_models(registry, versions, count);
  if (error) {
    free(versions);
    return error;
  }
  if (count > 0) qsort(versions, count, sizeof(*versions), compare_versions);
  *ret_versions = versions;
  *ret_count = count;
  return 0;
}

static int find_round(struct cns_registry *registry, uint64_t round, struct cns_registry_version *ret_version,
                      struct cns_problem *problem) {
  struct cns_registry_version *versions = NULL;
  size_t count = 0;
  int error = cns_registry_list(registry, &versions, &count, problem);
  if (error) return error;
  struct cns_registry_version key = {.round = round};
  const struct cns_registry_version *found =
      count > 0 ? bsearch(&key, versions, count, sizeof(*versions), compare_versions) : NULL;
  if (found)
    *ret_version = *found;
  else
    error = cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: there is no manifest of round %" PRIu64,
                            registry->folder, round);
  free(versions);
  return error;
}

int cns_registry_get_manifest(struct cns_registry *registry, uint64_t round, struct cns_digest *ret_model,
                              uint8_t **ret_bytes, size_t *ret_len, struct cns_problem *problem) {
  struct cns_registry_version version;
  int error = find_round(registry, round, &version, problem);
  if (error) return error;
  char *path = NULL;
  error = manifest_path(registry, &version, &path);
  if (error) return error;
  error = cns_file_read(path, CNS_REGISTRY_MANIFEST_BYTES_MAX, ret_bytes, ret_len, problem);
  free(path);
  if (!error && ret_model) *ret_model = version.model;
  return error;
}

int cns_registry_put_manifest(struct cns_registry *registry, uint64_t round, const struct cns_digest *model,
                              const void *bytes, size_t len, struct cns_problem *problem) {
  if (len == 0 || len > CNS_REGISTRY_MANIFEST_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "registry: a manifest of %zu bytes is out of range", len);
  struct cns_digest old_model;
  uint8_t *old = NULL;
  size_t old_len = 0;
  struct cns_problem found = {0};
  int error = cns_registry_get_manifest(registry, round, &old_model, &old, &old_len, &found);
  if (!error) {
    bool same = old_len == len && memcmp(old, bytes, len) == 0 && cns_digest_equal(&old_model, model);
    free(old);
    if (same) return 0;
    return cns_problem_set(problem, CNS_ERR_EXISTS, "%s: round %" PRIu64 " has another manifest already",
                           registry->folder, round);
  }
  if (error != CNS_ERR_NOT_FOUND) return cns_problem_set(problem, error, "%s", found.text);
  struct cns_registry_version version = {.round = round, .model = *model};
  char *path = NULL;
  error = manifest_path(registry, &version, &path);
  if (error) return error;
  error = cns_file_write(path, bytes, len, 0600, problem);
  free(path);
  return error;
}

static bool is_kept(const struct cns_registry_version *versions, size_t count, size_t keep,
                    const struct cns_digest *model) {
  for (size_t k = count > keep ? count - keep : 0; k < count; k++)
    if (cns_digest_equal(&versions[k].model, model)) return true;
  return false;
}

static int delete_model(struct cns_registry *registry, const struct cns_digest *model,
                        struct cns_problem *problem) {
  char *path = NULL;
  int error = model_path(registry, model, &path);
  if (error) return error;
  if (unlink(path) != 0 && errno != ENOENT)
    error = cns_folder_fail(errno, path, "deleting an old model", problem);
  free(path);
  return error;
}

int cns_registry_prune(struct cns_registry *registry, size_t keep, struct cns_problem *problem) {
  struct cns_registry_version *versions = NULL;
  size_t count = 0;
  int error = cns_registry_list(registry, &versions, &count, problem);
  for (size_t k = 0; !error && k + keep < count; k++)
    if (versions[k].has_model && !is_kept(versions, count, keep, &versions[k].model))
      error = delete_model(registry, &versions[k].model, problem);
  free(versions);
  return error;
}

struct sweep {
  const struct cns_digest *keep;
  size_t keep_count;
  const struct cns_registry_version *versions;
  size_t version_count;
};

static bool is_published(const struct sweep *sweep, const struct cns_digest *model) {
  for (size_t k = 0; k < sweep->keep_count; k++)
    if (cns_digest_equal(&sweep->keep[k], model)) return true;
  for (size_t k = 0; k < sweep->version_count; k++)
    if (cns_digest_equal(&sweep->versions[k].model, model)) return true;
  return false;
}

/* Files that don't begin with a digest aren't ours; with more behind the name they are half made. */
static bool is_leftover(const struct sweep *sweep, const char *name) {
  char hex[HEX_CHARS + 1];
  struct cns_digest model;
  if (strnlen(name, HEX_CHARS) < HEX_CHARS) return false;
  memcpy(hex, name, HEX_CHARS);
  hex[HEX_CHARS] = 0;
  if (cns_hex_decode(hex, CNS_DIGEST_BYTES, model.bytes) != 0) return false;
  const char *rest = name + HEX_CHARS;
  if (strncmp(rest, MODEL_SUFFIX, strlen(MODEL_SUFFIX)) != 0) return false;
  return rest[strlen(MODEL_SUFFIX)] != 0 || !is_published(sweep, &model);
}

static int sweep_models(const struct cns_registry *registry, const struct sweep *sweep,
                        struct cns_problem *problem) {
  char *folder = NULL;
  struct dirent *entry;
  int error = subfolder(registry, "models", &folder);
  if (error) return error;
  DIR *stream = opendir(folder);
  if (!stream) error = cns_folder_fail(errno, folder, "listing models", problem);
  while (stream && !error && (entry = readdir(stream)))
    if (is_leftover(sweep, entry->d_name) && unlinkat(dirfd(stream), entry->d_name, 0) != 0)
      error = cns_folder_fail(errno, folder, "deleting a model without a manifest", problem);
  if (stream) closedir(stream);
  free(folder);
  return error;
}

int cns_registry_sweep(struct cns_registry *registry, const struct cns_digest *keep, size_t keep_count,
                       struct cns_problem *problem) {
  struct cns_registry_version *versions = NULL;
  struct sweep sweep = {.keep = keep, .keep_count = keep_count};
  int error = cns_registry_list(registry, &versions, &sweep.version_count, problem);
  sweep.versions = versions;
  if (!error) error = sweep_models(registry, &sweep, problem);
  free(versions);
  return error;
}
