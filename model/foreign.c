/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the first bytes are from: Python's pickletools (opcodes PROTO, FRAME, GLOBAL) and
 * PyTorch's serialization notes (a ZIP archive with <name>/data.pkl first; before 1.6 a pickle
 * that begins with the number 0x1950a86a20f9469cfc6c); PKWARE's APPNOTE 4.3.7; HDF5's file
 * format specification, II.A; GGUF's specification; ONNX's onnx.proto; RFC 1950, 1952; R Internals, 1.8.
 */
#include "model/foreign.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "crypto/bytes.h"

#define PEEK_BYTES 256 /* of a compressed stream */

#define RUNS_CODE "it is not read, because loading a pickle runs code that is in the file"
#define FROM_TORCH                                                                                           \
  "where it was made, save the weights alone: safetensors.torch.save_file(model.state_dict(), "              \
  "\"model.safetensors\")"
#define FROM_NUMPY                                                                                           \
  "where it was made, save the arrays alone: safetensors.numpy.save_file({\"name\": array, ...}, "           \
  "\"model.safetensors\")"

struct bytes {
  const uint8_t *data;
  size_t len;
};

static bool begins(struct bytes head, const void *with, size_t len) {
  return head.len >= len && memcmp(head.data, with, len) == 0;
}

static bool holds(struct bytes head, const char *text) {
  return memmem(head.data, head.len, text, strlen(text)) != NULL;
}

/* ---- pickles ---- */

/* Protocols 0 and 1 have no mark of their own; these are how a dict, a list or an object begins. */
static bool is_old_pickle(struct bytes head) {
  static const char *const starts[] = {"(dp",    "(lp",  "(ip",       "}q",         "]q",
                                       "(dq",    "(lq",  "ccopy_reg", "c__builtin", "cnumpy.",
                                       "ctorch", "cjob", "csklearn"};
  for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
    if (begins(head, starts[i], strlen(starts[i]))) return true;
  return false;
}

static const char *pickle(struct bytes head) {
  static const uint8_t torch[] = {0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19};
  bool proto = head.len >= 3 && head.data[0] == 0x80 && head.data[1] >= 2 && head.data[1] <= 5;
  if (!proto && !is_old_pickle(head)) return NULL;
  if (proto && begins((struct bytes){head.data + 2, head.len - 2}, torch, sizeof torch))
    return "is a PyTorch file of the old kind (a pickle); " RUNS_CODE "; " FROM_TORCH;
  if (holds(head, "joblib") || holds(head, "sklearn"))
    return "is a file of joblib (a Python pickle); " RUNS_CODE "; " FROM_NUMPY;
  return "is a Python pickle; " RUNS_CODE "; " FROM_TORCH;
}

/* ---- ZIP ---- */

static const char *zip(struct bytes head) {
  if (!begins(head, "PK\3\4", 4) && !begins(head, "PK\5\6", 4)) return NULL;
  if (holds(head, "data.pkl") || holds(head, "constants.pkl"))
    return "is a PyTorch file (.pt, .pth: a ZIP archive with a pickle in it); " RUNS_CODE "; " FROM_TORCH;
  if (holds(head, ".npy"))
    return "is a NumPy archive (.npz); make a safetensors file of its arrays: "
           "safetensors.numpy.save_file(dict(numpy.load(file)), \"model.safetensors\")";
  if (holds(head, ".weights.h5"))
    return "is a Keras model (a ZIP archive with HDF5 in it); save its arrays: safetensors.numpy.save_file("
           "{w.path: w.numpy() for w in model.weights}, \"model.safetensors\")";
  return "is a ZIP archive; unpack it: a safetensors or a NumPy .npy file is read";
}

/* ---- others ---- */

static bool is_hdf5(struct bytes head) {
  static const char signature[] = "\x89HDF\r\n\x1a\n";
  for (size_t at = 0; at + 8 <= head.len; at = at ? 2 * at : 512) /* behind a block of the user's */
    if (memcmp(head.data + at, signature, 8) == 0) return true;
  return false;
}

/* A ModelProto has no mark: its ir_version, and then a producer's name, a graph or an import. */
static bool is_onnx(struct bytes head) {
  if (head.len < 8 || head.data[0] != 0x08 || head.data[1] < 1 || head.data[1] > 30) return false;
  if (head.data[2] == 0x3A || head.data[2] == 0x42) return true;
  return head.data[2] == 0x12 && head.data[3] > 0 && head.data[3] < 64 && isprint(head.data[4]);
}

static bool is_r(struct bytes head) {
  return begins(head, "RDX", 3) || begins(head, "RDA", 3) || begins(head, "X\n\0\0\0", 5) ||
         begins(head, "A\n2\n", 4) || begins(head, "A\n3\n", 4);
}

static bool is_page(struct bytes head) {
  return (head.len >= 14 && strncasecmp((const char *)head.data, "<!doctype html", 14) == 0) ||
         (head.len >= 5 && strncasecmp((const char *)head.data, "<html", 5) == 0);
}

static const char *other(struct bytes head) {
  if (is_hdf5(head))
    return "is an HDF5 file (Keras, or MATLAB's new kind); save its arrays as a safetensors file: "
           "safetensors.numpy.save_file({name: array, ...}, \"model.safetensors\")";
  if (begins(head, "GGUF", 4) || begins(head, "ggml", 4) || begins(head, "lmgg", 4) ||
      begins(head, "tjgg", 4))
    return "is a GGUF file, whose numbers may be of few bits; a safetensors file of the model before that "
           "conversion is needed";
  if (is_onnx(head))
    return "seems to be an ONNX model; save its weights as a safetensors file: safetensors.numpy.save_file("
           "{i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}, \"model.safetensors\")";
  if (head.len >= 8 && memcmp(head.data + 4, "TFL3", 4) == 0)
    return "is a TensorFlow Lite model; save the weights of the model that it was made of as a safetensors "
           "file";
  if (is_r(head))
    return "is an R data file; it is not read, because loading it can run code; write the numbers as a "
           "safetensors or a NumPy .npy file";
  if (begins(head, "MATLAB 5.0 MAT-file", 19))
    return "is a MATLAB file; write the numbers as a NumPy .npy file";
  if (begins(head, "version https://git-lfs", 23))
    return "is only the pointer to a file in Git LFS; get the file itself with: git lfs pull";
  if (is_page(head)) return "is a web page, not a model; was it saved in place of the download?";
  if (begins(head, "{", 1))
    return "is JSON text; a safetensors file begins with the length of its header (8 bytes)";
  return NULL;
}

bool cns_foreign_is_npy(const uint8_t *head, size_t len) {
  return begins((struct bytes){head, len}, "\x93NUMPY", 6);
}

static const char *plain(struct bytes head) {
  const char *what = pickle(head);
  if (!what) what = zip(head);
  if (!what) what = other(head);
  if (!what && cns_foreign_is_npy(head.data, head.len))
    what = "is a NumPy array; make a safetensors file of it: consilium model import";
  return what;
}

/* ---- compressed ---- */

/* The first bytes of what a zlib or gzip stream holds. */
static size_t inflate_start(struct bytes head, uint8_t *out, size_t room) {
  z_stream stream = {0};
  if (inflateInit2(&stream, 15 + 32) != Z_OK) return 0; /* 32: either header */
  stream.next_in = (Bytef *)(uintptr_t)head.data;       /* zlib doesn't write there */
  stream.avail_in = (uInt)head.len;
  stream.next_out = out;
  stream.avail_out = (uInt)room;
  int r = inflate(&stream, Z_SYNC_FLUSH);
  size_t len = r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR ? room - stream.avail_out : 0;
  (void)inflateEnd(&stream);
  return len;
}

static const char *compressed(struct bytes head) {
  static const struct {
    const char *start, *name;
  } others[] = {{"BZh", "bzip2"},
                {"\xFD"
                 "7zXZ",
                 "xz"},
                {"\x04\x22\x4D\x18", "LZ4"},
                {"\x28\xB5\x2F\xFD", "Zstandard"}};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (begins(head, others[i].start, strlen(others[i].start))) return others[i].name;
  if (begins(head, "\x1F\x8B\x08", 3)) return "gzip";
  bool zlib = head.len >= 2 && head.data[0] == 0x78 && (head.data[0] * 256 + head.data[1]) % 31 == 0;
  return zlib ? "zlib" : NULL;
}

int cns_foreign_refuse(const uint8_t *head, size_t len, int error, struct cns_problem *problem) {
  struct bytes start = {head, len < CNS_FOREIGN_HEAD_BYTES ? len : CNS_FOREIGN_HEAD_BYTES};
  const char *packed = compressed(start), *what = packed ? NULL : plain(start);
  if (!packed && !what) return error;
  if (what) return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "this %s", what);
  uint8_t inside[PEEK_BYTES];
  size_t peeked = inflate_start(start, inside, sizeof inside);
  what = plain((struct bytes){inside, peeked});
  if (what)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "this (compressed with %s) %s", packed, what);
  return cns_problem_set(
      problem, CNS_ERR_UNSUPPORTED,
      "this is compressed (%s); unpack it if a safetensors or a NumPy .npy file is inside. "
      "If joblib or R wrote it, save the arrays anew instead: what they load runs code",
      packed);
}
