/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of other formats, as their own programs write them. Whole files of Python's
 * pickle and zipfile are tests/system/test_formats.py's.
 */
#include "crypto/json.h"
#include "fixture.h"
#include "model/foreign.h"
#include "model/npy_numbers.h"
#include "model/safetensors.h"

#include <unistd.h>

#define BYTES(text) text, sizeof(text) - 1

static int setup(void **state) {
  (void)state;
  return cns_init();
}

static const struct {
  const char *bytes;
  size_t len;
  const char *word; /* NULL: none of these */
} starts[] = {
    {BYTES("\x80\x02}q\0."), "is a Python pickle; it is not read, because loading a pickle runs code"},
    {BYTES("\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94."), "is a Python pickle"},
    {BYTES("\x80\x05\x95\x0a\0\0\0\0\0\0\0}\x94."), "is a Python pickle"},
    {BYTES("(dp0\nVa\np1\nI1\ns."), "is a Python pickle"},
    {BYTES("ccopy_reg\n_reconstructor\n"), "is a Python pickle"},
    {BYTES("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
     "PyTorch file of the old kind"},
    {BYTES("\x80\x03"
           "cjoblib.numpy_pickle\nNumpyArrayWrapper\n"),
     "is a file of joblib"},
    {BYTES("\x80\x04\x95\x99\0\0\0\0\0\0\0\x8c\x1esklearn.linear_model._logistic\x94"),
     "is a file of joblib"},
    {BYTES("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl"),
     "is a PyTorch file"},
    {BYTES("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0w.npy"), "NumPy archive (.npz)"},
    {BYTES("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0model.weights.h5"), "Keras"},
    {BYTES("PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txt"), "ZIP archive"},
    {BYTES("\x89HDF\r\n\x1a\n\0\0\0"), "HDF5"},
    {BYTES("GGUF\x03\0\0\0"), "GGUF"},
    {BYTES("\x08\x07\x12\x07pytorch\x1a\x05"
           "1.0.0"),
     "ONNX"},
    {BYTES("\x1c\0\0\0TFL3\x14\0\x20\0"), "TensorFlow Lite"},
    {BYTES("RDX3\nX\n\0\0\0\x03"), "R data file"},
    {BYTES("X\n\0\0\0\x03\0\x04\x02\x02"), "R data file"},
    {BYTES("MATLAB 5.0 MAT-file, Platform: GLNXA64"), "MATLAB"},
    {BYTES("version https://git-lfs.example/spec/v1\noid sha256:4d7a\nsize 12\n"), "git lfs pull"},
    {BYTES("<!DOCTYPE html><html>"), "web page"},
    {BYTES("{\"a\": 1}"), "JSON text"},
    {BYTES("\x93NUMPY\x01\0v\0{"), "consilium model import"},
    {BYTES("BZh91AY&SY"), "compressed (bzip2)"},
    {BYTES("\xfd"
           "7zXZ\0\0\x04"),
     "compressed (xz)"},
    /* zlib.compress(pickle), gzip with R's serialization inside, and damaged zlib */
    {BYTES("\x78\x9c\x6b\x60\xaa\x2d\x64\xd0\x03\0\x06\x85\x01\x9f"),
     "(compressed with zlib) is a Python pickle"},
    {BYTES("\x78\x9c\xff\xff\xff\xff"), "compressed (zlib)"},
    {BYTES("\x50\0\0\0\0\0\0\0{\"a\""), NULL},
    {BYTES("hello, world"), NULL},
    {BYTES("\0"), NULL},
};

static void formats_are_told_by_their_content(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH_OF(starts); i++) {
    struct cns_problem problem = {{0}};
    int r = cns_foreign_refuse((const uint8_t *)starts[i].bytes, starts[i].len, CNS_ERR_FORMAT, &problem);
    if (!strstr(problem.text, starts[i].word ? starts[i].word : ""))
      print_error("%zu: %s\n", i, problem.text);
    assert_int_equal(r, starts[i].word ? CNS_ERR_UNSUPPORTED : CNS_ERR_FORMAT);
    assert_non_null(strstr(problem.text, starts[i].word ? starts[i].word : ""));
    if (!starts[i].word) assert_string_equal(problem.text, "");
    assert_true(strlen(problem.text) < 400); /* room for a path in front */
  }
}

/* Whatever a file is called, and by whichever door it comes in. */
static void foreign_files_are_refused_by_every_reader(void **state) {
  (void)state;
  char path[] = "/tmp/cns-foreign-XXXXXX.safetensors";
  int fd = mkstemps(path, 12);
  assert_true(fd >= 0 && close(fd) == 0);
  for (size_t i = 0; i < LENGTH_OF(starts); i++) {
    struct cns_safetensors *file = NULL;
    struct cns_npy_numbers *numbers = NULL;
    struct cns_problem problems[3] = {{{0}}};
    if (!starts[i].word) continue;
    assert_int_equal(cns_file_write(path, starts[i].bytes, starts[i].len, 0600, NULL), 0);
    assert_int_equal(cns_safetensors_open(path, &file, &problems[0]), CNS_ERR_UNSUPPORTED);
    assert_int_equal(cns_safetensors_open_unmapped(path, &file, &problems[1]), CNS_ERR_UNSUPPORTED);
    assert_true(cns_npy_numbers_open(path, &numbers, &problems[2]) < 0);
    bool npy = starts[i].bytes[0] == '\x93';
    for (size_t k = 0; k < (npy ? 2 : LENGTH_OF(problems)); k++) {
      if (!strstr(problems[k].text, starts[i].word)) print_error("%zu %zu: %s\n", i, k, problems[k].text);
      assert_non_null(strstr(problems[k].text, starts[i].word));
      assert_memory_equal(problems[k].text, path, strlen(path));
    }
  }
  unlink(path);
}

static void hdf5_behind_a_block_of_the_user_is_found(void **state) {
  (void)state;
  uint8_t bytes[CNS_FOREIGN_HEAD_BYTES];
  for (size_t at = 512; at + 8 <= sizeof bytes; at *= 2) {
    struct cns_problem problem = {{0}};
    memset(bytes, 0xAA, sizeof bytes);
    memcpy(bytes + at, "\x89HDF\r\n\x1a\n", 8);
    assert_int_equal(cns_foreign_refuse(bytes, sizeof bytes, 0, &problem), CNS_ERR_UNSUPPORTED);
    assert_non_null(strstr(problem.text, "HDF5"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(formats_are_told_by_their_content),
      cmocka_unit_test(foreign_files_are_refused_by_every_reader),
      cmocka_unit_test(hdf5_behind_a_block_of_the_user_is_found),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
