/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "model/safetensors.h"

#include <unistd.h>

static int setup(void **state) {
  return cns_init();
}

static const float weight[] = {1, -2.5f, 3e-30f, 4, 5, 6}, bias[] = {7, 8};

/* A file with a 2x3 and a 1-D tensor. */
static uint8_t *two_tensors(size_t *len) {
  struct cns_safetensors_tensor tensors[] = {
      {.name = "w", .shape = {2, 3}, .shape_count = 2, .count = 6, .data = weight},
      {.name = "b \"quoted\"", .shape = {2}, .shape_count = 1, .count = 2, .data = bias}};
  struct cns_safetensors_pair metadata[] = {{"round", "3"}, {"study", "t\xC3\xA9st"}};
  uint8_t *data = NULL;
  assert_int_equal(cns_safetensors_serialize(tensors, 2, metadata, 2, &data, len, NULL), 0);
  return data;
}

static void check_two(const struct cns_safetensors *file) {
  assert_int_equal(cns_safetensors_count(file), 2);
  const struct cns_safetensors_tensor *w = cns_safetensors_find(file, "w");
  const struct cns_safetensors_tensor *b = cns_safetensors_get(file, 1);
  assert_non_null(w);
  assert_int_equal(w->shape_count, 2);
  assert_true(w->shape[0] == 2 && w->shape[1] == 3);
  assert_memory_equal(w->data, weight, sizeof weight);
  assert_string_equal(b->name, "b \"quoted\"");
  assert_memory_equal(b->data, bias, sizeof bias);
  assert_string_equal(cns_safetensors_metadata(file, "study"), "t\xC3\xA9st");
  assert_null(cns_safetensors_metadata(file, "nothing"));
  assert_null(cns_safetensors_find(file, "nothing"));
  assert_null(cns_safetensors_get(file, 2));
}

static void what_was_written_is_read(void **state) {
  size_t len;
  uint8_t *data = two_tensors(&len);
  struct cns_safetensors *file;
  assert_int_equal(cns_safetensors_parse(data, len, "m", &file, NULL), 0);
  check_two(file);
  assert_null(cns_safetensors_free(file));
  char path[] = "/tmp/cns-safetensors-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, data, len), (ssize_t)len);
  close(fd);
  assert_int_equal(cns_safetensors_open(path, &file, NULL), 0);
  check_two(file);
  cns_safetensors_free(file);
  assert_int_equal(truncate(path, 0), 0);
  assert_int_equal(cns_safetensors_open(path, &file, NULL), CNS_ERR_FORMAT);
  unlink(path);
  assert_int_equal(cns_safetensors_open(path, &file, NULL), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_safetensors_open("/tmp", &file, NULL), CNS_ERR_FORMAT);
  assert_null(cns_safetensors_free(NULL));
  free(data);
}

/* Bytes laid out by hand, as another program writes them: no padding of ours,
 * tensors in another order than their data, trailing spaces. */
static void foreign_file_is_read(void **state) {
  static const char header[] = "{\"z\":{\"shape\":[1],\"dtype\":\"F32\",\"data_offsets\":[4,8]},"
                               "\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4],\"shape\":[]}}       ";
  size_t header_len = (sizeof header - 1) / 8 * 8; /* cuts some of the spaces */
  _Alignas(8) uint8_t data[256] = {0};
  data[0] = (uint8_t)header_len;
  memcpy(data + 8, header, header_len);
  memcpy(data + 8 + header_len, weight, 8);
  struct cns_safetensors *file;
  struct cns_problem problem = {{0}};
  int r = cns_safetensors_parse(data, 8 + header_len + 8, "f", &file, &problem);
  if (r != 0) print_error("%s\n", problem.text);
  assert_int_equal(r, 0);
  assert_true(cns_safetensors_find(file, "a")->data[0] == 1 && cns_safetensors_find(file, "a")->count == 1);
  assert_true(cns_safetensors_find(file, "z")->data[0] == -2.5f);
  cns_safetensors_free(file);
}

/* Header text, bytes of data behind it, and a word of the refusal. */
static const struct {
  const char *header;
  size_t data_len;
  const char *word;
} hostile[] = {
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "beyond the end"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 12, "unused bytes after"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "unused bytes before"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
     12, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     8, "overlaps"},
    {"{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
     "of type I64; F32, F16 and BF16 are read"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "another size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "is empty"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296],\"data_offsets\":[0,0]}}", 0, "is empty"},
    {"{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "another size"},
    {"{\"a\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "another size"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "another size"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "of type F64"},
    {"{\"a\":{\"dtype\":\"BOOL\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, "of type BOOL"},
    {"{\"a\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "of type f32"},
    {"{\"a\":{\"dtype\":\"F32 \",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "of type F32 "},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, "of type F8_E4M3"},
    {"{\"a\":{\"dtype\":\"\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "of type"},
    {"{\"a\":{\"dtype\":\"a name that is too long\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0000001],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e400],\"data_offsets\":[0,8]}}", 8, "too large"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,8]}}", 8, "2^53"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740992,2],\"data_offsets\":[0,8]}}", 8,
     "more numbers than any file"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740992],\"data_offsets\":[0,8]}}", 8, "another size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.5]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,null]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{\"0\":0}}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[9007199254740984,9007199254740992]}}", 8,
     "beyond the end"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,16]}}", 16, "another size"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
     "\"data_offsets\":[8,12]}}",
     12, "unused bytes before"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
     "\"data_offsets\":[4,8]}}",
     8, "overlaps"},
    {"{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"BF16\",\"shape\":[4]"
     ",\"data_offsets\":[0,8]}}",
     8, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"__metadata__\":{\"k\":\"1\",\"k\":"
     "\"2\"}}",
     8, "occurs twice"},
    {"{\"__metadata__\":{},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"__metadata__\":{}"
     "}",
     8, "occurs twice"},
    {"{\"__metadata__\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "strings"},
    {"{\"__metadata__\":{\"k\":{}}}", 0, "strings"},
    {"{\"__metadata__\":null}", 0, "__metadata__"},
    {"{\"a\":{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "occurs twice"},
    {"{\"a\":[]}", 0, "no object"},
    {"{\"\xFF\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "UTF-8"},
    {"{\"\\u0000\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "NUL"},
    {"{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "surrogate"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}x", 8, "follows"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}", 8, "field name"},
    {" {\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "begins with {"},
    {"\xEF\xBB\xBF{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "begins with {"},
    {"[]", 0, "begins with {"},
    {"", 8, "begins with {"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, "dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,1e300]}}", 8, "offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "x"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "a"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "name"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__"},
    {"{\"__metadata__\":[]}", 0, "__metadata__"},
    {"{\"a\":7}", 0, "a"},
    {"{", 0, "hostile.safetensors"},
    {"{}", 4, "unused bytes"},
};

static uint8_t *with_header(const char *header, uint64_t claimed, size_t data_len, size_t *len) {
  size_t header_len = strlen(header);
  *len = 8 + header_len + data_len;
  uint8_t *data = calloc(1, *len);
  assert_non_null(data);
  memcpy(data, &claimed, 8);
  memcpy(data + 8, header, header_len);
  return data;
}

/* From memory and, with the same result, from a file that isn't mapped. */
static int read_both(const uint8_t *data, size_t len, struct cns_problem *problem) {
  char path[] = "/tmp/cns-safetensors-XXXXXX";
  struct cns_safetensors *file = NULL;
  struct cns_problem other = {{0}};
  int r = cns_safetensors_parse(data, len, "hostile.safetensors", &file, problem);
  assert_true((r == 0) == (file != NULL));
  cns_safetensors_free(file);
  file = NULL;
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, data, len) == (ssize_t)len && close(fd) == 0);
  int unmapped = cns_safetensors_open_unmapped(path, &file, &other);
  unlink(path);
  cns_safetensors_free(file);
  assert_int_equal(unmapped, r);
  if (r < 0) assert_string_equal(other.text + strlen(path), problem->text + strlen("hostile.safetensors"));
  return r;
}

static void hostile_headers_are_refused(void **state) {
  for (size_t i = 0; i < LENGTH_OF(hostile); i++) {
    size_t len, padded_len = (strlen(hostile[i].header) + 7) / 8 * 8;
    char padded[512];
    snprintf(padded, sizeof padded, "%-*s", (int)padded_len, hostile[i].header);
    uint8_t *data = with_header(padded, strlen(padded), hostile[i].data_len, &len);
    struct cns_problem problem = {{0}};
    int r = read_both(data, len, &problem);
    if (r >= 0 || !strstr(problem.text, hostile[i].word)) print_error("%s: %d %s\n", padded, r, problem.text);
    assert_true(r < 0);
    assert_non_null(strstr(problem.text, hostile[i].word));
    free(data);
  }
}

static void false_lengths_are_refused(void **state) {
  static const uint64_t claims[] = {3, 100, 1u << 23, (1u << 23) + 1, UINT64_MAX, UINT64_MAX - 7, 1ull << 63};
  for (size_t i = 0; i < LENGTH_OF(claims); i++) {
    size_t len;
    uint8_t *data = with_header("{}", claims[i], 0, &len);
    struct cns_safetensors *file;
    assert_true(cns_safetensors_parse(data, len, "h", &file, NULL) < 0);
    free(data);
  }
  uint8_t *data = with_header("{}", 2, 0, &(size_t){0});
  struct cns_safetensors *file;
  for (size_t len = 0; len < 10; len++)
    assert_true(cns_safetensors_parse(data, len, "h", &file, NULL) < 0);
  assert_int_equal(cns_safetensors_parse(data, 10, "h", &file, NULL), 0);
  cns_safetensors_free(file);
  free(data);
}

/* Headers that are small to send and large to hold. */
static void excess_is_refused_before_it_is_parsed(void **state) {
  static const struct {
    const char *start, *repeated, *end, *word;
    size_t times;
  } bombs[] = {
      {"{\"a\":{\"shape\":[1", ",1", "]}}", "more values", 2000000},
      {"{\"a\":", "{\"a\":", "", "more values", 1000000},
      {"{\"a\":", "[", "", "nested", 1000},
      {"{\"__metadata__\":{\"a\":\"", ",{[", "\"}}", "", 2000000}, /* in a string: nothing against it */
  };
  for (size_t i = 0; i < LENGTH_OF(bombs); i++) {
    size_t room = strlen(bombs[i].repeated) * bombs[i].times + 64, len;
    char *header = malloc(room), *at = header;
    assert_non_null(header);
    at = stpcpy(at, bombs[i].start);
    for (size_t k = 0; k < bombs[i].times; k++)
      at = stpcpy(at, bombs[i].repeated);
    stpcpy(at, bombs[i].end);
    struct cns_problem problem = {{0}};
    uint8_t *data = with_header(header, strlen(header), 0, &len);
    struct cns_safetensors *file = NULL;
    int r = cns_safetensors_parse(data, len, "h", &file, &problem);
    if ((r < 0) != (bombs[i].word[0] != '\0') || !strstr(problem.text, bombs[i].word))
      print_error("%zu: %d %s\n", i, r, problem.text);
    assert_true((r < 0) == (bombs[i].word[0] != '\0'));
    assert_non_null(strstr(problem.text, bombs[i].word));
    cns_safetensors_free(file);
    free(data);
    free(header);
  }
}

static void too_many_tensors_are_refused(void **state) {
  for (size_t tensors = CNS_SAFETENSORS_TENSORS_MAX; tensors <= CNS_SAFETENSORS_TENSORS_MAX + 1; tensors++) {
    char *header = malloc(tensors * 80), *at = header;
    assert_non_null(header);
    size_t len;
    for (size_t i = 0; i < tensors; i++)
      at += sprintf(at, "%c\"t%zu\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                    i ? ',' : '{', i, 2 * i, 2 * i + 2);
    strcpy(at, "}");
    uint8_t *data = with_header(header, strlen(header), 2 * tensors, &len);
    struct cns_problem problem = {{0}};
    int r = read_both(data, len, &problem);
    assert_int_equal(r, tensors > CNS_SAFETENSORS_TENSORS_MAX ? CNS_ERR_LIMIT : 0);
    if (r < 0) assert_non_null(strstr(problem.text, "more than 4096 tensors"));
    free(data);
    free(header);
  }
}

static void every_truncation_and_flip_is_survived(void **state) {
  size_t len;
  uint8_t *data = two_tensors(&len);
  struct cns_safetensors *file;
  for (size_t cut = 0; cut < len; cut++) {
    uint8_t *copy = malloc(cut ? cut : 1);
    assert_non_null(copy);
    memcpy(copy, data, cut);
    assert_true(cns_safetensors_parse(copy, cut, "m", &file, NULL) < 0);
    free(copy);
  }
  for (size_t at = 0; at < len; at++)
    for (int bit = 0; bit < 8; bit++) {
      data[at] ^= (uint8_t)(1 << bit);
      if (cns_safetensors_parse(data, len, "m", &file, NULL) == 0) {
        volatile float sum = 0; /* what it points to must be readable */
        for (size_t t = 0; t < cns_safetensors_count(file); t++)
          for (size_t k = 0; k < cns_safetensors_get(file, t)->count; k++)
            sum = sum + cns_safetensors_get(file, t)->data[k];
        cns_safetensors_free(file);
      }
      data[at] ^= (uint8_t)(1 << bit);
    }
  free(data);
}

static void nonsense_is_not_written(void **state) {
  uint8_t *data;
  size_t len;
  struct cns_safetensors_tensor twice[] = {{.name = "a", .count = 1, .data = weight},
                                           {.name = "a", .count = 1, .data = weight}};
  assert_int_equal(cns_safetensors_serialize(twice, 2, NULL, 0, &data, &len, NULL), CNS_ERR_ARGUMENT);
  struct cns_safetensors_tensor wrong = {
      .name = "a", .shape = {2}, .shape_count = 1, .count = 3, .data = weight};
  assert_int_equal(cns_safetensors_serialize(&wrong, 1, NULL, 0, &data, &len, NULL), CNS_ERR_ARGUMENT);
  struct cns_safetensors_tensor reserved = {.name = "__metadata__", .count = 1, .data = weight};
  assert_int_equal(cns_safetensors_serialize(&reserved, 1, NULL, 0, &data, &len, NULL), CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_written_is_read),
      cmocka_unit_test(foreign_file_is_read),
      cmocka_unit_test(hostile_headers_are_refused),
      cmocka_unit_test(false_lengths_are_refused),
      cmocka_unit_test(excess_is_refused_before_it_is_parsed),
      cmocka_unit_test(too_many_tensors_are_refused),
      cmocka_unit_test(every_truncation_and_flip_is_survived),
      cmocka_unit_test(nonsense_is_not_written),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
