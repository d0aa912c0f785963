/* SPDX-License-Identifier: Apache-2.0 */
/* The format: numpy.lib.format, "Format Specification: Version 1.0" and 2.0. */
#include "model/npy_numbers.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/bytes.h"
#include "crypto/json.h"
#include "model/dtype.h"
#include "model/foreign.h"
#include "model/npy_header.h"

#define BLOCK 8192 /* numbers that are converted at a time */

struct cns_npy_numbers {
  char *path;
  int fd;
  struct cns_npy_header header;
  size_t bytes; /* of a number */
  size_t count;
};

/* ---- in ---- */

static int check_type(struct cns_npy_numbers *numbers, struct cns_problem *problem) {
  const char *type = numbers->header.descr;
  numbers->bytes = strcmp(type, "<f2") == 0   ? 2
                   : strcmp(type, "<f4") == 0 ? 4
                   : strcmp(type, "<f8") == 0 ? 8
                                              : 0;
  if (strchr(type, 'O'))
    return cns_problem_set(
        problem, CNS_ERR_UNSUPPORTED,
        "%s: holds pickled Python objects, which run code when they are read; save an array "
        "of numbers, with .astype('<f4')",
        numbers->path);
  if (numbers->bytes == 0)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: holds numbers of type '%s'; '<f2', '<f4' and '<f8' are read: save it with "
                           ".astype('<f4')",
                           numbers->path, type);
  if (numbers->header.fortran && numbers->header.dimensions > 1)
    return cns_problem_set(
        problem, CNS_ERR_UNSUPPORTED,
        "%s: is stored column by column (Fortran order); save numpy.ascontiguousarray(...)", numbers->path);
  return 0;
}

static int check_shape(struct cns_npy_numbers *numbers, size_t held, struct cns_problem *problem) {
  const struct cns_npy_header *header = &numbers->header;
  if (header->dimensions > CNS_NPY_DIMENSIONS_MAX)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: has %zu dimensions; up to %d are read",
                           numbers->path, header->dimensions, CNS_NPY_DIMENSIONS_MAX);
  numbers->count = 1;
  for (size_t i = 0; i < header->dimensions; i++) {
    if (header->shape[i] == 0) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", numbers->path);
    if (header->shape[i] > CNS_NPY_BYTES_MAX / numbers->bytes / numbers->count)
      return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: its shape means more than %zu bytes", numbers->path,
                             CNS_NPY_BYTES_MAX);
    numbers->count *= (size_t)header->shape[i];
  }
  if (held == numbers->count * numbers->bytes) return 0;
  return cns_problem_set(problem, CNS_ERR_FORMAT,
                         "%s: the header says %zu numbers of %zu bytes, but %zu bytes follow it; was it "
                         "copied whole?",
                         numbers->path, numbers->count, numbers->bytes, held);
}

static int read_header(struct cns_npy_numbers *numbers, struct cns_problem *problem) {
  struct stat info;
  uint8_t prefix[CNS_NPY_PREFIX_MAX];
  if (fstat(numbers->fd, &info) != 0) return cns_file_read_failed(numbers->path, errno, problem);
  if (!S_ISREG(info.st_mode) || info.st_size == 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: %s", numbers->path,
                           S_ISREG(info.st_mode) ? "the file is empty" : "not a plain file");
  size_t size = (size_t)info.st_size, len = size < sizeof prefix ? size : sizeof prefix;
  int r = cns_file_load_at(numbers->fd, numbers->path, prefix, len, 0, problem);
  if (r < 0) return r;
  r = cns_npy_header_parse(prefix, size, numbers->path, &numbers->header, problem);
  if (r < 0 && !cns_foreign_is_npy(prefix, len)) {
    int refused = cns_foreign_refuse(prefix, len, r, problem);
    if (refused == CNS_ERR_UNSUPPORTED) return cns_problem_prefix(problem, refused, "%s", numbers->path);
  }
  if (r == 0) r = check_type(numbers, problem);
  return r < 0 ? r : check_shape(numbers, size - numbers->header.bytes, problem);
}

int cns_npy_numbers_open(const char *path, struct cns_npy_numbers **ret_numbers,
                         struct cns_problem *problem) {
  struct cns_npy_numbers *numbers = calloc(1, sizeof *numbers);
  if (numbers) numbers->fd = -1;
  if (!numbers || !(numbers->path = strdup(path))) {
    free(numbers);
    return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", path);
  }
  numbers->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  int r =
      numbers->fd < 0 ? cns_file_read_failed(numbers->path, errno, problem) : read_header(numbers, problem);
  if (r < 0)
    cns_npy_numbers_free(numbers);
  else
    *ret_numbers = numbers;
  return r;
}

struct cns_npy_numbers *cns_npy_numbers_free(struct cns_npy_numbers *numbers) {
  if (!numbers) return NULL;
  if (numbers->fd >= 0) (void)close(numbers->fd);
  free(numbers->path);
  free(numbers);
  return NULL;
}

size_t cns_npy_numbers_count(const struct cns_npy_numbers *numbers) {
  return numbers->count;
}

const uint64_t *cns_npy_numbers_shape(const struct cns_npy_numbers *numbers) {
  return numbers->header.shape;
}

size_t cns_npy_numbers_dimensions(const struct cns_npy_numbers *numbers) {
  return numbers->header.dimensions;
}

const char *cns_npy_numbers_type(const struct cns_npy_numbers *numbers) {
  return numbers->header.descr;
}

static int convert(const struct cns_npy_numbers *numbers, const uint8_t *bytes, size_t first, size_t count,
                   float *out, struct cns_problem *problem) {
  if (numbers->bytes != 8) {
    cns_dtype_decode(numbers->bytes == 2 ? CNS_DTYPE_F16 : CNS_DTYPE_F32, bytes, count, out);
    return 0;
  }
  for (size_t i = 0; i < count; i++) {
    double value = cns_npy_load_float(bytes + 8 * i, 8);
    out[i] = (float)value;
    if (isfinite(value) && !isfinite(out[i]))
      return cns_problem_set(problem, CNS_ERR_RANGE,
                             "%s: number %zu (from 0) is too large for a 32-bit float", numbers->path,
                             first + i);
  }
  return 0;
}

int cns_npy_numbers_load(const struct cns_npy_numbers *numbers, size_t begin, size_t count, float *ret_values,
                         struct cns_problem *problem) {
  uint8_t bytes[BLOCK * sizeof(double)];
  if (begin > numbers->count || count > numbers->count - begin) return CNS_ERR_ARGUMENT;
  for (size_t done = 0; done < count;) {
    size_t some = count - done < BLOCK ? count - done : BLOCK;
    size_t at = numbers->header.bytes + (begin + done) * numbers->bytes;
    int r = cns_file_load_at(numbers->fd, numbers->path, bytes, some * numbers->bytes, at, problem);
    if (r == 0) r = convert(numbers, bytes, begin + done, some, ret_values + done, problem);
    if (r < 0) return r;
    done += some;
  }
  return 0;
}

/* ---- out ---- */

int cns_npy_head_format(const char *type, const uint64_t *shape, size_t dimensions, uint8_t *out,
                        size_t len) {
  static const uint8_t magic[8] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  const size_t prefix = sizeof magic + 2;
  if (len <= prefix || len % 64 != 0 || len - prefix > UINT16_MAX) return CNS_ERR_ARGUMENT;
  char *text = (char *)out + prefix;
  size_t room = len - prefix;
  int used = snprintf(text, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
  for (size_t i = 0; i < dimensions && used >= 0 && (size_t)used < room; i++)
    used += snprintf(text + used, room - (size_t)used, "%s%llu%s", i ? " " : "", (unsigned long long)shape[i],
                     i + 1 < dimensions || dimensions == 1 ? "," : "");
  if (used >= 0 && (size_t)used < room) used += snprintf(text + used, room - (size_t)used, "), }");
  if (used < 0 || (size_t)used >= room) return CNS_ERR_LIMIT;
  memset(text + used, ' ', room - (size_t)used - 1);
  text[room - 1] = '\n';
  memcpy(out, magic, sizeof magic);
  cns_store_le16(out + sizeof magic, (uint16_t)room);
  return 0;
}
