/* SPDX-License-Identifier: Apache-2.0 */
/* The format: numpy.lib.format, "Format Specification: Version 1.0" and 2.0. */
#include "model/npy_matrix.h"

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
#include "model/npy_header.h"
#include "model/npy_numbers.h"

#define HEADER_BYTES 128 /* of what is written: a multiple of 64, as NumPy has it, and room for any shape */
#define TILE 64          /* of a transposition */

/* ---- memory ---- */

int cns_npy_matrix_new(size_t element_bytes, size_t dimensions, size_t rows, size_t columns,
                       struct cns_npy_matrix *ret_matrix, struct cns_problem *problem) {
  if ((element_bytes != 4 && element_bytes != 8) || rows < 1 || columns < 1 || dimensions < 1 ||
      dimensions > 2 || (dimensions == 1 && rows != 1))
    return CNS_ERR_ARGUMENT;
  if (rows > CNS_NPY_BYTES_MAX / columns / element_bytes)
    return cns_problem_set(problem, CNS_ERR_LIMIT,
                           "%zu x %zu numbers of %zu bytes are more than the %zu bytes "
                           "that are allowed here",
                           rows, columns, element_bytes, CNS_NPY_BYTES_MAX);
  uint8_t *bytes = calloc(1, HEADER_BYTES + rows * columns * element_bytes);
  if (!bytes)
    return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory for %zu x %zu numbers", rows, columns);
  *ret_matrix = (struct cns_npy_matrix){.element_bytes = element_bytes,
                                        .dimensions = dimensions,
                                        .rows = rows,
                                        .columns = columns,
                                        .values = bytes + HEADER_BYTES,
                                        .bytes = bytes};
  return 0;
}

void cns_npy_matrix_deinit(struct cns_npy_matrix *matrix) {
  free(matrix->bytes);
  *matrix = (struct cns_npy_matrix){0};
}

int cns_npy_matrix_convert(struct cns_npy_matrix *matrix, size_t element_bytes, struct cns_problem *problem) {
  struct cns_npy_matrix other;
  if (matrix->element_bytes == element_bytes) return 0;
  int r =
      cns_npy_matrix_new(element_bytes, matrix->dimensions, matrix->rows, matrix->columns, &other, problem);
  if (r < 0) return r;
  for (size_t i = 0; i < matrix->rows * matrix->columns; i++)
    if (element_bytes == 4)
      ((float *)other.values)[i] = (float)((const double *)matrix->values)[i];
    else
      ((double *)other.values)[i] = (double)((const float *)matrix->values)[i];
  cns_npy_matrix_deinit(matrix);
  *matrix = other;
  return 0;
}

/* ---- reading ---- */

struct source {
  const char *path;
  int fd;
  size_t size; /* of the file */
  struct cns_npy_header header;
};

static int read_header(struct source *source, struct cns_problem *problem) {
  uint8_t prefix[CNS_NPY_PREFIX_MAX];
  size_t len = source->size < sizeof prefix ? source->size : sizeof prefix;
  int r = cns_file_load_at(source->fd, source->path, prefix, len, 0, problem);
  return r < 0 ? r : cns_npy_header_parse(prefix, source->size, source->path, &source->header, problem);
}

/* The caller closes source->fd if it isn't -1, also after an error. */
static int open_source(const char *path, struct source *source, struct cns_problem *problem) {
  struct stat info;
  *source = (struct source){.path = path, .fd = -1};
  if (!*path) return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "an empty path is no file's name");
  source->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe nobody writes to must not stop us */
  if (source->fd < 0 || fstat(source->fd, &info) != 0) return cns_file_read_failed(path, errno, problem);
  if (S_ISDIR(info.st_mode))
    return cns_problem_set(problem, CNS_ERR_IO, "%s: is a folder, but a file is expected", path);
  if (!S_ISREG(info.st_mode))
    return cns_problem_set(problem, CNS_ERR_IO, "%s: is not a plain file (a pipe or a device)", path);
  source->size = (size_t)info.st_size;
  if (source->size == 0) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", path);
  return read_header(source, problem);
}

static int refuse_type(const struct source *source, const char *also, struct cns_problem *problem) {
  const char *descr = source->header.descr;
  if (strchr(descr, 'O'))
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: holds pickled Python objects ('%s'), which run code when they are read; save "
                           "an array of numbers, with .astype('<f4')",
                           source->path, descr);
  if (descr[0] == '>')
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: is in big-endian order ('%s'); save it with .astype('<f%c')", source->path,
                           descr, descr[1] == 'f' && descr[2] == '8' ? '8' : '4');
  return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                         "%s: holds numbers of type '%s'; only '<f4' and '<f8' (float32 and float64)%s are "
                         "read: save it with .astype('<f4')",
                         source->path, descr, also);
}

/* Rows, columns and the file's length, against the header. */
static int check_shape(const struct source *source, size_t element_bytes, size_t *ret_rows,
                       size_t *ret_columns, struct cns_problem *problem) {
  const struct cns_npy_header *header = &source->header;
  if (header->dimensions < 1 || header->dimensions > 2)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: has %zu dimensions; one or two are read",
                           source->path, header->dimensions);
  uint64_t rows = header->dimensions == 2 ? header->shape[0] : 1;
  uint64_t columns = header->shape[header->dimensions - 1];
  if (rows < 1 || columns < 1) return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is empty", source->path);
  if (columns > CNS_NPY_COLUMNS_MAX || rows > CNS_NPY_COLUMNS_MAX ||
      rows > CNS_NPY_BYTES_MAX / columns / element_bytes)
    return cns_problem_set(
        problem, CNS_ERR_LIMIT, "%s: %zu x %zu numbers; at most %zu rows or columns and %zu bytes are read",
        source->path, (size_t)rows, (size_t)columns, CNS_NPY_COLUMNS_MAX, CNS_NPY_BYTES_MAX);
  size_t held = source->size - header->bytes;
  if (held != rows * columns * element_bytes)
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: the header says %zu x %zu numbers of %zu bytes, but %zu bytes follow it",
                           source->path, (size_t)rows, (size_t)columns, element_bytes, held);
  *ret_rows = (size_t)rows;
  *ret_columns = (size_t)columns;
  return 0;
}

/* Little-endian bytes as this machine has them, in place. */
static void from_little_endian(void *values, size_t count, size_t element_bytes) {
  uint8_t *at = values;
  for (size_t i = 0; i < count; i++, at += element_bytes) {
    if (element_bytes == 4) {
      uint32_t bits = cns_load_le32(at);
      memcpy(at, &bits, sizeof bits);
    } else {
      uint64_t bits = cns_load_le64(at);
      memcpy(at, &bits, sizeof bits);
    }
  }
}

/* out: rows x columns, from what is stored column by column. */
static void transpose(const uint8_t *in, uint8_t *out, size_t rows, size_t columns, size_t element_bytes) {
  for (size_t row = 0; row < rows; row += TILE)
    for (size_t column = 0; column < columns; column += TILE)
      for (size_t i = row; i < rows && i < row + TILE; i++)
        for (size_t k = column; k < columns && k < column + TILE; k++)
          memcpy(out + (i * columns + k) * element_bytes, in + (k * rows + i) * element_bytes, element_bytes);
}

static int read_values(const struct source *source, struct cns_npy_matrix *matrix,
                       struct cns_problem *problem) {
  size_t len = matrix->rows * matrix->columns * matrix->element_bytes;
  bool turn = source->header.fortran && matrix->rows > 1 && matrix->columns > 1;
  uint8_t *room = turn ? malloc(len) : NULL;
  if (turn && !room) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", source->path);
  int r = cns_file_load_at(source->fd, source->path, turn ? room : matrix->values, len, source->header.bytes,
                           problem);
  if (r == 0 && turn) transpose(room, matrix->values, matrix->rows, matrix->columns, matrix->element_bytes);
  if (r == 0) from_little_endian(matrix->values, matrix->rows * matrix->columns, matrix->element_bytes);
  free(room);
  return r;
}

static int read_matrix(const struct source *source, struct cns_npy_matrix *ret_matrix,
                       struct cns_problem *problem) {
  const char *descr = source->header.descr;
  size_t element_bytes = strcmp(descr, "<f4") == 0 ? 4 : strcmp(descr, "<f8") == 0 ? 8 : 0, rows, columns;
  struct cns_npy_matrix matrix;
  if (element_bytes == 0) return refuse_type(source, "", problem);
  int r = check_shape(source, element_bytes, &rows, &columns, problem);
  if (r < 0) return r;
  r = cns_npy_matrix_new(element_bytes, source->header.dimensions, rows, columns, &matrix, problem);
  if (r < 0) return cns_problem_prefix(problem, r, "%s", source->path);
  r = read_values(source, &matrix, problem);
  if (r < 0)
    cns_npy_matrix_deinit(&matrix);
  else
    *ret_matrix = matrix;
  return r;
}

int cns_npy_matrix_read(const char *path, struct cns_npy_matrix *ret_matrix, struct cns_problem *problem) {
  struct source source;
  int r = open_source(path, &source, problem);
  if (r == 0) r = read_matrix(&source, ret_matrix, problem);
  if (source.fd >= 0) close(source.fd);
  return r;
}

/* ---- a few numbers ---- */

static double load_number(const uint8_t *bytes, const char *descr) {
  if (strcmp(descr, "<i4") == 0) return (double)(int32_t)cns_load_le32(bytes);
  if (strcmp(descr, "<i8") == 0) return (double)(int64_t)cns_load_le64(bytes);
  return cns_npy_load_float(bytes, strcmp(descr, "<f4") == 0 ? 4 : 8);
}

static int read_numbers(const struct source *source, size_t max, double **ret_numbers, size_t *ret_count,
                        struct cns_problem *problem) {
  const char *descr = source->header.descr;
  bool wide = strcmp(descr, "<f8") == 0 || strcmp(descr, "<i8") == 0;
  size_t bytes = wide ? 8 : 4, rows, columns;
  if (!wide && strcmp(descr, "<f4") != 0 && strcmp(descr, "<i4") != 0)
    return refuse_type(source, ", '<i4' and '<i8'", problem);
  int r = check_shape(source, bytes, &rows, &columns, problem);
  if (r < 0) return r;
  if (rows > 1 && columns > 1)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: is %zu x %zu; a vector is needed", source->path,
                           rows, columns);
  size_t count = rows * columns;
  if (count > max)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: holds %zu numbers; at most %zu are taken here",
                           source->path, count, max);
  uint8_t *data = malloc(count * bytes);
  double *numbers = malloc(count * sizeof *numbers);
  r = data && numbers
          ? cns_file_load_at(source->fd, source->path, data, count * bytes, source->header.bytes, problem)
          : CNS_ERR_MEMORY;
  for (size_t i = 0; i < count && r == 0; i++) {
    numbers[i] = load_number(data + i * bytes, descr);
    if (!isfinite(numbers[i]))
      r = cns_problem_set(problem, CNS_ERR_RANGE, "%s: number %zu (from 0) is not finite", source->path, i);
  }
  free(data);
  if (r < 0) {
    free(numbers);
    return r;
  }
  *ret_numbers = numbers;
  *ret_count = count;
  return 0;
}

int cns_npy_matrix_read_numbers(const char *path, size_t max, double **ret_numbers, size_t *ret_count,
                                struct cns_problem *problem) {
  struct source source;
  int r = open_source(path, &source, problem);
  if (r == 0) r = read_numbers(&source, max, ret_numbers, ret_count, problem);
  if (source.fd >= 0) close(source.fd);
  return r;
}

/* ---- writing ---- */

/* In front of the values, which are little-endian again if they aren't already. */
static int write_header(const struct cns_npy_matrix *matrix) {
  bool vector = matrix->dimensions == 1;
  uint64_t shape[] = {vector ? matrix->columns : matrix->rows, matrix->columns};
  return cns_npy_head_format(matrix->element_bytes == 4 ? "<f4" : "<f8", shape, matrix->dimensions,
                             matrix->bytes, HEADER_BYTES);
}

int cns_npy_matrix_write(const char *path, const struct cns_npy_matrix *matrix, struct cns_problem *problem) {
  size_t count = matrix->rows * matrix->columns;
  int r = write_header(matrix);
  if (r < 0) return r;
  from_little_endian(matrix->values, count, matrix->element_bytes); /* its own inverse */
  r = cns_file_write(path, matrix->bytes, HEADER_BYTES + count * matrix->element_bytes, 0644, problem);
  from_little_endian(matrix->values, count, matrix->element_bytes);
  return r;
}
