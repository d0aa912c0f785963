/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target of the readers of model files. The first byte chooses what is given the
 * rest, modulo their number:
 *
 *   0  safetensors
 *   1  a .npy file
 *   2  the recognition of foreign formats
 *   3  a safetensors header alone, whose tensors of whole numbers are passed over
 *
 * With -Dfuzz=true (clang) libFuzzer drives it; otherwise main runs every file of the
 * folder it is given (tests/fuzz/model_corpus.py makes them), and mutations of each from a seed.
 */
#include "crypto/rng.h"
#include "model/foreign.h"
#include "model/npy.h"
#include "model/safetensors_internal.h"
#include "model/tensors.h"
#include "tests/fuzz/run.h"

#define TARGETS 4
#define INPUT_MAX ((size_t)1 << 16)

/* The file's tensors tile what is behind its header, and each of their numbers can be loaded. */
static void check_tensors(const struct cns_safetensors *file, size_t len) {
  struct cns_tensor_list list = {0};
  struct cns_problem problem = {0};
  uint64_t first = len, bytes = 0;
  float sum = 0, block[64];
  for (size_t i = 0; i < cns_safetensors_count(file); i++) {
    const struct cns_safetensors_tensor *tensor = cns_safetensors_get(file, i);
    uint64_t size = (uint64_t)tensor->count * cns_dtype_bytes(tensor->dtype);
    if (tensor->count == 0 || tensor->offset > len || size > len - tensor->offset) abort();
    if (tensor->offset < first) first = tensor->offset;
    bytes += size;
    for (size_t at = 0; at < tensor->count; at += 64) {
      size_t count = tensor->count - at < 64 ? tensor->count - at : 64;
      if (cns_safetensors_load(file, tensor, at, count, block, NULL) != 0) abort();
      sum += block[count - 1];
    }
  }
  if (first + bytes != len) abort();
  if (cns_tensor_list_from_safetensors(file, &list, &problem) != 0) {
    if (cns_safetensors_count(file) != 0 || problem.text[0] == '\0') abort();
  } else if (cns_tensors_check(file, "f", &list, NULL) != 0) {
    abort();
  }
  cns_tensor_list_deinit(&list);
  if (sum == 12345.678f) putchar(' '); /* the numbers are used */
}

static void give_safetensors(const uint8_t *data, size_t len) {
  struct cns_safetensors *file = NULL;
  struct cns_problem problem = {0};
  int r = cns_safetensors_parse(data, len, "f", &file, &problem);
  if (r < 0 ? problem.text[0] == '\0' : r != 0) abort();
  if (r == 0) check_tensors(file, len);
  cns_safetensors_free(file);
}

static void give_npy(const uint8_t *data, size_t len) {
  struct cns_npy_array array = {0};
  struct cns_problem problem = {0};
  int r = cns_npy_parse_array(data, len, "f", &array, &problem);
  if (r < 0 && problem.text[0] == '\0') abort();
  cns_npy_array_deinit(&array);
}

static void give_foreign(const uint8_t *data, size_t len) {
  struct cns_problem problem = {0};
  int r = cns_foreign_refuse(data, len, 0, &problem);
  if ((r < 0) != (problem.text[0] != '\0')) abort();
}

static void give_header(const uint8_t *data, size_t len) {
  struct cns_safetensors file = {.fd = -1, .floats_only = true};
  struct cns_problem problem = {0};
  uint64_t behind = 19; /* bytes of the corpus's tensors */
  int r = cns_safetensors_read_header(&file, (const char *)data, len, 8 + len + behind, &problem);
  if ((r < 0) != (problem.text[0] != '\0')) abort();
  for (size_t i = 0; r == 0 && i < file.count; i++) {
    uint64_t size = (uint64_t)file.tensors[i].count * cns_dtype_bytes(file.tensors[i].dtype);
    if (file.tensors[i].offset < 8 + len || file.tensors[i].offset + size > 8 + len + behind) abort();
  }
  cJSON_Delete(file.header);
  free(file.tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 1 || len > INPUT_MAX) return 0;
  size_t target = data[0] % TARGETS;
  if (target == 0) give_safetensors(data + 1, len - 1);
  if (target == 1) give_npy(data + 1, len - 1);
  if (target == 2) give_foreign(data + 1, len - 1);
  if (target == 3) give_header(data + 1, len - 1);
  return 0;
}

#ifndef CNS_FUZZ

/* What hostile headers are made of. */
static const char *const words[] = {"0",
                                    "-1",
                                    "1.5",
                                    "9007199254740992",
                                    "9007199254740993",
                                    "18446744073709551615",
                                    "4294967296",
                                    "1e400",
                                    "null",
                                    "true",
                                    "[]",
                                    "{}",
                                    "[0,4]",
                                    "[4,0]",
                                    "[0]",
                                    "F16",
                                    "BF16",
                                    "F32",
                                    "I64",
                                    "shape",
                                    "dtype",
                                    "data_offsets",
                                    "__metadata__",
                                    "\"a\":",
                                    ",",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "\\u0000",
                                    "\\ud800",
                                    "\xFF",
                                    "'<f2'",
                                    "'|O'",
                                    "(1,)",
                                    "True"};

struct mutant {
  struct cns_rng_seeded generator;
  uint8_t bytes[INPUT_MAX];
  size_t len;
};

static size_t below(struct mutant *m, size_t bound) {
  uint64_t value = 0;
  if (cns_rng_uniform_u64(cns_rng_seeded(&m->generator), bound, &value) != 0) abort();
  return (size_t)value;
}

/* `count` bytes at `at` give way to others. */
static void replace(struct mutant *m, size_t at, size_t count, const void *bytes, size_t len) {
  if (m->len - count + len > sizeof m->bytes) return;
  memmove(m->bytes + at + len, m->bytes + at + count, m->len - at - count);
  memcpy(m->bytes + at, bytes, len);
  m->len += len - count;
}

/* The length in front of a safetensors header follows its header, so that what is behind is reached. */
static void mend_length(struct mutant *m, size_t was) {
  uint64_t header = 0;
  if (m->bytes[0] != 0 || m->len < 9) return;
  memcpy(&header, m->bytes + 1, sizeof header);
  header += m->len - was;
  memcpy(m->bytes + 1, &header, sizeof header);
}

static void mutate(struct mutant *m) {
  size_t was = m->len, at = 1 + below(m, m->len - 1), left = m->len - at;
  uint8_t copy[64];
  const char *word = words[below(m, sizeof words / sizeof words[0])];
  switch (below(m, 5)) {
  case 0: /* a bit */
    m->bytes[at] ^= (uint8_t)(1u << below(m, 8));
    break;
  case 1: /* a word */
    replace(m, at, below(m, left < 8 ? left + 1 : 8), word, strlen(word));
    break;
  case 2: /* a piece, once more */
    left = left < sizeof copy ? left : sizeof copy;
    memcpy(copy, m->bytes + at, left);
    replace(m, 1 + below(m, m->len - 1), 0, copy, below(m, left + 1));
    break;
  case 3: /* something is missing */
    if (m->len > 16) replace(m, at, below(m, left < 16 ? left : 16), "", 0);
    break;
  default: /* cut off */
    if (below(m, 4) == 0 && m->len > 16) m->len = at + 1;
    return;
  }
  if (below(m, 2) == 0) mend_length(m, was);
}

static void run_mutants(struct mutant *m, const uint8_t *data, size_t len, size_t count) {
  for (size_t i = 0; i < count; i++) {
    memcpy(m->bytes, data, len);
    m->len = len;
    for (size_t k = 1 + below(m, 3); k > 0; k--)
      mutate(m);
    uint8_t *exact = malloc(m->len); /* so that a read beyond is seen */
    if (!exact) abort();
    memcpy(exact, m->bytes, m->len);
    LLVMFuzzerTestOneInput(exact, m->len);
    free(exact);
  }
}

static void run_seeded(const char *folder, uint64_t seed, size_t count) {
  static struct mutant m;
  struct dirent **entries = NULL;
  int files = scandir(folder, &entries, NULL, alphasort); /* the same order everywhere */
  printf("# seed %llu\n", (unsigned long long)seed);
  fflush(stdout); /* also if a mutant is the end of us */
  cns_rng_seeded_init_label(&m.generator, seed, "mutants of model files");
  for (int i = 0; i < files; i++) {
    static uint8_t data[INPUT_MAX];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
    FILE *file = entries[i]->d_name[0] == '.' ? NULL : fopen(path, "rb");
    size_t len = file ? fread(data, 1, sizeof data, file) : 0;
    if (file) fclose(file);
    if (len > 1) run_mutants(&m, data, len, count);
    free(entries[i]);
  }
  free(entries);
}

int main(int argc, char **argv) {
  if (argc != 2 && argc != 4) {
    fprintf(stderr, "usage: %s FOLDER [SEED MUTANTS]\n", argv[0]);
    return 2;
  }
  if (cns_init() != 0) return 1;
  if (argc == 4) run_seeded(argv[1], strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
  return fuzz_run_folder(argv[1], INPUT_MAX);
}

#endif
