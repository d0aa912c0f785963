/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder: config.json, and results.jsonl, a line for each cell that is done. A line
 * is written at once and synced before it counts. What a kill leaves is a line without its
 * end at most, which is cut off at the next start.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/bench.h"
#include "crypto/json.h"

#define RESULTS_BYTES_MAX ((size_t)1 << 31)
#define KEY_BYTES (8 * CNS_BENCH_LABEL_MAX)

struct cns_bench_store {
  int file;
  char path[4096];
  char digest[2 * CNS_DIGEST_BYTES + 1];
  const struct cns_bench_config *config;
  const struct cns_bench_grid *grid;
};

static void key_of(const struct cns_bench_store *store, size_t index, char key[static KEY_BYTES]) {
  const struct cns_bench_cell *cell = &store->grid->cells[index];
  const struct cns_bench_experiment *e = &store->config->experiments[cell->experiment];
  snprintf(key, KEY_BYTES, "%s | %s | %s | %s | %s | f=%zu | %s", e->name, e->splits[cell->split].label,
           e->rules[cell->rule].label, e->pres[cell->pre].label, e->attacks[cell->attack].label,
           e->byzantine[cell->byzantine], e->audits[cell->audit].label);
}

static uint64_t seed_of(const struct cns_bench_store *store, size_t index) {
  const struct cns_bench_cell *cell = &store->grid->cells[index];
  return store->config->experiments[cell->experiment].seeds[cell->seed];
}

/* ---- a line ---- */

/* 17 digits, which read back to the same double: the tables of a bench that was resumed are those of
 * one that wasn't. */
static cJSON *exact(double value) {
  char text[40];
  if (!isfinite(value)) return cJSON_CreateNull();
  /* The loss of a diverging model is a large number, which must not look like a whole one. */
  if (fabs(value) < 1e15)
    snprintf(text, sizeof text, "%.17g", value);
  else
    snprintf(text, sizeof text, "%.16e", value);
  return cJSON_CreateRaw(text);
}

static void add_series(cJSON *object, const char *name, const double *values, size_t count) {
  cJSON *array = cJSON_AddArrayToObject(object, name);
  for (size_t i = 0; i < count; i++)
    cJSON_AddItemToArray(array, exact(values[i]));
}

static void add_number(cJSON *object, const char *name, double value) {
  cJSON_AddItemToObject(object, name, exact(value));
}

static cJSON *to_json(const struct cns_bench_store *store, const struct cns_bench_result *result) {
  char key[KEY_BYTES];
  cJSON *line = cJSON_CreateObject();
  key_of(store, result->cell, key);
  cJSON_AddStringToObject(line, "config", store->digest);
  cJSON_AddNumberToObject(line, "cell", (double)result->cell);
  cJSON_AddStringToObject(line, "key", key);
  cJSON_AddNumberToObject(line, "seed", (double)seed_of(store, result->cell));
  add_series(line, "accuracy", result->accuracy, result->evaluations);
  add_series(line, "auc", result->auc, result->evaluations);
  add_series(line, "loss", result->loss, result->evaluations);
  cJSON_AddNumberToObject(line, "diverged", (double)result->diverged);
  cJSON_AddNumberToObject(line, "attacker_rounds", (double)result->attacker_rounds);
  cJSON_AddNumberToObject(line, "attackers_flagged", (double)result->attackers_flagged);
  cJSON_AddNumberToObject(line, "honest_rounds", (double)result->honest_rounds);
  cJSON_AddNumberToObject(line, "honest_flagged", (double)result->honest_flagged);
  add_number(line, "share", result->share);
  add_number(line, "moved", result->moved);
  add_number(line, "mean_moved", result->mean_moved);
  cJSON_AddNumberToObject(line, "seconds", result->seconds);
  return line;
}

static bool read_series(const cJSON *line, const char *name, double *values, size_t count) {
  const cJSON *array = cJSON_GetObjectItemCaseSensitive(line, name);
  if (!cJSON_IsArray(array) || (size_t)cJSON_GetArraySize(array) != count) return false;
  size_t i = 0;
  for (const cJSON *item = array->child; item; item = item->next) {
    if (!cJSON_IsNumber(item)) return false;
    values[i++] = item->valuedouble;
  }
  return true;
}

static bool read_count(const cJSON *line, const char *name, uint64_t *ret_value) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);
  if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || !(item->valuedouble < 1e15)) return false;
  *ret_value = (uint64_t)item->valuedouble;
  return true;
}

static bool read_number(const cJSON *line, const char *name, double *ret_value) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);
  if (!cJSON_IsNumber(item) && !cJSON_IsNull(item)) return false;
  *ret_value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
  return true;
}

/* Everything but the three series. */
static bool read_counts(const cJSON *line, struct cns_bench_result *result) {
  return read_count(line, "diverged", &result->diverged) &&
         read_count(line, "attacker_rounds", &result->attacker_rounds) &&
         read_count(line, "attackers_flagged", &result->attackers_flagged) &&
         read_count(line, "honest_rounds", &result->honest_rounds) &&
         read_count(line, "honest_flagged", &result->honest_flagged) &&
         read_number(line, "share", &result->share) && read_number(line, "moved", &result->moved) &&
         read_number(line, "mean_moved", &result->mean_moved) &&
         read_number(line, "seconds", &result->seconds);
}

/* false: no line of this program. CNS_ERR_MEMORY. */
static int from_json(const struct cns_bench_store *store, const cJSON *line, struct cns_bench_result *results,
                     bool *ret_good) {
  char key[KEY_BYTES];
  uint64_t index, seed;
  const cJSON *text = cJSON_GetObjectItemCaseSensitive(line, "key");
  *ret_good = false;
  if (!read_count(line, "cell", &index) || index >= store->grid->count || !read_count(line, "seed", &seed))
    return 0;
  key_of(store, (size_t)index, key);
  if (!cJSON_IsString(text) || strcmp(text->valuestring, key) != 0 || seed != seed_of(store, (size_t)index))
    return 0;
  const struct cns_bench_experiment *e = &store->config->experiments[store->grid->cells[index].experiment];
  struct cns_bench_result result = {.cell = (size_t)index, .evaluations = cns_bench_evaluations(e)};
  result.accuracy = calloc(3 * result.evaluations, sizeof *result.accuracy);
  if (!result.accuracy) return CNS_ERR_MEMORY;
  result.auc = result.accuracy + result.evaluations;
  result.loss = result.auc + result.evaluations;
  *ret_good = read_counts(line, &result) &&
              read_series(line, "accuracy", result.accuracy, result.evaluations) &&
              read_series(line, "auc", result.auc, result.evaluations) &&
              read_series(line, "loss", result.loss, result.evaluations);
  if (*ret_good && !results[index].accuracy)
    results[index] = result;
  else
    cns_bench_result_deinit(&result);
  return 0;
}

static int read_line(const struct cns_bench_store *store, const char *text, size_t len, size_t number,
                     struct cns_bench_result *results, struct cns_problem *problem) {
  cJSON *line = NULL;
  struct cns_problem why = {0};
  bool good = false;
  int r = cns_json_parse(text, len, store->path, &line, &why);
  if (r == CNS_ERR_MEMORY) return r;
  const cJSON *config = r == 0 ? cJSON_GetObjectItemCaseSensitive(line, "config") : NULL;
  if (cJSON_IsString(config) && strcmp(config->valuestring, store->digest) != 0)
    r = cns_problem_set(problem, CNS_ERR_EXISTS,
                        "%s: holds results of another configuration, of other data or of another version; "
                        "choose another folder (--out)",
                        store->path);
  else
    r = r == 0 ? from_json(store, line, results, &good) : 0;
  cJSON_Delete(line);
  if (r == 0 && !good)
    r = cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s, line %zu: was not written by this program; remove the line or choose another folder%s%s",
        store->path, number, why.text[0] ? ": " : "", why.text);
  return r;
}

static int read_lines(struct cns_bench_store *store, const char *text, size_t len,
                      struct cns_bench_result *results, bool *ret_torn, struct cns_problem *problem) {
  size_t at = 0, number = 1;
  int r = 0;
  for (const char *end; r == 0 && at < len && (end = memchr(text + at, '\n', len - at)); number++) {
    r = read_line(store, text + at, (size_t)(end - text) - at, number, results, problem);
    at = (size_t)(end - text) + 1;
  }
  *ret_torn = r == 0 && at < len;
  if (*ret_torn && (ftruncate(store->file, (off_t)at) != 0 || fsync(store->file) != 0))
    r = cns_problem_set(problem, cns_error_from_errno(errno), "%s: can't be cut to its whole lines: %s",
                        store->path, strerror(errno));
  return r;
}

/* ---- the folder ---- */

#define UNFINISHED "config.json.tmp." /* what a kill may leave of cns_file_write */

/* Nothing but hidden files and an unfinished configuration. */
static bool looks_empty(const char *folder) {
  DIR *dir = opendir(folder);
  bool empty = dir != NULL;
  for (struct dirent *entry; dir && (entry = readdir(dir));)
    if (entry->d_name[0] != '.' && strncmp(entry->d_name, UNFINISHED, strlen(UNFINISHED)) != 0) empty = false;
  if (dir) closedir(dir);
  return empty;
}

static int check_config(const char *path, const char *text, size_t len, struct cns_problem *problem) {
  uint8_t *there = NULL;
  size_t there_len = 0;
  int r = cns_file_read(path, CNS_BENCH_CONFIG_BYTES_MAX, &there, &there_len, problem);
  if (r == 0 && (there_len != len || memcmp(there, text, len) != 0))
    r = cns_problem_set(
        problem, CNS_ERR_EXISTS,
        "%s: is another configuration than this one; choose another folder (--out), or remove "
        "that one",
        path);
  free(there);
  return r;
}

static int open_folder(const char *folder, const char *text, size_t len, bool create,
                       struct cns_problem *problem) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/config.json", folder) >= (int)sizeof path)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the folder's name is too long");
  if (access(path, F_OK) == 0) return check_config(path, text, len, problem);
  if (!create) return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: holds no results of a bench", folder);
  if (mkdir(folder, 0755) != 0 && errno != EEXIST)
    return cns_problem_set(problem, cns_error_from_errno(errno), "%s: can't be made: %s", folder,
                           strerror(errno));
  if (!looks_empty(folder))
    return cns_problem_set(problem, CNS_ERR_EXISTS,
                           "%s: is no folder of a bench and not empty; choose another one (--out)", folder);
  return cns_file_write(path, text, len, 0644, problem);
}

static int open_results(struct cns_bench_store *store, bool create, struct cns_bench_result *results,
                        bool *ret_torn, struct cns_problem *problem) {
  uint8_t *text = NULL;
  size_t len = 0;
  struct stat about;
  store->file = open(store->path, O_RDWR | O_APPEND | O_CLOEXEC | (create ? O_CREAT : 0), 0644);
  if (store->file < 0)
    return cns_problem_set(problem, cns_error_from_errno(errno), "%s: can't be opened: %s", store->path,
                           strerror(errno));
  if (flock(store->file, LOCK_EX | LOCK_NB) != 0)
    return cns_problem_set(problem, CNS_ERR_STATE, "%s: another bench is running in this folder",
                           store->path);
  if (fstat(store->file, &about) != 0 || !S_ISREG(about.st_mode))
    return cns_problem_set(problem, CNS_ERR_IO, "%s: is no plain file", store->path);
  *ret_torn = false;
  if (about.st_size == 0) return 0;
  int r = cns_file_read(store->path, RESULTS_BYTES_MAX, &text, &len, problem);
  if (r == 0) r = read_lines(store, (const char *)text, len, results, ret_torn, problem);
  free(text);
  return r;
}

int cns_bench_store_open(const char *folder, const struct cns_bench_config *config,
                         const struct cns_bench_grid *grid, const struct cns_digest *data, bool create,
                         struct cns_bench_result *results, struct cns_bench_store **ret_store, bool *ret_torn,
                         struct cns_problem *problem) {
  struct cns_bench_store *store = calloc(1, sizeof *store);
  char *text = NULL;
  size_t len = 0;
  struct cns_hash hash;
  struct cns_digest digest;
  if (!store) return CNS_ERR_MEMORY;
  *store = (struct cns_bench_store){.file = -1, .config = config, .grid = grid};
  int r = cns_json_canonical(config->json, &text, &len);
  if (r == 0) r = open_folder(folder, text, len, create, problem);
  if (r == 0 &&
      snprintf(store->path, sizeof store->path, "%s/results.jsonl", folder) >= (int)sizeof store->path)
    r = cns_problem_set(problem, CNS_ERR_LIMIT, "the folder's name is too long");
  if (r == 0) {
    cns_hash_init(&hash, "consilium/1 bench config");
    cns_hash_blob(&hash, text, len);
    cns_hash_blob(&hash, CNS_VERSION, strlen(CNS_VERSION));
    cns_hash_digest(&hash, data);
    cns_hash_final(&hash, &digest);
    cns_hex_encode(digest.bytes, sizeof digest.bytes, store->digest);
    r = open_results(store, create, results, ret_torn, problem);
  }
  if (r == 0) r = cns_file_sync_folder(store->path) ? CNS_ERR_IO : 0;
  free(text);
  if (r < 0)
    cns_bench_store_free(store);
  else
    *ret_store = store;
  return r;
}

int cns_bench_store_append(struct cns_bench_store *store, const struct cns_bench_result *result,
                           struct cns_problem *problem) {
  cJSON *json = to_json(store, result);
  char *line = json ? cJSON_PrintUnformatted(json) : NULL;
  size_t len = line ? strlen(line) : 0, done = 0;
  cJSON_Delete(json);
  if (!line) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  line[len++] = '\n'; /* in place of the zero byte; only the length counts from here on */
  while (done < len) {
    ssize_t wrote = write(store->file, line + done, len - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) break;
    done += (size_t)wrote;
  }
  int error = done < len || fsync(store->file) != 0 ? errno : 0;
  cJSON_free(line);
  if (error)
    return cns_problem_set(problem, cns_error_from_errno(error), "%s: can't be written: %s", store->path,
                           strerror(error));
  return 0;
}

struct cns_bench_store *cns_bench_store_free(struct cns_bench_store *store) {
  if (store && store->file >= 0) close(store->file);
  free(store);
  return NULL;
}
