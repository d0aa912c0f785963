/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/model_call.h"
#include "cli/models.h"
#include "model/modelfile.h"

#define VERB "model export"
#define OWN_PAIRS 10

struct call {
  const char *from, *out, *dtype_name, *format, *tensor;
  int64_t round;
  bool clamp, json;
  enum cns_dtype dtype;
  bool npy;
};

/* The model, out of a kit or a file, and where it comes from, in the file itself. */
struct exported {
  bool from_kit;
  struct cns_models models;
  struct cns_models_version version;
  struct cns_safetensors *file;
  struct cns_tensor_list list;
  bool without_control;      /* SCAFFOLD's control variate is left out */
  struct cns_digest digest;  /* of the model as it is */
  struct cns_digest rounded; /* of the numbers that are written */
  struct cns_safetensors_pair pairs[CNS_SAFETENSORS_METADATA_MAX];
  size_t pair_count;
  char round[24], plan_version[24];
  char digest_hex[CNS_DIGEST_CHARS], rounded_hex[CNS_DIGEST_CHARS];
  char plan[CNS_DIGEST_CHARS], round_hex[CNS_DIGEST_CHARS];
  struct cns_tensors_written written;
};

static void hex(const struct cns_digest *digest, char out[static CNS_DIGEST_CHARS]) {
  cns_hex_encode(digest->bytes, sizeof digest->bytes, out);
}

/* ---- where from ---- */

static int open_kit(const struct call *call, struct exported *e, struct cns_problem *problem) {
  uint64_t round = call->round < 0 ? CNS_MODELS_LATEST : (uint64_t)call->round;
  int r = cns_models_open(call->from, &e->models, problem);
  if (r) return r;
  e->from_kit = true;
  r = cns_models_get(&e->models, round, &e->version, problem);
  if (r) return r;
  e->digest = e->version.digest;
  return cns_safetensors_parse(e->version.bytes, e->version.len, "the model kept", &e->file, problem);
}

static int open_file(const struct call *call, struct exported *e, struct cns_problem *problem) {
  if (call->round >= 0)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "%s: is a file: --round chooses one of a kit's models",
                           call->from);
  int r = cns_safetensors_open(call->from, &e->file, problem);
  return r ? r : cns_models_check_file(e->file, call->from, problem);
}

static int keep_tensor(const struct call *call, struct exported *e, struct cns_problem *problem) {
  struct cns_tensor_list one = {0};
  int r = 0;
  for (size_t i = 0; r == 0 && i < e->list.count; i++) {
    const struct cns_tensor *tensor = &e->list.tensors[i];
    if (strcmp(tensor->name, call->tensor) == 0)
      r = cns_tensor_list_add(&one, tensor->name, tensor->shape, tensor->shape_count, problem);
  }
  if (r == 0 && one.count == 0)
    r = cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: the model has no tensor \"%s\"", call->from,
                        call->tensor);
  cns_tensor_list_deinit(&e->list);
  e->list = one;
  return r;
}

static int open_model(const struct call *call, struct exported *e, struct cns_problem *problem) {
  struct stat info;
  bool file = stat(call->from, &info) == 0 && S_ISREG(info.st_mode);
  int r = file ? open_file(call, e, problem) : open_kit(call, e, problem);
  if (!r) r = cns_tensor_list_from_safetensors(e->file, &e->list, problem);
  e->without_control = r == 0 && e->from_kit && cns_tensor_list_drop_control(&e->list);
  return r;
}

/* ---- what the file says of itself ---- */

static void add_pair(struct exported *e, const char *key, const char *value) {
  e->pairs[e->pair_count++] = (struct cns_safetensors_pair){key, value};
}

static void add_kit_pairs(struct exported *e) {
  snprintf(e->round, sizeof e->round, "%" PRIu64, e->version.round);
  add_pair(e, "format", "consilium");
  hex(&e->version.digest, e->round_hex);
  if (e->without_control) add_pair(e, "round_model_digest", e->round_hex);
  add_pair(e, "round", e->round);
  if (!e->models.has_kit) return;
  snprintf(e->plan_version, sizeof e->plan_version, "%" PRIu64, e->models.plan.version);
  hex(&e->models.kit.study_document.digest, e->plan);
  add_pair(e, "consortium", e->models.kit.roster.consortium);
  add_pair(e, "study", e->models.plan.name);
  add_pair(e, "study_version", e->plan_version);
  add_pair(e, "study_digest", e->plan);
}

static int add_file_pairs(const struct call *call, struct exported *e, struct cns_problem *problem) {
  size_t count = cns_safetensors_metadata_count(e->file);
  if (count > CNS_SAFETENSORS_METADATA_MAX - OWN_PAIRS)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: has more than %d pairs of metadata", call->from,
                           CNS_SAFETENSORS_METADATA_MAX - OWN_PAIRS);
  for (size_t i = 0; i < count; i++) {
    struct cns_safetensors_pair pair = cns_safetensors_metadata_at(e->file, i);
    if (strcmp(pair.key, "model_digest") != 0 && strcmp(pair.key, "rounded_from") != 0)
      add_pair(e, pair.key, pair.value);
  }
  return 0;
}

/* model_digest is of the numbers that are in the file, so that damage is found; what they were
 * rounded from, the model that a coordinator signed, is named beside it. */
static int add_pairs(const struct call *call, struct exported *e, struct cns_problem *problem) {
  struct cns_tensors_file from = {e->file, &e->list};
  struct cns_tensors_source source = {.load = cns_tensors_from_file,
                                      .context = &from,
                                      .where = call->from,
                                      .overflow = call->clamp ? CNS_OVERFLOW_CLAMP : CNS_OVERFLOW_REFUSE};
  bool known = e->from_kit && !e->without_control;
  int r = known ? 0 : cns_models_digest(&e->list, &source, &e->digest, problem);
  source.rounded = call->dtype;
  if (!r) r = cns_models_digest(&e->list, &source, &e->rounded, problem);
  if (r) return r;
  hex(&e->digest, e->digest_hex);
  hex(&e->rounded, e->rounded_hex);
  if (e->from_kit)
    add_kit_pairs(e);
  else
    r = add_file_pairs(call, e, problem);
  if (r) return r;
  add_pair(e, "model_digest", e->rounded_hex);
  if (!cns_digest_equal(&e->digest, &e->rounded)) add_pair(e, "rounded_from", e->digest_hex);
  return 0;
}

static int write_model(const struct call *call, struct exported *e, struct cns_problem *problem) {
  struct cns_tensors_file from = {e->file, &e->list};
  int r = add_pairs(call, e, problem);
  if (!r && call->tensor) r = keep_tensor(call, e, problem);
  if (r) return r;
  struct cns_tensors_source source = {.load = cns_tensors_from_file,
                                      .context = &from,
                                      .where = call->from,
                                      .dtype = call->dtype,
                                      .overflow = call->clamp ? CNS_OVERFLOW_CLAMP : CNS_OVERFLOW_REFUSE,
                                      .metadata = e->pairs,
                                      .metadata_count = e->pair_count};
  return call->npy ? cns_tensors_write_npy(call->out, &e->list, &source, 0644, &e->written, problem)
                   : cns_tensors_write_from(call->out, &e->list, &source, 0644, &e->written, problem);
}

/* ---- what is said ---- */

static bool is_verified(const struct exported *e) {
  return e->version.has_manifest || (e->models.has_kit && e->version.round == 0);
}

static int say_json(const struct call *call, const struct exported *e) {
  char file[CNS_DIGEST_CHARS];
  cJSON *object = cJSON_CreateObject();
  cns_hex_encode(e->written.digest, sizeof e->written.digest, file);
  cJSON_AddStringToObject(object, "file", call->out);
  if (e->models.has_kit) cJSON_AddStringToObject(object, "study", e->models.plan.name);
  if (e->from_kit) cJSON_AddNumberToObject(object, "round", (double)e->version.round);
  cJSON_AddStringToObject(object, "model_digest", e->digest_hex);
  if (e->without_control) cJSON_AddStringToObject(object, "round_model_digest", e->round_hex);
  if (e->from_kit) cJSON_AddBoolToObject(object, "verified", is_verified(e));
  cJSON_AddStringToObject(object, "format", call->npy ? "npy" : "safetensors");
  cJSON_AddStringToObject(object, "dtype", cns_dtype_name(call->dtype));
  cJSON_AddStringToObject(object, "digest", file);
  return cns_cli_print_json(object);
}

static int say(const struct call *call, const struct exported *e) {
  FILE *out = cns_cli_beside(call->out);
  if (call->json) return say_json(call, e);
  if (e->from_kit)
    fprintf(out, "%s: the model after round %" PRIu64 "%s%s\n", call->out, e->version.round,
            e->models.has_kit ? " of " : "", e->models.has_kit ? e->models.plan.name : "");
  else
    fprintf(out, "%s: the model in %s\n", call->out, call->from);
  fprintf(out, "  digest %s\n", e->digest_hex);
  if (e->without_control)
    fprintf(
        out,
        "  The control variate of SCAFFOLD is left out; with it, the round's model has the digest\n  %s.\n",
        e->round_hex);
  if (!cns_digest_equal(&e->digest, &e->rounded))
    fprintf(out, "  Its numbers are rounded to %s, and so the file has another model_digest.\n",
            cns_dtype_name(call->dtype));
  if (e->from_kit && !is_verified(e))
    fprintf(out, "  Without the kit nobody's signature could be checked, only that the file is whole.\n");
  else if (e->from_kit && e->version.round > 0)
    fprintf(out, "  The coordinator's signature on this round is good.\n");
  return cns_cli_finish(CNS_EXIT_OK);
}

/* ---- the call ---- */

static int parse(struct call *call, int argc, char **argv) {
  const struct cns_option table[] = {
      {"out", "FILE", "write the model there", CNS_OPTION_TEXT, &call->out, 0, 0},
      {"round", "R", "the kit's model after this round, 0 the initial one (the latest)", CNS_OPTION_INT,
       &call->round, 0, 1e9},
      {"dtype", "TYPE", "round the numbers to f16 or bf16 (f32: as they are)", CNS_OPTION_TEXT,
       &call->dtype_name, 0, 0},
      {"clamp", NULL, "numbers too large for f16 or bf16 become its largest; else an error", CNS_OPTION_FLAG,
       &call->clamp, 0, 0},
      {"format", "FORMAT", "safetensors, or npy: all parameters one after another (safetensors)",
       CNS_OPTION_TEXT, &call->format, 0, 0},
      {"tensor", "NAME", "with npy: this tensor alone, in its shape", CNS_OPTION_TEXT, &call->tensor, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &call->json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model export KIT|MODEL --out FILE [OPTION]...",
      "Copies a model out of a coordinator's or a hospital's kit, also while it runs, after\n"
      "checking that the coordinator signed it; or out of a model file. The file says in its\n"
      "metadata which study and round it is of. The state folder alone will do too, without that\n"
      "check. The models of the last ten rounds are kept.",
      table, 1, 1};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return r;
  call->from = argv[1];
  return 0;
}

static int check_call(struct call *call) {
  char upper[8] = "";
  if (!call->out) return cns_cli_usage_error(VERB, "--out FILE is missing");
  for (size_t i = 0; call->dtype_name && i + 1 < sizeof upper && call->dtype_name[i]; i++)
    upper[i] = (char)(call->dtype_name[i] >= 'a' ? call->dtype_name[i] - 'a' + 'A' : call->dtype_name[i]);
  if (call->dtype_name &&
      (strlen(call->dtype_name) + 1 > sizeof upper || cns_dtype_from_name(upper, &call->dtype) != 0))
    return cns_cli_usage_error(VERB, "--dtype is f32, f16 or bf16, not \"%s\"", call->dtype_name);
  if (call->format && strcmp(call->format, "safetensors") != 0 && strcmp(call->format, "npy") != 0)
    return cns_cli_usage_error(VERB, "--format is safetensors or npy, not \"%s\"", call->format);
  call->npy = call->format && strcmp(call->format, "npy") == 0;
  if (call->npy && call->dtype == CNS_DTYPE_BF16)
    return cns_cli_usage_error(VERB, "NumPy has no bf16: --dtype is f32 or f16 with --format npy");
  if (call->tensor && !call->npy) return cns_cli_usage_error(VERB, "--tensor needs --format npy");
  if (call->clamp && call->dtype == CNS_DTYPE_F32)
    return cns_cli_usage_error(VERB, "--clamp needs --dtype f16 or bf16");
  return 0;
}

int cns_model_export(int argc, char **argv) {
  struct call call = {.round = -1};
  struct exported e = {0};
  struct cns_problem problem = {0};
  int r = parse(&call, argc, argv);
  if (r) return cns_cli_parse_exit(r);
  int code = check_call(&call);
  if (code) return code;
  r = open_model(&call, &e, &problem);
  if (!r) r = write_model(&call, &e, &problem);
  code = r ? cns_cli_fail(r, &problem) : say(&call, &e);
  cns_tensor_list_deinit(&e.list);
  cns_safetensors_free(e.file);
  cns_models_version_deinit(&e.version);
  if (e.from_kit) cns_models_deinit(&e.models);
  return code;
}
