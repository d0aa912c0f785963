/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/base.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <string.h>
#include <sys/resource.h>

int cns_init(void) {
  /* OpenSSL's own clean-up at exit would run beside nng's threads, which may
   * still let go of a connection then; the process's end cleans up as well. */
  if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1) return CNS_ERR_LIBRARY;
  return sodium_init() < 0 ? CNS_ERR_LIBRARY : CNS_OK;
}

void cns_hex_encode(const uint8_t *bytes, size_t len, char *out) {
  sodium_bin2hex(out, 2 * len + 1, bytes, len);
}

/* 0..15, or 0x100 and above for anything but a hex digit. No branch and no
 * table, because key files hold secrets in hex. */
static unsigned hex_digit(unsigned c) {
  const unsigned number = c - '0', letter = (c | 0x20u) - 'a';
  const unsigned is_number = ((number - 10u) & ~number) >> 31;
  const unsigned is_letter = ((letter - 6u) & ~letter) >> 31;
  const unsigned value = ((0u - is_number) & number) | ((0u - is_letter) & (letter + 10u));
  return value | (1u - (is_number | is_letter)) << 8;
}

int cns_hex_decode(const char *hex, size_t len, uint8_t *ret_bytes) {
  if (len > SIZE_MAX / 2 - 1 || strnlen(hex, 2 * len + 1) != 2 * len) return CNS_ERR_FORMAT;

  unsigned bad = 0;
  for (size_t k = 0; k < 2 * len; k++)
    bad |= hex_digit((unsigned char)hex[k]);
  if (bad >> 8) return CNS_ERR_FORMAT;

  for (size_t k = 0; k < len; k++) {
    const unsigned high = hex_digit((unsigned char)hex[2 * k]);
    const unsigned low = hex_digit((unsigned char)hex[2 * k + 1]);
    ret_bytes[k] = (uint8_t)(high << 4 | low);
  }
  return CNS_OK;
}

/* Bytes of the UTF-8 character (RFC 3629) at p; 0 if there is none. */
static size_t utf8_length(const unsigned char *p) {
  size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
  for (size_t k = 1; k < len; k++)
    if ((p[k] & 0xc0) != 0x80) return 0; /* also the text's end */
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0)) return 0;
  if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90)) return 0;
  return len;
}

bool cns_text_is_utf8(const char *text) {
  while (*text) {
    const size_t len = utf8_length((const unsigned char *)text);
    if (len == 0) return false;
    text += len;
  }
  return true;
}

/* p: one whole character of len bytes. */
static bool steers(const unsigned char *p, size_t len) {
  if (len == 1) return p[0] < 0x20 || p[0] == 0x7f;
  if (len == 2) return (p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xd8 && p[1] == 0x9c); /* C1; U+061C */
  if (len != 3 || p[0] != 0xe2) return false;
  if (p[1] == 0x80) return p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae); /* U+2028..202E */
  return p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;                                     /* U+2066..2069 */
}

void cns_text_clean(char *text) {
  char *out = text;
  while (*text) {
    const size_t len = utf8_length((const unsigned char *)text);
    if (len == 0 || steers((const unsigned char *)text, len)) {
      *out++ = '?';
      text += len ? len : 1;
      continue;
    }
    memmove(out, text, len);
    out += len;
    text += len;
  }
  *out = '\0';
}

int cns_forbid_core_files(struct cns_problem *problem) {
  const struct rlimit none = {0, 0};
  if (setrlimit(RLIMIT_CORE, &none) == 0) return 0;
  return cns_problem_set(problem, CNS_ERR_LIBRARY, "core files can't be forbidden for this process");
}

int cns_error_from_errno(int number) {
  switch (number) {
  case ENOENT:
  case ENOTDIR:
    return CNS_ERR_NOT_FOUND;
  case EEXIST:
    return CNS_ERR_EXISTS;
  case EACCES:
  case EPERM:
  case EROFS:
    return CNS_ERR_PERMISSION;
  case ENOSPC:
  case EDQUOT:
  case EFBIG: /* the file size limit of the process */
    return CNS_ERR_DISK_FULL;
  case ENOMEM:
    return CNS_ERR_MEMORY;
  default:
    return CNS_ERR_IO;
  }
}
