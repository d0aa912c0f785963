/* SPDX-License-Identifier: Apache-2.0 */
/* The format: numpy.lib.format, "Format Specification: Version 1.0" and 2.0. */
#include "model/npy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/bytes.h"
#include "crypto/json.h"
#include "model/npy_header.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define SHAPE_MAX CNS_NPY_DIMENSIONS_MAX /* dimensions that are told apart in a sentence */

/* The header is a Python literal: a dict with three keys. */
struct header {
  const char *at, *end;
  char descr[16];
  bool has_descr, has_order, has_shape;
  bool fortran;
  uint64_t shape[SHAPE_MAX];
  size_t dimensions;
};

static void skip_blanks(struct header *h) {
  while (h->at < h->end && (*h->at == ' ' || *h->at == '\t' || *h->at == '\n'))
    h->at++;
}

static bool take(struct header *h, const char *token) {
  size_t len = strlen(token);
  skip_blanks(h);
  if ((size_t)(h->end - h->at) < len || memcmp(h->at, token, len) != 0) return false;
  h->at += len;
  return true;
}

/* A string without escapes, in either kind of quotes. */
static bool take_string(struct header *h, char *text, size_t size) {
  skip_blanks(h);
  if (h->at == h->end || (*h->at != '\'' && *h->at != '"')) return false;
  const char quote = *h->at, *first = h->at + 1;
  const char *last = memchr(first, quote, (size_t)(h->end - first));
  if (!last || (size_t)(last - first) >= size || memchr(first, '\\', (size_t)(last - first))) return false;
  memcpy(text, first, (size_t)(last - first));
  text[last - first] = '\0';
  h->at = last + 1;
  return true;
}

static bool take_size(struct header *h, uint64_t *ret_size) {
  uint64_t size = 0;
  skip_blanks(h);
  const char *first = h->at;
  for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++) {
    if (size > UINT64_MAX / 16) return false;
    size = 10 * size + (uint64_t)(*h->at - '0');
  }
  *ret_size = size;
  return h->at > first;
}

/* "(20, 12354)", "(5,)", "()"; in Python "(5)" would be a number. */
static bool take_shape(struct header *h) {
  bool comma = false;
  if (!take(h, "(")) return false;
  while (!take(h, ")")) {
    uint64_t size;
    if (h->dimensions > 0 && !comma) return false;
    if (!take_size(h, &size)) return false;
    if (h->dimensions < SHAPE_MAX) h->shape[h->dimensions] = size;
    h->dimensions++;
    comma = take(h, ",");
  }
  return h->dimensions != 1 || comma;
}

static bool take_entry(struct header *h) {
  char key[16];
  if (!take_string(h, key, sizeof key) || !take(h, ":")) return false;
  if (strcmp(key, "descr") == 0 && !h->has_descr)
    return h->has_descr = take_string(h, h->descr, sizeof h->descr);
  if (strcmp(key, "shape") == 0 && !h->has_shape) return h->has_shape = take_shape(h);
  if (strcmp(key, "fortran_order") != 0 || h->has_order) return false;
  h->has_order = true;
  h->fortran = take(h, "True");
  return h->fortran || take(h, "False");
}

static bool parse_header(struct header *h) {
  if (!take(h, "{")) return false;
  bool comma = true;
  while (!take(h, "}")) {
    if (!comma || !take_entry(h)) return false;
    comma = take(h, ",");
  }
  skip_blanks(h);
  return h->at == h->end && h->has_descr && h->has_order && h->has_shape;
}

static int check_header(const struct header *h, const char *where, size_t *ret_bytes,
                        struct cns_problem *problem) {
  *ret_bytes = strcmp(h->descr, "<f4") == 0 ? 4 : strcmp(h->descr, "<f8") == 0 ? 8 : 0;
  if (*ret_bytes == 0)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: holds numbers of type '%s'; only '<f4' and '<f8' (float32 and float64) are "
                           "read: save it with .astype('<f4')",
                           where, h->descr);
  if (h->dimensions != 2)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: has %zu dimensions; two are needed, hospitals x parameters", where,
                           h->dimensions);
  if (h->fortran)
    return cns_problem_set(
        problem, CNS_ERR_UNSUPPORTED,
        "%s: is stored column by column (Fortran order); save numpy.ascontiguousarray(...)", where);
  if (h->shape[0] < 1 || h->shape[1] < 1)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", where);
  if (h->shape[0] > CNS_NPY_COLUMNS_MAX || h->shape[1] > CNS_NPY_COLUMNS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: more than %zu rows or columns", where,
                           CNS_NPY_COLUMNS_MAX);
  return 0;
}

double cns_npy_load_float(const uint8_t *bytes, size_t size) {
  if (size == 4) {
    uint32_t bits = cns_load_le32(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
  }
  uint64_t bits = cns_load_le64(bytes);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static int read_values(const uint8_t *data, size_t bytes, const char *where, struct cns_npy *npy,
                       struct cns_problem *problem) {
  size_t count = npy->rows * npy->columns;
  npy->values = malloc(count * sizeof *npy->values);
  if (!npy->values) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", where);
  for (size_t i = 0; i < count; i++) {
    npy->values[i] = (float)cns_npy_load_float(data + i * bytes, bytes);
    if (isfinite(npy->values[i])) continue;
    cns_problem_set(problem, CNS_ERR_RANGE, "%s: row %zu, column %zu (from 0) is not a finite float32 number",
                    where, i / npy->columns, i % npy->columns);
    cns_npy_deinit(npy);
    return CNS_ERR_RANGE;
  }
  return 0;
}

/* Where the header begins and ends. */
static int find_header(const uint8_t *data, size_t len, const char *where, struct header *ret_header,
                       struct cns_problem *problem) {
  if (len < MAGIC_BYTES + 2 || memcmp(data, MAGIC, MAGIC_BYTES) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is no .npy file (numpy.save writes one)", where);
  unsigned major = data[MAGIC_BYTES], minor = data[MAGIC_BYTES + 1];
  if ((major != 1 && major != 2) || minor != 0)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: .npy version %u.%u; 1.0 and 2.0 are read",
                           where, major, minor);
  size_t first = MAGIC_BYTES + 2 + (major == 1 ? 2 : 4);
  size_t header = len < first  ? 0
                  : major == 1 ? cns_load_le16(data + MAGIC_BYTES + 2)
                               : cns_load_le32(data + MAGIC_BYTES + 2);
  if (len < first || header > len - first)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: ends within its header", where);
  if (header > CNS_NPY_HEADER_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: a header of %zu bytes; at most %u are read", where,
                           header, CNS_NPY_HEADER_MAX);
  *ret_header = (struct header){.at = (const char *)data + first, .end = (const char *)data + first + header};
  return 0;
}

static int read_header(const uint8_t *data, size_t len, const char *where, struct header *ret_header,
                       struct cns_problem *problem) {
  struct header header = {0};
  int r = find_header(data, len, where, &header, problem);
  if (r < 0) return r;
  if (!parse_header(&header))
    return cns_problem_set(
        problem, CNS_ERR_FORMAT,
        "%s: the header isn't a dict of exactly 'descr', 'fortran_order' and 'shape'; structured types are "
        "not read",
        where);
  *ret_header = header;
  return 0;
}

int cns_npy_header_parse(const uint8_t *data, size_t len, const char *where,
                         struct cns_npy_header *ret_header, struct cns_problem *problem) {
  struct header header;
  int r = read_header(data, len, where, &header, problem);
  if (r < 0) return r;
  *ret_header = (struct cns_npy_header){.fortran = header.fortran,
                                        .dimensions = header.dimensions,
                                        .bytes = (size_t)((const uint8_t *)header.end - data)};
  memcpy(ret_header->descr, header.descr, sizeof ret_header->descr);
  memcpy(ret_header->shape, header.shape, sizeof ret_header->shape);
  return 0;
}

int cns_npy_parse(const uint8_t *data, size_t len, const char *where, struct cns_npy *ret_npy,
                  struct cns_problem *problem) {
  struct header header;
  size_t bytes;
  int r = read_header(data, len, where, &header, problem);
  if (r < 0) return r;
  r = check_header(&header, where, &bytes, problem);
  if (r < 0) return r;
  struct cns_npy npy = {.rows = (size_t)header.shape[0], .columns = (size_t)header.shape[1]};
  size_t held = len - (size_t)((const uint8_t *)header.end - data);
  if (npy.rows * npy.columns != held / bytes || held % bytes != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: the header says %zu x %zu numbers of %zu bytes, but %zu bytes follow it",
                           where, npy.rows, npy.columns, bytes, held);
  r = read_values((const uint8_t *)header.end, bytes, where, &npy, problem);
  if (r == 0) *ret_npy = npy;
  return r;
}

int cns_npy_read(const char *path, struct cns_npy *ret_npy, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_NPY_BYTES_MAX, &data, &len, problem);
  if (r < 0) return r;
  r = cns_npy_parse(data, len, path, ret_npy, problem);
  free(data);
  return r;
}

void cns_npy_deinit(struct cns_npy *npy) {
  free(npy->values);
  *npy = (struct cns_npy){0};
}

/* ---- arrays of any shape ---- */

static const struct element {
  const char *descr;
  size_t bytes;
  char kind; /* 'u', 'i' or 'f' */
} elements[] = {
    {"|b1", 1, 'u'}, {"|u1", 1, 'u'}, {"|i1", 1, 'i'}, {"<u2", 2, 'u'}, {"<i2", 2, 'i'}, {"<u4", 4, 'u'},
    {"<i4", 4, 'i'}, {"<u8", 8, 'u'}, {"<i8", 8, 'i'}, {"<f4", 4, 'f'}, {"<f8", 8, 'f'},
};

static int find_element(const struct header *h, const char *where, const struct element **ret_element,
                        struct cns_problem *problem) {
  for (size_t e = 0; e < sizeof elements / sizeof elements[0]; e++)
    if (strcmp(elements[e].descr, h->descr) == 0) {
      *ret_element = &elements[e];
      return 0;
    }
  if (strcmp(h->descr, "|O") == 0)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: holds pickled Python objects, which run code when they are read; save an "
                           "array of numbers, with .astype('<f4')",
                           where);
  return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                         "%s: holds elements of type '%s'; little-endian integers, booleans, float32 and "
                         "float64 are read: save it with .astype('<f4')",
                         where, h->descr);
}

static double load_element(const uint8_t *bytes, const struct element *element) {
  uint64_t bits = 0;
  if (element->kind == 'f') return cns_npy_load_float(bytes, element->bytes);
  for (size_t b = element->bytes; b-- > 0;)
    bits = bits << 8 | bytes[b];
  if (element->kind == 'u') return (double)bits;
  unsigned unused = 64 - 8 * (unsigned)element->bytes;
  return (double)((int64_t)(bits << unused) >> unused);
}

static int check_shape(const struct header *h, const char *where, struct cns_npy_array *array,
                       struct cns_problem *problem) {
  if (h->dimensions > CNS_NPY_DIMENSIONS_MAX)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: has %zu dimensions; at most %d are read", where,
                           h->dimensions, CNS_NPY_DIMENSIONS_MAX);
  if (h->fortran && h->dimensions > 1)
    return cns_problem_set(
        problem, CNS_ERR_UNSUPPORTED,
        "%s: is stored column by column (Fortran order); save numpy.ascontiguousarray(...)", where);
  array->dimensions = h->dimensions;
  array->count = 1;
  for (size_t d = 0; d < h->dimensions; d++) {
    if (h->shape[d] < 1) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", where);
    if (h->shape[d] > CNS_NPY_BYTES_MAX / array->count)
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: more than %zu elements", where, CNS_NPY_BYTES_MAX);
    array->shape[d] = (size_t)h->shape[d];
    array->count *= array->shape[d];
  }
  return 0;
}

int cns_npy_parse_array(const uint8_t *data, size_t len, const char *where, struct cns_npy_array *ret_array,
                        struct cns_problem *problem) {
  struct header header;
  struct cns_npy_array array = {0};
  const struct element *element = NULL;
  int r = read_header(data, len, where, &header, problem);
  if (r < 0) return r;
  r = find_element(&header, where, &element, problem);
  if (r == 0) r = check_shape(&header, where, &array, problem);
  if (r < 0) return r;
  const uint8_t *first = (const uint8_t *)header.end;
  size_t held = len - (size_t)(first - data);
  if (held % element->bytes != 0 || array.count != held / element->bytes)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: the header says %zu elements of %zu bytes, but %zu bytes follow it", where,
                           array.count, element->bytes, held);
  array.values = malloc(array.count * sizeof *array.values);
  if (!array.values) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", where);
  for (size_t i = 0; i < array.count; i++) {
    array.values[i] = (float)load_element(first + i * element->bytes, element);
    if (isfinite(array.values[i])) continue;
    cns_npy_array_deinit(&array);
    return cns_problem_set(problem, CNS_ERR_RANGE, "%s: element %zu (from 0) is not a finite float32 number",
                           where, i);
  }
  *ret_array = array;
  return 0;
}

int cns_npy_read_array(const char *path, struct cns_npy_array *ret_array, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_NPY_BYTES_MAX, &data, &len, problem);
  if (r < 0) return r;
  r = cns_npy_parse_array(data, len, path, ret_array, problem);
  free(data);
  return r;
}

void cns_npy_array_deinit(struct cns_npy_array *array) {
  free(array->values);
  *array = (struct cns_npy_array){0};
}
