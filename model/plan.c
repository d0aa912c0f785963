/* SPDX-License-Identifier: Apache-2.0 */
#include "model/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/json.h"
#include "model/metrics.h"
#include "model/plan_external.h"
#include "model/plan_training.h"

#define PATH_CHARS 48

static const char *const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

/* A non-empty text without control characters, copied. */
static int copy_text(const char *text, const char *path, char **ret_copy, struct cns_problem *problem) {
  if (!*text) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is empty", path);
  if (strlen(text) > CNS_PLAN_TEXT_MAX)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s is longer than %d bytes", path, CNS_PLAN_TEXT_MAX);
  for (const char *p = text; *p; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7F)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s holds a control character", path);
  /* The CSV reader trims its cells, so such a name would never be found. */
  if (text[0] == ' ' || text[strlen(text) - 1] == ' ')
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s begins or ends with a space", path);
  char *copy = strdup(text);
  if (!copy) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  *ret_copy = copy;
  return 0;
}

static int get_text(const cJSON *object, const char *path, const char *name, char **ret_copy,
                    struct cns_problem *problem) {
  const char *text;
  int r = cns_json_get_string(object, path, name, CNS_PLAN_TEXT_MAX, &text, problem);
  if (r < 0) return r;
  char full[PATH_CHARS * 2];
  snprintf(full, sizeof full, "%s%s%s", path, *path ? "." : "", name);
  return copy_text(text, full, ret_copy, problem);
}

/* One of the words, which end with NULL; its index. */
static int get_word(const cJSON *object, const char *path, const char *name, const char *const *words,
                    int *ret_index, struct cns_problem *problem) {
  const char *text;
  int r = cns_json_get_string(object, path, name, CNS_PLAN_TEXT_MAX, &text, problem);
  if (r < 0) return r;
  for (int i = 0; words[i]; i++)
    if (strcmp(words[i], text) == 0) {
      *ret_index = i;
      return 0;
    }
  char known[200] = "";
  for (size_t i = 0, used = 0; words[i] && used < sizeof known; i++)
    used += (size_t)snprintf(known + used, sizeof known - used, "%s\"%s\"", i ? " or " : "", words[i]);
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s%s%s must be %s", path, *path ? "." : "", name, known);
}

static int compare_text(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* CNS_ERR_FORMAT if a name occurs twice. names is sorted in place. */
static int check_distinct(const char **names, size_t count, const char *what, struct cns_problem *problem) {
  qsort(names, count, sizeof *names, compare_text);
  for (size_t i = 1; i < count; i++)
    if (strcmp(names[i - 1], names[i]) == 0)
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s \"%s\" is named twice", what, names[i]);
  return 0;
}

static int parse_label(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"column", "classes", NULL};
  const cJSON *label, *classes, *item;
  int r = cns_json_get_object(json, "", "label", &label, problem);
  if (r == 0) r = cns_json_only(label, "label", names, problem);
  if (r == 0) r = get_text(label, "label", "column", &plan->label_column, problem);
  if (r == 0) r = cns_json_get_array(label, "label", "classes", &classes, problem);
  if (r < 0) return r;
  int count = cJSON_GetArraySize(classes);
  if (count < 2 || count > CNS_PLAN_CLASSES_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "label.classes has %d entries, but must have 2 to %d",
                           count, CNS_PLAN_CLASSES_MAX);
  const char *sorted[CNS_PLAN_CLASSES_MAX];
  plan->classes = calloc((size_t)count, sizeof *plan->classes);
  if (!plan->classes) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  cJSON_ArrayForEach(item, classes) {
    char path[PATH_CHARS];
    snprintf(path, sizeof path, "label.classes[%zu]", plan->class_count);
    if (!cJSON_IsString(item))
      return cns_problem_set(problem, CNS_ERR_FORMAT, "%s must be a string (the text of the cell)", path);
    r = copy_text(item->valuestring, path, &plan->classes[plan->class_count], problem);
    if (r < 0) return r;
    sorted[plan->class_count] = plan->classes[plan->class_count];
    plan->class_count++;
  }
  return check_distinct(sorted, plan->class_count, "class", problem);
}

static int parse_missing(const cJSON *json, const char *path, struct cns_plan_feature *feature,
                         struct cns_problem *problem) {
  static const char *const names[] = {"impute", NULL};
  const cJSON *missing = cJSON_GetObjectItemCaseSensitive(json, "missing");
  if (cJSON_IsString(missing) && strcmp(missing->valuestring, "drop") == 0) {
    feature->missing = CNS_MISSING_DROP;
    return 0;
  }
  if (!cJSON_IsObject(missing))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s.missing must be \"drop\" or {\"impute\": number}",
                           path);
  char inner[PATH_CHARS + 16];
  snprintf(inner, sizeof inner, "%s.missing", path);
  feature->missing = CNS_MISSING_IMPUTE;
  int r = cns_json_only(missing, inner, names, problem);
  if (r == 0)
    r = cns_json_get_number(missing, inner, "impute", feature->min, feature->max, &feature->impute, problem);
  return r;
}

static int parse_feature(const cJSON *json, const char *path, struct cns_plan_feature *feature,
                         struct cns_problem *problem) {
  static const char *const names[] = {"name", "min", "max", "missing", NULL};
  int r = cns_json_only(json, path, names, problem);
  if (r == 0) r = get_text(json, path, "name", &feature->name, problem);
  if (r == 0) r = cns_json_get_number(json, path, "min", -1e15, 1e15, &feature->min, problem);
  if (r == 0) r = cns_json_get_number(json, path, "max", -1e15, 1e15, &feature->max, problem);
  if (r < 0) return r;
  /* A narrower range than this can't be told apart in a double. */
  double size =
      (feature->max < 0 ? -feature->max : feature->max) + (feature->min < 0 ? -feature->min : feature->min);
  if (!(feature->max - feature->min > 1e-9 * size))
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s: min must be below max", path);
  return parse_missing(json, path, feature, problem);
}

static int parse_features(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  const cJSON *features, *item;
  int r = cns_json_get_array(json, "", "features", &features, problem);
  if (r < 0) return r;
  int count = cJSON_GetArraySize(features);
  if (count < 1 || count > CNS_PLAN_FEATURES_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "features has %d entries, but must have 1 to %d", count,
                           CNS_PLAN_FEATURES_MAX);
  plan->features = calloc((size_t)count, sizeof *plan->features);
  const char **columns = calloc((size_t)count + 2, sizeof *columns);
  if (!plan->features || !columns) r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (r == 0) cJSON_ArrayForEach(item, features) {
      char path[PATH_CHARS];
      struct cns_plan_feature *feature = &plan->features[plan->feature_count];
      snprintf(path, sizeof path, "features[%zu]", plan->feature_count++);
      r = parse_feature(item, path, feature, problem);
      if (r < 0) break;
      columns[plan->feature_count - 1] = feature->name;
    }
  if (r == 0) {
    columns[count] = plan->label_column;
    columns[count + 1] = plan->patient_column;
    r = check_distinct(columns, (size_t)count + 2, "column", problem);
  }
  free(columns);
  return r;
}

static int parse_hidden(const cJSON *model, struct cns_plan *plan, struct cns_problem *problem) {
  const cJSON *hidden, *item;
  int r = cns_json_get_array(model, "model", "hidden", &hidden, problem);
  if (r < 0) return r;
  int count = cJSON_GetArraySize(hidden);
  if (count < 1 || count > CNS_PLAN_HIDDEN_MAX)
    return cns_problem_set(problem, CNS_ERR_RANGE, "model.hidden has %d layers, but must have 1 to %d", count,
                           CNS_PLAN_HIDDEN_MAX);
  cJSON_ArrayForEach(item, hidden) {
    double width = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (!(width >= 1 && width <= CNS_PLAN_WIDTH_MAX && width == (double)(size_t)width))
      return cns_problem_set(problem, CNS_ERR_RANGE, "model.hidden[%zu] must be a whole number from 1 to %d",
                             plan->hidden_count, CNS_PLAN_WIDTH_MAX);
    plan->hidden[plan->hidden_count++] = (size_t)width;
  }
  return 0;
}

static int parse_model(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const kinds[] = {"logistic", "mlp", "external", NULL};
  static const char *const activations[] = {"relu", "tanh", NULL};
  static const char *const logistic_names[] = {"kind", NULL};
  static const char *const mlp_names[] = {"kind", "hidden", "activation", NULL};
  const cJSON *model;
  int kind = 0, activation = 0;
  int r = cns_json_get_object(json, "", "model", &model, problem);
  if (r == 0) r = get_word(model, "model", "kind", kinds, &kind, problem);
  if (r == 0 && kind == CNS_MODEL_EXTERNAL) {
    plan->kind = CNS_MODEL_EXTERNAL;
    return cns_plan_parse_tensors(model, plan, problem);
  }
  if (r == 0) r = cns_json_only(model, "model", kind ? mlp_names : logistic_names, problem);
  if (r == 0 && kind) r = parse_hidden(model, plan, problem);
  if (r == 0 && kind) r = get_word(model, "model", "activation", activations, &activation, problem);
  if (r < 0) return r;
  plan->kind = (enum cns_plan_kind)kind;
  plan->activation = (enum cns_plan_activation)activation;
  /* Layers are at most 65,536 wide, so that no product here overflows. */
  for (size_t l = 0; l < cns_plan_layer_count(plan); l++)
    plan->dim += cns_plan_layer_outputs(plan, l) * (cns_plan_layer_inputs(plan, l) + 1);
  if (plan->dim > CNS_PLAN_DIM_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the model has %zu parameters, but may have at most %zu",
                           plan->dim, CNS_PLAN_DIM_MAX);
  return 0;
}

static int parse_initial(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const seed_names[] = {"seed", NULL};
  static const char *const file_names[] = {"file", "digest", NULL};
  static const char path[] = "initial_model";
  const cJSON *initial;
  int64_t seed = 0;
  int r = cns_json_get_object(json, "", path, &initial, problem);
  if (r < 0) return r;
  plan->initial_from_file = cns_json_has(initial, "file");
  if (!plan->initial_from_file) {
    r = cns_json_only(initial, path, seed_names, problem);
    if (r == 0) r = cns_json_get_int(initial, path, "seed", 0, CNS_PLAN_SEED_MAX, &seed, problem);
    plan->initial_seed = (uint64_t)seed;
    return r;
  }
  r = cns_json_only(initial, path, file_names, problem);
  if (r == 0) r = get_text(initial, path, "file", &plan->initial_file, problem);
  if (r == 0) r = cns_json_get_hex(initial, path, "digest", CNS_DIGEST_BYTES, plan->initial_digest, problem);
  if (r < 0) return r;
  /* The file lies beside the study file; a path would reach elsewhere. */
  if (strspn(plan->initial_file, letters) != strlen(plan->initial_file) || plan->initial_file[0] == '.')
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "initial_model.file must be a plain file name of letters, digits, '-', '_' and '.'");
  return 0;
}

/* Left out: the clip norm is training.clip_norm in every round. Comes after "training". */
static int parse_adaptive_clip(const cJSON *privacy, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"quantile", "rate", "share", "min", "max", NULL};
  static const char path[] = "privacy.adaptive_clip";
  struct cns_adaptive_clip a = {0};
  const cJSON *json;
  if (!cns_json_has(privacy, "adaptive_clip")) return 0;
  int r = cns_json_get_object(privacy, "privacy", "adaptive_clip", &json, problem);
  if (r == 0) r = cns_json_only(json, path, names, problem);
  if (r == 0) r = cns_json_get_number(json, path, "quantile", 0.01, 0.99, &a.quantile, problem);
  if (r == 0) r = cns_json_get_number(json, path, "rate", 1e-6, CNS_ADAPTIVE_CLIP_RATE_MAX, &a.rate, problem);
  if (r == 0)
    r = cns_json_get_number(json, path, "share", CNS_ADAPTIVE_CLIP_SHARE_MIN, CNS_ADAPTIVE_CLIP_SHARE_MAX,
                            &a.share, problem);
  if (r == 0) r = cns_json_get_number(json, path, "min", 1e-6, 1e6, &a.min, problem);
  if (r == 0) r = cns_json_get_number(json, path, "max", 1e-6, 1e6, &a.max, problem);
  if (r < 0) return r;
  if (!(a.min < a.max) || plan->clip_norm < a.min || plan->clip_norm > a.max)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "%s: min (%g) must be below max (%g), and training.clip_norm (%g), with which the "
                           "first round begins, between them",
                           path, a.min, a.max, plan->clip_norm);
  plan->adaptive_clip = a;
  return 0;
}

/* Left out: no noised metrics. */
static int parse_noised_metrics(const cJSON *privacy, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"share", "loss_max", NULL};
  static const char path[] = "privacy.metrics";
  struct cns_noised_metrics m = {0};
  const cJSON *json;
  if (!cns_json_has(privacy, "metrics")) return 0;
  int r = cns_json_get_object(privacy, "privacy", "metrics", &json, problem);
  if (r == 0) r = cns_json_only(json, path, names, problem);
  if (r == 0)
    r = cns_json_get_number(json, path, "share", CNS_NOISED_METRICS_SHARE_MIN, CNS_NOISED_METRICS_SHARE_MAX,
                            &m.share, problem);
  if (r == 0)
    r = cns_json_get_number(json, path, "loss_max", CNS_NOISED_METRICS_LOSS_MIN, CNS_NOISED_METRICS_LOSS_MAX,
                            &m.loss_max, problem);
  if (r == 0) plan->noised_metrics = m;
  return r;
}

/* Left out: no noise. The policy says which unit it protects and whether it suffices. */
static int parse_privacy(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"noise_multiplier", "sampling_rate", "adaptive_clip", "metrics", NULL};
  static const char path[] = "privacy";
  const cJSON *privacy;
  if (!cns_json_has(json, path)) return 0;
  int r = cns_json_get_object(json, "", path, &privacy, problem);
  if (r == 0) r = cns_json_only(privacy, path, names, problem);
  if (r == 0)
    r = cns_json_get_number(privacy, path, "noise_multiplier", 0.01, 1e6, &plan->noise_multiplier, problem);
  if (r == 0) r = cns_json_get_number(privacy, path, "sampling_rate", 1e-9, 1, &plan->sampling_rate, problem);
  if (r == 0) r = parse_adaptive_clip(privacy, plan, problem);
  return r ? r : parse_noised_metrics(privacy, plan, problem);
}

static int parse_names(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const tasks[] = {"classification", "other", NULL};
  const char *name;
  int64_t version;
  int task;
  int r = cns_json_get_string(json, "", "name", CNS_PLAN_NAME_MAX, &name, problem);
  if (r == 0) r = cns_json_get_int(json, "", "version", 1, UINT32_MAX, &version, problem);
  if (r == 0) r = get_word(json, "", "task", tasks, &task, problem);
  if (r == 0 && plan->has_table) r = get_text(json, "", "patient_id", &plan->patient_column, problem);
  if (r < 0) return r;
  if (task && plan->has_table)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "task must be \"classification\" in a study with a table");
  if (!*name || strspn(name, letters) != strlen(name) || name[0] == '.')
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "name must be of letters, digits, '-', '_' and '.', and not begin with '.'");
  memcpy(plan->name, name, strlen(name) + 1);
  plan->version = (uint64_t)version;
  return 0;
}

static int parse_all(const cJSON *json, struct cns_plan *plan, struct cns_problem *problem) {
  static const char *const names[] = {"name",          "version", "task",     "label",     "patient_id",
                                      "features",      "model",   "training", "weighting", "validation_share",
                                      "initial_model", "privacy", NULL};
  static const char *const weightings[] = {"equal", "patients", NULL};
  int weighting = 0;
  int r = cns_json_only(json, "", names, problem);
  plan->has_table = cns_plan_names_table(json);
  if (r == 0) r = parse_names(json, plan, problem);
  if (r == 0 && plan->has_table) r = parse_label(json, plan, problem);
  if (r == 0 && plan->has_table) r = parse_features(json, plan, problem);
  if (r == 0) r = parse_model(json, plan, problem);
  if (r == 0) r = cns_plan_parse_training(json, plan, problem);
  if (r == 0) r = parse_initial(json, plan, problem);
  if (r == 0) r = parse_privacy(json, plan, problem);
  if (r == 0) r = get_word(json, "", "weighting", weightings, &weighting, problem);
  if (r == 0) r = cns_json_get_number(json, "", "validation_share", 0, 0.5, &plan->validation_share, problem);
  plan->weighting = (enum cns_plan_weighting)weighting;
  if (r == 0) r = cns_plan_check_external(plan, problem);
  return r ? r : cns_plan_check_scaffold(plan, problem);
}

int cns_plan_parse(const char *text, size_t len, const char *where, struct cns_plan *ret_plan,
                   struct cns_problem *problem) {
  if (len > CNS_PLAN_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a study file may have at most %u bytes", where,
                           CNS_PLAN_BYTES_MAX);
  cJSON *json;
  int r = cns_json_parse(text, len, where, &json, problem);
  if (r < 0) return r;
  struct cns_plan plan = {0};
  r = parse_all(json, &plan, problem);
  cJSON_Delete(json);
  if (r < 0) {
    cns_plan_deinit(&plan);
    return cns_problem_prefix(problem, r, "study file %s", where);
  }
  *ret_plan = plan;
  return 0;
}

void cns_plan_deinit(struct cns_plan *plan) {
  for (size_t i = 0; i < plan->class_count; i++)
    free(plan->classes[i]);
  for (size_t i = 0; i < plan->feature_count; i++)
    free(plan->features[i].name);
  free(plan->classes);
  free(plan->features);
  free(plan->label_column);
  free(plan->patient_column);
  free(plan->initial_file);
  cns_tensor_list_deinit(&plan->tensors);
  *plan = (struct cns_plan){0};
}

size_t cns_plan_dim(const struct cns_plan *plan) {
  return plan->dim;
}

size_t cns_plan_round_dim(const struct cns_plan *plan) {
  return plan->scaffold.steps > 0 ? 2 * plan->dim : plan->dim;
}

size_t cns_plan_update_dim(const struct cns_plan *plan) {
  return cns_plan_round_dim(plan) + (plan->adaptive_clip.share > 0 ? 1 : 0) +
         (plan->noised_metrics.share > 0 ? 2 : 0);
}

double cns_plan_clip_norm_max(const struct cns_plan *plan) {
  return plan->adaptive_clip.share > 0 ? plan->adaptive_clip.max : plan->clip_norm;
}

size_t cns_plan_metrics_dim(const struct cns_plan *plan) {
  return plan->kind == CNS_MODEL_EXTERNAL ? 0 : cns_metrics_dim(plan->class_count);
}

size_t cns_plan_layer_count(const struct cns_plan *plan) {
  return plan->hidden_count + 1;
}

size_t cns_plan_layer_inputs(const struct cns_plan *plan, size_t layer) {
  return layer == 0 ? plan->feature_count : plan->hidden[layer - 1];
}

size_t cns_plan_layer_outputs(const struct cns_plan *plan, size_t layer) {
  return layer < plan->hidden_count ? plan->hidden[layer] : plan->class_count;
}

size_t cns_plan_tensor_count(const struct cns_plan *plan) {
  return 2 * cns_plan_layer_count(plan);
}

struct cns_plan_tensor cns_plan_tensor(const struct cns_plan *plan, size_t index) {
  size_t layer = index / 2, offset = 0;
  for (size_t l = 0; l < layer; l++)
    offset += cns_plan_layer_outputs(plan, l) * (cns_plan_layer_inputs(plan, l) + 1);
  size_t outputs = cns_plan_layer_outputs(plan, layer), inputs = cns_plan_layer_inputs(plan, layer);
  struct cns_plan_tensor tensor = {.shape = {outputs, inputs}, .shape_count = 2, .offset = offset};
  tensor.count = outputs * inputs;
  if (index % 2) {
    tensor.shape[1] = 0;
    tensor.shape_count = 1;
    tensor.offset += outputs * inputs;
    tensor.count = outputs;
  }
  snprintf(tensor.name, sizeof tensor.name, "layer%zu.%s", layer, index % 2 ? "bias" : "weight");
  return tensor;
}
