/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/json.h"
#include "fixture.h"
#include "model/tensors.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

static char folder[] = "/tmp/cns-tensors-XXXXXX";
static char path[64];
static struct cns_tensor_list list;

/* A list whose order is neither that of names nor of sizes. */
static int setup(void **state) {
  (void)state;
  if (cns_init() != 0 || !mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/m.safetensors", folder);
  assert_int_equal(cns_tensor_list_add(&list, "conv.weight", (uint64_t[]){2, 1, 3, 3}, 4, NULL), 0);
  assert_int_equal(cns_tensor_list_add(&list, "a", (uint64_t[]){3}, 1, NULL), 0);
  assert_int_equal(cns_tensor_list_add(&list, "scale", NULL, 0, NULL), 0);
  assert_int_equal(list.dim, 22);
  assert_int_equal(list.tensors[2].offset, 21);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  cns_tensor_list_deinit(&list);
  unlink(path);
  return rmdir(folder);
}

static void fill(float *values) {
  for (size_t i = 0; i < 22; i++)
    values[i] = (float)i / 7 - 1;
}

/* A header by hand and n floats behind it. */
static void write_file(const char *header, const void *data, size_t len) {
  uint8_t bytes[2048] = {0};
  size_t header_len = strlen(header);
  assert_true(8 + header_len + len <= sizeof bytes);
  bytes[0] = (uint8_t)header_len;
  bytes[1] = (uint8_t)(header_len >> 8);
  memcpy(bytes + 8, header, header_len);
  memcpy(bytes + 8 + header_len, data, len);
  assert_int_equal(cns_file_write(path, bytes, 8 + header_len + len, 0600, NULL), 0);
}

static void what_was_written_is_read(void **state) {
  (void)state;
  float values[22], back[22] = {0};
  struct cns_safetensors_pair metadata[] = {{"round", "3"}};
  struct stat info;
  fill(values);
  assert_int_equal(cns_tensors_write(path, &list, values, metadata, 1, 0640, NULL), 0);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0640);
  assert_int_equal(cns_tensors_read(path, &list, back, NULL), 0);
  assert_memory_equal(values, back, sizeof values);
  struct cns_tensor_list found = {0};
  assert_int_equal(cns_tensor_list_read(path, &found, NULL), 0);
  assert_int_equal(found.count, 3);
  assert_int_equal(found.dim, 22);
  assert_string_equal(found.tensors[0].name, "conv.weight");
  cns_tensor_list_deinit(&found);
  struct cns_safetensors *file = NULL;
  assert_int_equal(cns_safetensors_open_unmapped(path, &file, NULL), 0);
  assert_string_equal(cns_safetensors_metadata(file, "round"), "3");
  assert_null(cns_safetensors_get(file, 0)->bytes);
  cns_safetensors_free(file);
}

/* Header and data in another order than the list; the header's length makes F32 unaligned. */
static void order_in_the_file_is_free(void **state) {
  (void)state;
  float values[22], back[22] = {0}, data[22];
  fill(values);
  data[0] = values[21];
  memcpy(data + 1, values, 18 * sizeof *values);
  memcpy(data + 19, values + 18, 3 * sizeof *values);
  write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[76,88]},"
             "\"scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
             "\"conv.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,3,3],\"data_offsets\":[4,76]}} ",
             data, sizeof data);
  assert_int_equal(cns_tensors_read(path, &list, back, NULL), 0);
  assert_memory_equal(values, back, sizeof values);
  memset(back, 0, sizeof back);
  struct cns_safetensors *file = NULL;
  assert_int_equal(cns_safetensors_open(path, &file, NULL), 0);
  assert_int_equal(cns_tensors_load(file, "f", &list, back, NULL), 0);
  assert_memory_equal(values, back, sizeof values);
  struct cns_tensor_list found = {0}; /* in the order of the bytes */
  assert_int_equal(cns_tensor_list_from_safetensors(file, &found, NULL), 0);
  assert_string_equal(found.tensors[0].name, "scale");
  assert_string_equal(found.tensors[2].name, "a");
  cns_tensor_list_deinit(&found);
  cns_safetensors_free(file);
}

static void halves_become_floats(void **state) {
  (void)state;
  struct cns_tensor_list two = {0};
  assert_int_equal(cns_tensor_list_add(&two, "b", (uint64_t[]){2}, 1, NULL), 0);
  assert_int_equal(cns_tensor_list_add(&two, "h", (uint64_t[]){1, 3}, 2, NULL), 0);
  static const uint16_t data[] = {0x3C00, 0xC000, 0x0001, 0xC110, 0x7F7F}; /* F16: 1, -2, 2^-24; BF16 */
  write_file("{\"h\":{\"dtype\":\"F16\",\"shape\":[1,3],\"data_offsets\":[0,6]},"
             "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[6,10]}}",
             data, sizeof data);
  float back[5] = {0};
  assert_int_equal(cns_tensors_read(path, &two, back, NULL), 0);
  assert_true(back[0] == -9 && back[1] == 0x1.FEp127f);
  assert_true(back[2] == 1 && back[3] == -2 && back[4] == 0x1p-24f);
  cns_tensor_list_deinit(&two);
}

static const struct {
  const char *header;
  size_t data_len;
  const char *word;
  int error;
} misfits[] = {
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[4,16]},"
     "\"scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
     16, "has a tensor \"conv.weight\", the file has not", CNS_ERR_FORMAT},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[76,88]},"
     "\"scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"conv.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,3,3],\"data_offsets\":[4,76]}}",
     88, "\"scale\" has another shape than the model's: [1], not []", CNS_ERR_FORMAT},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[76,88]},"
     "\"scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
     "\"conv.weight\":{\"dtype\":\"F32\",\"shape\":[2,3,3,1],\"data_offsets\":[4,76]}}",
     88, "[2, 3, 3, 1], not [2, 1, 3, 3]", CNS_ERR_FORMAT},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[76,88]},"
     "\"scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
     "\"more\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[88,92]},"
     "\"conv.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,3,3],\"data_offsets\":[4,76]}}",
     92, "the file has a tensor \"more\", the model has not", CNS_ERR_FORMAT},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[76,88]},"
     "\"scale\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[88,96]},"
     "\"conv.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,3,3],\"data_offsets\":[0,76]}}",
     96, "\"scale\" is of type F64", CNS_ERR_UNSUPPORTED},
};

static void misfits_are_named(void **state) {
  (void)state;
  uint8_t data[128] = {0};
  for (size_t i = 0; i < LENGTH_OF(misfits); i++) {
    float back[22] = {42};
    struct cns_problem problem = {{0}};
    write_file(misfits[i].header, data, misfits[i].data_len);
    int r = cns_tensors_read(path, &list, back, &problem);
    if (!strstr(problem.text, misfits[i].word)) print_error("%zu: %s\n", i, problem.text);
    assert_int_equal(r, misfits[i].error);
    assert_non_null(strstr(problem.text, misfits[i].word));
    assert_non_null(strstr(problem.text, path));
    assert_true(back[0] == 42);
  }
}

static void what_is_not_finite_is_named(void **state) {
  (void)state;
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  float values[22], back[22];
  struct cns_problem problem = {{0}};
  for (size_t i = 0; i < LENGTH_OF(bad); i++) {
    fill(values);
    values[19] = bad[i];
    assert_int_equal(cns_tensors_write(path, &list, values, NULL, 0, 0600, NULL), 0);
    assert_int_equal(cns_tensors_read(path, &list, back, &problem), CNS_ERR_RANGE);
    assert_non_null(strstr(problem.text, "number 1 of tensor \"a\" is not finite"));
    struct cns_safetensors *file = NULL;
    back[0] = 42;
    assert_int_equal(cns_safetensors_open(path, &file, NULL), 0);
    assert_int_equal(cns_tensors_load(file, "f", &list, back, &problem), CNS_ERR_RANGE);
    assert_true(back[0] == 42); /* of a file in memory nothing is taken by halves */
    cns_safetensors_free(file);
  }
}

static void a_file_that_shrinks_is_an_error(void **state) {
  (void)state;
  float values[22], back[22];
  struct cns_problem problem = {{0}};
  struct cns_safetensors *file = NULL;
  fill(values);
  assert_int_equal(cns_tensors_write(path, &list, values, NULL, 0, 0600, NULL), 0);
  assert_int_equal(cns_safetensors_open_unmapped(path, &file, NULL), 0);
  assert_int_equal(truncate(path, 40), 0);
  assert_int_equal(cns_tensors_load(file, "f", &list, back, &problem), CNS_ERR_IO);
  assert_non_null(strstr(problem.text, "became shorter"));
  cns_safetensors_free(file);
}

static void nonsense_is_no_list(void **state) {
  (void)state;
  struct cns_tensor_list bad = {0};
  char name[CNS_SAFETENSORS_NAME_MAX + 2];
  memset(name, 'x', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  assert_int_equal(cns_tensor_list_add(&bad, name, NULL, 0, NULL), CNS_ERR_FORMAT);
  assert_int_equal(cns_tensor_list_add(&bad, "", NULL, 0, NULL), CNS_ERR_FORMAT);
  assert_int_equal(cns_tensor_list_add(&bad, "\xFF", NULL, 0, NULL), CNS_ERR_FORMAT);
  assert_int_equal(cns_tensor_list_add(&bad, "__metadata__", NULL, 0, NULL), CNS_ERR_FORMAT);
  assert_int_equal(cns_tensor_list_add(&bad, "a", (uint64_t[]){0}, 1, NULL), CNS_ERR_FORMAT);
  assert_int_equal(cns_tensor_list_add(&bad, "a", (uint64_t[9]){0}, 9, NULL), CNS_ERR_LIMIT);
  assert_int_equal(cns_tensor_list_add(&bad, "a", (uint64_t[]){UINT64_MAX, UINT64_MAX}, 2, NULL),
                   CNS_ERR_LIMIT);
  assert_int_equal(cns_tensor_list_add(&bad, "a", (uint64_t[]){CNS_TENSORS_DIM_MAX}, 1, NULL), 0);
  assert_int_equal(cns_tensor_list_add(&bad, "a", NULL, 0, NULL), CNS_ERR_FORMAT); /* twice */
  assert_int_equal(cns_tensor_list_add(&bad, "b", NULL, 0, NULL), CNS_ERR_LIMIT);
  assert_int_equal(cns_tensor_list_add(&bad, "b", (uint64_t[]){1}, 1, NULL), CNS_ERR_LIMIT);
  assert_int_equal(bad.count, 1);
  cns_tensor_list_deinit(&bad);
}

static void a_full_disk_leaves_the_old_file(void **state) {
  (void)state;
  float values[22], back[22];
  struct cns_problem problem = {{0}};
  char other[96];
  fill(values);
  assert_int_equal(cns_tensors_write("/dev/full", &list, values, NULL, 0, 0600, &problem), CNS_ERR_DISK_FULL);
  assert_non_null(strstr(problem.text, "/dev/full: can't be written"));
  snprintf(other, sizeof other, "%s/none/m.safetensors", folder);
  assert_int_equal(cns_tensors_write(other, &list, values, NULL, 0, 0600, &problem), CNS_ERR_NOT_FOUND);
  assert_int_equal(cns_tensors_write(path, &list, values, NULL, 0, 0600, NULL), 0);
  struct cns_file_writer *writer = NULL; /* begun, and never committed */
  assert_int_equal(cns_file_begin(path, 0600, &writer, NULL), 0);
  assert_int_equal(cns_file_append(writer, "x", 1, NULL), 0);
  cns_file_discard(writer);
  assert_int_equal(cns_tensors_read(path, &list, back, NULL), 0);
  assert_memory_equal(values, back, sizeof values);
}

/* More than one block of 65536 floats; the digest is that of the file's bytes. */
static void large_tensors_are_written_in_blocks(void **state) {
  (void)state;
  enum { DIM = 150001 };
  struct cns_tensor_list large = {0};
  float *values = malloc(DIM * sizeof *values), *back = malloc(DIM * sizeof *back);
  assert_true(values && back);
  assert_int_equal(cns_tensor_list_add(&large, "first", (uint64_t[]){150000}, 1, NULL), 0);
  assert_int_equal(cns_tensor_list_add(&large, "last", NULL, 0, NULL), 0);
  for (size_t i = 0; i < DIM; i++)
    values[i] = (float)(i % 2048) - 1024;
  for (int dtype = CNS_DTYPE_F32; dtype <= CNS_DTYPE_F16; dtype++) {
    struct cns_tensors_flat flat = {.values = values, .list = &large};
    struct cns_tensors_source source = {
        .load = cns_tensors_from_flat, .context = &flat, .dtype = (enum cns_dtype)dtype};
    struct cns_tensors_written written;
    assert_int_equal(cns_tensors_write_from(path, &large, &source, 0600, &written, NULL), 0);
    uint8_t *bytes = NULL, digest[CNS_DIGEST_BYTES];
    size_t len = 0;
    assert_int_equal(cns_file_read(path, 1 << 20, &bytes, &len, NULL), 0);
    assert_int_equal(written.bytes, len);
    assert_int_equal(crypto_generichash(digest, sizeof digest, bytes, len, NULL, 0), 0);
    assert_memory_equal(written.digest, digest, sizeof digest);
    free(bytes);
    assert_int_equal(cns_tensors_read(path, &large, back, NULL), 0);
    assert_memory_equal(values, back, DIM * sizeof *values);
  }
  free(values);
  free(back);
  cns_tensor_list_deinit(&large);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_written_is_read),
      cmocka_unit_test(order_in_the_file_is_free),
      cmocka_unit_test(halves_become_floats),
      cmocka_unit_test(misfits_are_named),
      cmocka_unit_test(what_is_not_finite_is_named),
      cmocka_unit_test(a_file_that_shrinks_is_an_error),
      cmocka_unit_test(nonsense_is_no_list),
      cmocka_unit_test(a_full_disk_leaves_the_old_file),
      cmocka_unit_test(large_tensors_are_written_in_blocks),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
