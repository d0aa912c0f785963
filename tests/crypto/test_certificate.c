/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/certificate.h"
#include "crypto/json.h"

#define FROM INT64_C(1795341600)
#define UNTIL (FROM + INT64_C(86400) * 730)

static int enter_folder(void **state) {
  char *folder = strdup("/tmp/cns-certificate-XXXXXX");
  if (!folder || !mkdtemp(folder) || chdir(folder) != 0) return -1;
  *state = folder;
  return 0;
}

static int leave_folder(void **state) {
  static const char *const names[] = {"k", "c", "k2", "c2", "both", "x"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    unlink(names[i]);
  int r = chdir("/") || rmdir(*state);
  free(*state);
  return r;
}

static void create(const char *name, const char *key, const char *certificate, struct cns_tls_pin *ret_pin) {
  struct cns_problem problem = {0};
  if (cns_certificate_create(name, FROM, UNTIL, key, certificate, ret_pin, &problem))
    fail_msg("%s", problem.text);
}

static X509 *read_certificate(const char *path) {
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
  fclose(file);
  assert_non_null(certificate);
  return certificate;
}

static void has_the_documented_content(void **state) {
  struct cns_tls_pin pin;
  create("st-mary.example", "k", "c", &pin);
  X509 *certificate = read_certificate("c");
  EVP_PKEY *key = X509_get0_pubkey(certificate);
  assert_int_equal(X509_get_version(certificate), X509_VERSION_3);
  assert_int_equal(X509_verify(certificate, key), 1);
  assert_int_equal(X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)), 0);
  assert_int_equal(X509_check_host(certificate, "st-mary.example", 0, 0, NULL), 1);
  assert_int_equal(X509_check_host(certificate, "other.example", 0, 0, NULL), 0);
  assert_true(EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) == 256);
  assert_true((X509_get_extension_flags(certificate) & EXFLAG_CA) == 0);
  assert_int_equal(X509_get_key_usage(certificate), KU_DIGITAL_SIGNATURE);
  assert_int_equal(X509_get_extended_key_usage(certificate), XKU_SSL_SERVER | XKU_SSL_CLIENT);
  time_t from = FROM, until = UNTIL;
  assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate), from), 0);
  assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate), until), 0);
  /* The pin by another way: hash the bit string's surroundings as encoded by the key itself. */
  unsigned char *der = NULL, digest[32];
  int len = i2d_PUBKEY(key, &der);
  assert_true(len > 0);
  SHA256(der, (size_t)len, digest);
  assert_memory_equal(digest, pin.bytes, 32);
  OPENSSL_free(der);
  X509_free(certificate);
}

static void modes_are_private_and_keys_never_overwritten(void **state) {
  struct cns_tls_pin pin, other = {{0}};
  struct cns_problem problem = {0};
  struct stat info;
  mode_t mask = umask(0);
  create("a", "k", "c", &pin);
  umask(mask);
  assert_int_equal(stat("k", &info), 0);
  assert_int_equal(info.st_mode & 07777, 0600);
  assert_int_equal(stat("c", &info), 0);
  assert_int_equal(info.st_mode & 07777, 0644);
  assert_int_equal(cns_certificate_create("a", FROM, UNTIL, "k", "c2", &other, &problem), CNS_ERR_EXISTS);
  assert_non_null(strstr(problem.text, "never overwritten"));
  assert_int_not_equal(access("c2", F_OK), 0);
  assert_int_equal(cns_certificate_check_key("k", &pin, &problem), 0);
  /* A certificate that can't be written takes its key along. */
  assert_int_not_equal(cns_certificate_create("a", FROM, UNTIL, "k2", "none/c", &other, &problem), 0);
  assert_int_not_equal(access("k2", F_OK), 0);
}

static void serials_and_keys_differ(void **state) {
  struct cns_tls_pin first, second;
  create("a", "k", "c", &first);
  create("a", "k2", "c2", &second);
  assert_memory_not_equal(first.bytes, second.bytes, sizeof first.bytes);
  X509 *a = read_certificate("c"), *b = read_certificate("c2");
  assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)), 0);
  BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(a), NULL);
  assert_true(BN_num_bits(serial) > 120 && BN_num_bits(serial) <= 128 && !BN_is_negative(serial));
  BN_free(serial);
  X509_free(a);
  X509_free(b);
}

static void pin_is_read_back(void **state) {
  struct cns_tls_pin made, found;
  int64_t until = 0;
  create("a", "k", "c", &made);
  assert_int_equal(cns_certificate_pin("c", &found, &until, NULL), 0);
  assert_memory_equal(made.bytes, found.bytes, sizeof made.bytes);
  assert_int_equal(until, UNTIL);
}

static void names_stay_one_name(void **state) {
  static const char *const bad[] = {"", "two words", "line\nbreak", "caf\xc3\xa9",
                                    "0123456789012345678901234567890123456789012345678901234567890123x"};
  struct cns_tls_pin pin;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(cns_certificate_create(bad[i], FROM, UNTIL, "k", "c", &pin, NULL), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_certificate_create("a", FROM, FROM, "k", "c", &pin, NULL), CNS_ERR_ARGUMENT);
  create("a,DNS:evil.example", "k", "c", &pin);
  X509 *certificate = read_certificate("c");
  assert_int_equal(X509_check_host(certificate, "evil.example", 0, 0, NULL), 0);
  X509_free(certificate);
}

static void refuse_pin(const void *pem, size_t len, const char *sentence) {
  struct cns_tls_pin pin;
  int64_t until;
  struct cns_problem problem = {0};
  assert_int_equal(cns_certificate_pin_pem(pem, len, "x.crt", &pin, &until, &problem), CNS_ERR_FORMAT);
  if (!strstr(problem.text, sentence)) fail_msg("expected '%s' in '%s'", sentence, problem.text);
}

static void what_is_no_certificate_is_refused(void **state) {
  static const char encrypted[] =
      "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
      "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
      "MIIBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END CERTIFICATE-----\n";
  struct cns_tls_pin pin, found;
  int64_t until = 0;
  uint8_t *pem = NULL, *key = NULL;
  size_t len = 0, key_len = 0;
  create("a", "k", "c", &pin);
  assert_int_equal(cns_file_read("c", 10000, &pem, &len, NULL), 0);
  assert_int_equal(cns_file_read("k", 10000, &key, &key_len, NULL), 0);
  refuse_pin("", 0, "PEM");
  refuse_pin("hello", 5, "PEM");
  refuse_pin(key, key_len, "PEM");
  /* Refused, and no question for a password: standard input may be a terminal. */
  refuse_pin(encrypted, strlen(encrypted), "PEM");
  char *twice = malloc(2 * len);
  assert_non_null(twice);
  memcpy(twice, pem, len);
  memcpy(twice + len, pem, len);
  refuse_pin(twice, 2 * len, "exactly one");
  free(twice);
  for (size_t cut = 1; cut < len - 1; cut += 7)
    refuse_pin(pem, cut, "PEM");
  /* No damage may crash; what still parses has another pin or the same key. */
  for (size_t i = 0; i < len; i++) {
    uint8_t saved = pem[i];
    pem[i] ^= 1;
    (void)!cns_certificate_pin_pem(pem, len, "x.crt", &found, &until, NULL);
    pem[i] = saved;
  }
  uint8_t *large = calloc(1, CNS_CERTIFICATE_BYTES_MAX + 1);
  refuse_pin(large, CNS_CERTIFICATE_BYTES_MAX + 1, "PEM");
  free(large);
  free(pem);
  free(key);
}

static void other_kinds_of_keys_are_refused(void **state) {
  static const char *const groups[] = {"P-384", NULL};
  for (size_t i = 0; i < 2; i++) {
    EVP_PKEY *key = groups[i] ? EVP_EC_gen(groups[i]) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *certificate = X509_new();
    char *text = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    assert_true(ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)UNTIL) &&
                ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)FROM));
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, key, groups[i] ? EVP_sha256() : NULL) > 0);
    assert_int_equal(PEM_write_bio_X509(out, certificate), 1);
    long len = BIO_get_mem_data(out, &text);
    refuse_pin(text, (size_t)len, "P-256");
    BIO_free(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
}

static void a_key_is_checked_against_its_pin(void **state) {
  struct cns_tls_pin first, second;
  struct cns_problem problem = {0};
  create("a", "k", "c", &first);
  create("b", "k2", "c2", &second);
  assert_int_equal(cns_certificate_check_key("k", &second, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "isn't the key of the certificate"));
  assert_int_equal(chmod("k", 0640), 0);
  assert_int_equal(cns_certificate_check_key("k", &first, &problem), CNS_ERR_PERMISSION);
  assert_non_null(strstr(problem.text, "chmod 600 k"));
  assert_int_equal(cns_certificate_check_key("x", &first, &problem), CNS_ERR_NOT_FOUND);
  /* The secret half damaged, the public one intact. */
  uint8_t *pem = NULL;
  size_t len = 0;
  assert_int_equal(chmod("k", 0600), 0);
  assert_int_equal(cns_file_read("k", 10000, &pem, &len, NULL), 0);
  const char *body = strchr((char *)pem, '\n') + 1;
  for (size_t i = (size_t)(body - (char *)pem); i < len; i++) {
    if (pem[i] == '\n' || pem[i] == '-') continue; /* not part of the key */
    pem[i] ^= 1;
    assert_int_equal(cns_file_write("x", pem, len, 0600, NULL), 0);
    if (cns_certificate_check_key("x", &first, &problem) == 0) fail_msg("byte %zu of the key", i);
    pem[i] ^= 1;
  }
  free(pem);
  assert_int_equal(cns_file_write("x", "hello", 5, 0600, NULL), 0);
  assert_int_equal(cns_certificate_check_key("x", &first, &problem), CNS_ERR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(has_the_documented_content, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(modes_are_private_and_keys_never_overwritten, enter_folder,
                                      leave_folder),
      cmocka_unit_test_setup_teardown(serials_and_keys_differ, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(pin_is_read_back, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(names_stay_one_name, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(what_is_no_certificate_is_refused, enter_folder, leave_folder),
      cmocka_unit_test(other_kinds_of_keys_are_refused),
      cmocka_unit_test_setup_teardown(a_key_is_checked_against_its_pin, enter_folder, leave_folder),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
