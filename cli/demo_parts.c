/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/demo.h"
#include "cli/demo_data.h"
#include "crypto/json.h"
#include "model/split.h"
#include "store/folder.h"
#include "store/kit.h"

/* As uneven as in benchmarks/fed_study.c. */
#define TEST_SHARE 0.2
#define SIZE_RATIO 5.6
#define MIX_RATIO 4.0
/* Rows that the study drops belong to nobody. */
#define PART_NOBODY UINT16_MAX

struct source {
  char *study_path, *table_path; /* NULL: built in */
  const char *study_name, *table_name;
  uint8_t *study, *table;
  size_t study_len, table_len;
};

static void source_deinit(struct source *source) {
  free(source->study_path);
  free(source->table_path);
  free(source->study);
  free(source->table);
}

static int no_memory(struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

static bool is_csv(const char *name) {
  size_t len = strlen(name);
  return len > 4 && name[0] != '.' && strcmp(name + len - 4, ".csv") == 0;
}

/* The one CSV file of the folder. */
static int find_table(const char *folder, char **ret_path, struct cns_problem *problem) {
  DIR *entries = opendir(folder);
  if (!entries) return cns_folder_fail(errno, folder, "opening it", problem);
  char *path = NULL;
  size_t count = 0;
  for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
    if (!is_csv(entry->d_name) || count++ > 0) continue;
    path = cns_kit_path(folder, entry->d_name);
  }
  closedir(entries);
  if (count == 1 && path) {
    *ret_path = path;
    return 0;
  }
  free(path);
  if (count == 1) return no_memory(problem);
  return cns_problem_set(problem, count ? CNS_ERR_EXISTS : CNS_ERR_NOT_FOUND,
                         "%s: holds %zu files whose names end in .csv; the demo needs study.json and exactly "
                         "one table",
                         folder, count);
}

static int copy_built_in(const unsigned char *data, size_t len, uint8_t **ret_data, size_t *ret_len) {
  uint8_t *copy = malloc(len + 1);
  if (!copy) return CNS_ERR_MEMORY;
  memcpy(copy, data, len);
  copy[len] = '\0';
  *ret_data = copy;
  *ret_len = len;
  return 0;
}

static int open_built_in(struct source *source, struct cns_problem *problem) {
  source->study_name = "the built-in study";
  source->table_name = "the built-in table";
  int r = copy_built_in(cns_demo_data_study, cns_demo_data_study_bytes, &source->study, &source->study_len);
  if (!r)
    r = copy_built_in(cns_demo_data_table, cns_demo_data_table_bytes, &source->table, &source->table_len);
  return r ? no_memory(problem) : 0;
}

static int open_source(const char *folder, struct source *source, struct cns_problem *problem) {
  *source = (struct source){0};
  if (!folder) return open_built_in(source, problem);
  source->study_name = source->study_path = cns_kit_path(folder, "study.json");
  if (!source->study_path) return no_memory(problem);
  int r = cns_file_read(source->study_path, CNS_PLAN_BYTES_MAX, &source->study, &source->study_len, problem);
  if (!r) r = find_table(folder, &source->table_path, problem);
  source->table_name = source->table_path;
  if (!r)
    r = cns_file_read(source->table_path, CNS_TABLE_BYTES_MAX, &source->table, &source->table_len, problem);
  return r;
}

/* The demo's seed moves the shuffles of everybody alike; the study's own seed
 * and the demo's seed 1 give what the study file says. */
static int adapt_study(const struct cns_demo_options *options, const struct source *source, char **ret_text,
                       size_t *ret_len, struct cns_problem *problem) {
  cJSON *json = NULL;
  int r = cns_json_parse((const char *)source->study, source->study_len, source->study_name, &json, problem);
  if (r) return r;
  if (options->epsilon > 0 && (r = cns_demo_make_private(options, json, problem)) != 0) {
    cJSON_Delete(json);
    return r;
  }
  cJSON *training = cJSON_GetObjectItemCaseSensitive(json, "training");
  cJSON *rounds = cJSON_GetObjectItemCaseSensitive(training, "rounds");
  cJSON *seed = cJSON_GetObjectItemCaseSensitive(training, "seed");
  if (options->rounds && cJSON_IsNumber(rounds)) cJSON_SetNumberValue(rounds, (double)options->rounds);
  if (cJSON_IsNumber(seed)) cJSON_SetNumberValue(seed, seed->valuedouble + (double)(options->seed - 1));
  r = cns_json_canonical(json, ret_text, ret_len);
  cJSON_Delete(json);
  return r ? cns_problem_set(problem, r, "%s: can't be written in canonical form", source->study_name) : 0;
}

static size_t count_label(const struct cns_table *table, size_t label) {
  size_t count = 0;
  for (size_t i = 0; i < table->rows; i++)
    count += table->label[i] == label;
  return count;
}

static void mark(bool *keep, const struct cns_table *all, const uint16_t *part, size_t which) {
  for (size_t i = 0; i < all->rows; i++)
    keep[i] = part[i] == which;
}

/* What this hospital's agent will make of its table: the same split. */
static int deal_one(struct cns_demo_parts *parts, size_t h, const struct cns_table *all, const bool *keep) {
  struct cns_demo_hospital *hospital = &parts->hospitals[h];
  struct cns_table whole, validation = {0};
  int r = cns_table_select(all, keep, &whole);
  if (r) return r;
  snprintf(hospital->name, sizeof hospital->name, "hospital-%zu", h + 1);
  hospital->patients = whole.patients;
  hospital->rows = whole.rows;
  hospital->last_class_rows = count_label(&whole, parts->plan.class_count - 1);
  r = cns_table_split(&whole, parts->plan.seed, (uint32_t)(h + 1), parts->plan.validation_share,
                      &hospital->train, &validation);
  cns_table_deinit(&validation);
  cns_table_deinit(&whole);
  return r;
}

static int deal_all(struct cns_demo_parts *parts, const struct cns_table *all, const uint16_t *part) {
  bool *keep = calloc(all->rows, sizeof *keep);
  bool *trained = calloc((size_t)all->source[all->rows - 1] + 1, sizeof *trained); /* by row of the file */
  int r = keep && trained ? 0 : CNS_ERR_MEMORY;
  for (size_t h = 0; h < parts->hospital_count && !r; h++) {
    mark(keep, all, part, h + 1);
    r = deal_one(parts, h, all, keep);
    for (size_t i = 0; !r && i < parts->hospitals[h].train.rows; i++)
      trained[parts->hospitals[h].train.source[i]] = true;
  }
  if (!r) {
    mark(keep, all, part, CNS_SPLIT_TEST);
    r = cns_table_select(all, keep, &parts->test);
  }
  for (size_t i = 0; !r && i < all->rows; i++)
    keep[i] = trained[all->source[i]];
  if (!r) r = cns_table_select(all, keep, &parts->pooled);
  free(keep);
  free(trained);
  return r;
}

static int write_csvs(struct cns_demo_parts *parts, const struct source *source, const struct cns_table *all,
                      const uint16_t *part, size_t record_count, struct cns_problem *problem) {
  uint16_t *of_record = malloc((record_count ? record_count : 1) * sizeof *of_record);
  if (!of_record) return no_memory(problem);
  for (size_t i = 0; i < record_count; i++)
    of_record[i] = PART_NOBODY;
  for (size_t i = 0; i < all->rows; i++)
    of_record[all->source[i] - 1] = part[i];
  int r = 0;
  for (size_t h = 0; h < parts->hospital_count && !r; h++)
    r = cns_split_csv((const char *)source->table, source->table_len, of_record, record_count,
                      (uint16_t)(h + 1), &parts->hospitals[h].csv, &parts->hospitals[h].csv_len, problem);
  free(of_record);
  return r;
}

static int deal(const struct cns_demo_options *options, const struct source *source,
                struct cns_demo_parts *parts, const struct cns_table *all, size_t record_count,
                struct cns_problem *problem) {
  const struct cns_split_options split = {.seed = (uint64_t)options->seed,
                                          .hospitals = parts->hospital_count,
                                          .test_share = TEST_SHARE,
                                          .size_ratio = SIZE_RATIO,
                                          .mix_ratio = MIX_RATIO};
  uint16_t *part = calloc(all->rows, sizeof *part);
  parts->hospitals = calloc(parts->hospital_count, sizeof *parts->hospitals);
  if (!part || !parts->hospitals) {
    free(part);
    return no_memory(problem);
  }
  int r = cns_split_uneven(all->label, all->patient, all->rows, all->classes, &split, part);
  if (r)
    cns_problem_set(
        problem, r,
        "%s: %zu patients can't be dealt out to %zu hospitals; take more patients, or fewer hospitals (at "
        "least 4)",
        source->table_name, all->patients, parts->hospital_count);
  if (!r && (r = deal_all(parts, all, part)) != 0)
    cns_problem_set(problem, r, "%s: the hospitals' tables can't be prepared (%s)", source->table_name,
                    cns_error_name(r));
  if (!r) r = write_csvs(parts, source, all, part, record_count, problem);
  free(part);
  return r;
}

int cns_demo_parts_make(const struct cns_demo_options *options, struct cns_demo_parts *ret_parts,
                        struct cns_problem *problem) {
  struct cns_demo_parts parts = {.hospital_count = (size_t)options->hospitals};
  struct source source;
  struct cns_table all = {0};
  struct cns_table_report report = {0};
  int r = open_source(options->data, &source, problem);
  if (!r) r = adapt_study(options, &source, &parts.study, &parts.study_len, problem);
  if (!r) r = cns_plan_parse(parts.study, parts.study_len, source.study_name, &parts.plan, problem);
  if (!r) r = cns_plan_check_built_in(&parts.plan, problem);
  if (!r)
    r = cns_table_parse(&parts.plan, (const char *)source.table, source.table_len, source.table_name,
                        CNS_TABLE_TRAINING, &all, &report, problem);
  if (!r) {
    parts.patients = all.patients;
    r = deal(options, &source, &parts, &all, report.rows_read, problem);
  }
  cns_table_report_deinit(&report);
  cns_table_deinit(&all);
  source_deinit(&source);
  if (r)
    cns_demo_parts_deinit(&parts);
  else
    *ret_parts = parts;
  return r;
}

void cns_demo_parts_deinit(struct cns_demo_parts *parts) {
  for (size_t h = 0; parts->hospitals && h < parts->hospital_count; h++) {
    cns_table_deinit(&parts->hospitals[h].train);
    free(parts->hospitals[h].csv);
  }
  free(parts->hospitals);
  free(parts->study);
  cns_table_deinit(&parts->test);
  cns_table_deinit(&parts->pooled);
  cns_plan_deinit(&parts->plan);
  *parts = (struct cns_demo_parts){0};
}
