/* SPDX-License-Identifier: Apache-2.0 */
/* Model files of others: their numbers as F32, all of them finite, and nothing else of the file. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/model_call.h"
#include "cli/study.h"
#include "model/foreign.h"
#include "model/modelfile.h"
#include "model/npy_numbers.h"

#define VERB "model import"

struct import {
  const char *from, *out, *study, *like, *tensor;
  bool floats_only, json;
  struct cns_safetensors *file; /* one of them */
  struct cns_npy_numbers *array;
  struct cns_tensor_list list; /* of what is written */
  struct cns_tensors_written written;
};

/* ---- what is read ---- */

/* By its first bytes: names say nothing. */
static int is_npy(const char *path, bool *ret_is, struct cns_problem *problem) {
  uint8_t head[8];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  ssize_t len = fd < 0 ? -1 : read(fd, head, sizeof head);
  int number = errno;
  if (fd >= 0) close(fd);
  if (len < 0)
    return cns_problem_set(problem, cns_error_from_errno(number), "%s: can't be read: %s", path,
                           strerror(number));
  *ret_is = cns_foreign_is_npy(head, (size_t)len);
  return 0;
}

static int open_input(struct import *import, struct cns_problem *problem) {
  bool npy = false;
  int r = is_npy(import->from, &npy, problem);
  if (r) return r;
  if (import->tensor && !npy)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "%s: is no NumPy array: --tensor would name nothing, its tensors have names",
                           import->from);
  if (npy) return cns_npy_numbers_open(import->from, &import->array, problem);
  return import->floats_only ? cns_safetensors_open_floats(import->from, &import->file, problem)
                             : cns_safetensors_open_unmapped(import->from, &import->file, problem);
}

static int load_array(void *context, size_t tensor, size_t begin, size_t count, float *out,
                      struct cns_problem *problem) {
  const struct import *import = context;
  return cns_npy_numbers_load(import->array, import->list.tensors[tensor].offset + begin, count, out,
                              problem);
}

/* ---- what is written ---- */

static int list_of_study(struct import *import, struct cns_problem *problem) {
  struct cns_study study = {0};
  int r = cns_study_load_plan(import->study, &study, problem);
  if (!r) r = cns_tensor_list_from_plan(&study.plan, &import->list, problem);
  cns_study_deinit(&study);
  return r;
}

static int list_of_array(struct import *import, struct cns_problem *problem) {
  const struct cns_npy_numbers *array = import->array;
  int r = cns_tensor_list_add(&import->list, import->tensor ? import->tensor : "model",
                              cns_npy_numbers_shape(array), cns_npy_numbers_dimensions(array), problem);
  return r ? cns_problem_prefix(problem, r, "%s", import->from) : 0;
}

/* The study's tensors, or another model's, or those of the input. */
static int make_list(struct import *import, struct cns_problem *problem) {
  if (import->study) return list_of_study(import, problem);
  if (import->like) return cns_tensor_list_read(import->like, &import->list, problem);
  if (import->array) return list_of_array(import, problem);
  int r = cns_tensor_list_from_safetensors(import->file, &import->list, problem);
  return r ? cns_problem_prefix(problem, r, "%s", import->from) : 0;
}

static int check_fit(const struct import *import, struct cns_problem *problem) {
  if (import->file) return cns_tensors_check(import->file, import->from, &import->list, problem);
  if (cns_npy_numbers_count(import->array) == import->list.dim) return 0;
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: has %zu numbers, but the model has %zu parameters",
                         import->from, cns_npy_numbers_count(import->array), import->list.dim);
}

static int check_out(const struct import *import, struct cns_problem *problem) {
  struct stat from, out;
  if (stat(import->from, &from) != 0 || stat(import->out, &out) != 0) return 0;
  if (from.st_dev != out.st_dev || from.st_ino != out.st_ino) return 0;
  return cns_problem_set(problem, CNS_ERR_REFUSED,
                         "%s: is the file that is imported; choose another name for --out", import->out);
}

static int write_output(struct import *import, struct cns_problem *problem) {
  struct cns_tensors_file file = {import->file, &import->list};
  struct cns_tensors_source source = {.load = import->file ? cns_tensors_from_file : load_array,
                                      .context = import->file ? (void *)&file : (void *)import,
                                      .where = import->from,
                                      .finite = true};
  return cns_tensors_write_from(import->out, &import->list, &source, 0644, &import->written, problem);
}

static int run(struct import *import, struct cns_problem *problem) {
  int r = open_input(import, problem);
  if (!r) r = check_out(import, problem);
  if (!r) r = make_list(import, problem);
  if (!r) r = check_fit(import, problem);
  return r ? r : write_output(import, problem);
}

/* ---- what is said ---- */

/* "F16", "F32, BF16", "'<f8'" */
static void types_text(const struct import *import, char *out, size_t room) {
  bool has[3] = {false};
  *out = '\0';
  if (import->array) {
    snprintf(out, room, "'%s'", cns_npy_numbers_type(import->array));
    return;
  }
  for (size_t i = 0; i < cns_safetensors_count(import->file); i++)
    has[cns_safetensors_get(import->file, i)->dtype] = true;
  for (int dtype = CNS_DTYPE_F32; dtype <= CNS_DTYPE_BF16; dtype++)
    if (has[dtype])
      snprintf(out + strlen(out), room - strlen(out), "%s%s", *out ? ", " : "",
               cns_dtype_name((enum cns_dtype)dtype));
}

static int say(const struct import *import) {
  char digest[CNS_DIGEST_CHARS], types[32];
  const char *slash = strrchr(import->out, '/'), *name = slash ? slash + 1 : import->out;
  cns_hex_encode(import->written.digest, sizeof import->written.digest, digest);
  types_text(import, types, sizeof types);
  size_t left_out = import->file ? cns_safetensors_passed_over(import->file) : 0;
  if (import->json) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "file", import->out);
    cJSON_AddStringToObject(object, "digest", digest);
    cJSON_AddNumberToObject(object, "tensors", (double)import->list.count);
    cJSON_AddNumberToObject(object, "parameters", (double)import->list.dim);
    cJSON_AddNumberToObject(object, "bytes", (double)import->written.bytes);
    cJSON_AddStringToObject(object, "from", types);
    cJSON_AddNumberToObject(object, "left_out", (double)left_out);
    return cns_cli_print_json(object);
  }
  FILE *out = cns_cli_beside(import->out);
  fprintf(out, "%s: %zu tensors, %zu parameters (F32, from %s)\n  digest %s\n", import->out,
          import->list.count, import->list.dim, types, digest);
  if (left_out) fprintf(out, "  %zu tensors of whole numbers are left out.\n", left_out);
  fprintf(out, "  In the study file beside it: \"initial_model\": {\"file\": \"%s\", \"digest\": \"%s\"}\n",
          name, digest);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int parse(struct import *import, int argc, char **argv) {
  const struct cns_option table[] = {
      {"out", "FILE", "write the model there (safetensors, F32)", CNS_OPTION_TEXT, &import->out, 0, 0},
      {"study", "FILE", "the model is this study's: its tensors, in its order", CNS_OPTION_TEXT,
       &import->study, 0, 0},
      {"like", "FILE", "its tensors are those of this safetensors file, in its order", CNS_OPTION_TEXT,
       &import->like, 0, 0},
      {"tensor", "NAME", "the name of a NumPy array's one tensor (model)", CNS_OPTION_TEXT, &import->tensor,
       0, 0},
      {"floats-only", NULL, "leave out tensors of whole numbers, such as counters; else an error",
       CNS_OPTION_FLAG, &import->floats_only, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &import->json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model import FILE --out MODEL [OPTION]...",
      "Makes a model file that a study can begin with (initial_model.file), and says the digest for\n"
      "the study file. FILE is safetensors (F32, F16, BF16) or NumPy's .npy (float16, float32,\n"
      "float64): one tensor or, with --study or --like, all parameters one after another. Pickles\n"
      "(.pt, .pth, .pkl, .joblib) are refused: loading one runs code that is in the file.",
      table, 1, 1};
  int operands = 0, r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return r;
  import->from = argv[1];
  return 0;
}

static int check_call(const struct import *import) {
  if (!import->out) return cns_cli_usage_error(VERB, "--out FILE is missing");
  if ((import->study != NULL) + (import->like != NULL) + (import->tensor != NULL) > 1)
    return cns_cli_usage_error(VERB, "only one of --study, --like and --tensor can be given");
  return 0;
}

int cns_model_import(int argc, char **argv) {
  struct import import = {0};
  struct cns_problem problem = {0};
  int r = parse(&import, argc, argv);
  if (r) return cns_cli_parse_exit(r);
  int code = check_call(&import);
  if (code) return code;
  r = run(&import, &problem);
  code = r ? cns_cli_fail(r, &problem) : say(&import);
  cns_tensor_list_deinit(&import.list);
  cns_npy_numbers_free(import.array);
  cns_safetensors_free(import.file);
  return code;
}
