/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crypto/json.h"
#include "crypto/rng.h"

#define SERIAL_BYTES 16

static int pin_of_key(X509_PUBKEY *public_key, struct cns_tls_pin *ret_pin) {
  unsigned char *der = NULL;
  int len = i2d_X509_PUBKEY(public_key, &der);
  if (len <= 0) return CNS_ERR_LIBRARY;
  int done = EVP_Digest(der, (size_t)len, ret_pin->bytes, NULL, EVP_sha256(), NULL);
  OPENSSL_free(der);
  return done == 1 ? 0 : CNS_ERR_LIBRARY;
}

static bool is_p256(const EVP_PKEY *key) {
  char group[32];
  size_t len = 0;
  return key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1 &&
         strcmp(group, "prime256v1") == 0;
}

/* Random, so that no two certificates of one name are confused. */
static int set_serial(X509 *certificate) {
  uint8_t bytes[SERIAL_BYTES];
  int r = cns_rng_fill(cns_rng_system(), bytes, sizeof bytes);
  if (r) return r;
  bytes[0] |= 0x01; /* never zero, and not shorter than it looks */
  BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
  bool done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
  BN_free(number);
  return done ? 0 : CNS_ERR_LIBRARY;
}

static bool add_extension(X509 *certificate, int nid, const char *value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
  bool done = extension && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return done;
}

/* Built from parts, not from a configuration string: a name with a comma stays
 * one name. */
static bool add_alternative_name(X509 *certificate, const char *name) {
  GENERAL_NAMES *names = GENERAL_NAMES_new();
  GENERAL_NAME *entry = GENERAL_NAME_new();
  ASN1_IA5STRING *text = ASN1_IA5STRING_new();
  bool done = names && entry && text && ASN1_STRING_set(text, name, -1) == 1;
  if (done) {
    GENERAL_NAME_set0_value(entry, GEN_DNS, text);
    text = NULL;
    done = sk_GENERAL_NAME_push(names, entry) > 0;
    if (done) entry = NULL;
  }
  done = done && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
  ASN1_IA5STRING_free(text);
  GENERAL_NAME_free(entry);
  GENERAL_NAMES_free(names);
  return done;
}

static int fill_certificate(X509 *certificate, EVP_PKEY *key, const char *name, int64_t from, int64_t until) {
  X509_NAME *subject = X509_get_subject_name(certificate);
  int r = set_serial(certificate);
  if (r) return r;
  bool done =
      X509_set_version(certificate, X509_VERSION_3) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from) &&
      ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)until) &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1 &&
      X509_set_issuer_name(certificate, subject) == 1 && X509_set_pubkey(certificate, key) == 1 &&
      add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
      add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
      add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
      add_alternative_name(certificate, name) && X509_sign(certificate, key, EVP_sha256()) > 0;
  return done ? 0 : CNS_ERR_LIBRARY;
}

static int write_new(const char *path, const char *data, size_t len, struct cns_problem *problem) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 && errno == EEXIST)
    return cns_problem_set(problem, CNS_ERR_EXISTS, "%s: exists already; a key is never overwritten", path);
  if (fd < 0) return cns_problem_set(problem, CNS_ERR_IO, "%s: can't be created: %s", path, strerror(errno));
  int number = fchmod(fd, 0600) != 0 ? errno : 0;
  while (len > 0 && !number) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno != EINTR) number = errno;
    if (n > 0) data += n;
    if (n > 0) len -= (size_t)n;
  }
  if (!number && fsync(fd) != 0) number = errno;
  if (close(fd) != 0 && !number) number = errno;
  if (!number) number = cns_file_sync_folder(path);
  if (!number) return 0;
  unlink(path);
  return cns_problem_set(
      problem, number == ENOSPC || number == EDQUOT || number == EFBIG ? CNS_ERR_DISK_FULL : CNS_ERR_IO,
      "%s: can't be written: %s", path, strerror(number));
}

static int save_key(EVP_PKEY *key, const char *path, struct cns_problem *problem) {
  BIO *out = BIO_new(BIO_s_secmem());
  char *text = NULL;
  int r = CNS_ERR_LIBRARY;
  if (out && PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1) {
    long len = BIO_get_mem_data(out, &text);
    if (len > 0) r = write_new(path, text, (size_t)len, problem);
    if (len > 0) cns_wipe(text, (size_t)len);
  }
  BIO_free(out);
  if (r == CNS_ERR_LIBRARY) return cns_problem_set(problem, r, "%s: OpenSSL couldn't encode the key", path);
  return r;
}

static int save_certificate(X509 *certificate, const char *path, struct cns_problem *problem) {
  BIO *out = BIO_new(BIO_s_mem());
  char *text = NULL;
  int r = CNS_ERR_LIBRARY;
  if (out && PEM_write_bio_X509(out, certificate) == 1) {
    long len = BIO_get_mem_data(out, &text);
    if (len > 0) r = cns_file_write(path, text, (size_t)len, 0644, problem);
  }
  BIO_free(out);
  if (r == CNS_ERR_LIBRARY)
    return cns_problem_set(problem, r, "%s: OpenSSL couldn't encode the certificate", path);
  return r;
}

static bool is_name(const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)name[i] <= 0x20 || (unsigned char)name[i] >= 0x7F) return false;
  return len >= 1 && len <= 64;
}

int cns_certificate_create(const char *common_name, int64_t valid_from, int64_t valid_until,
                           const char *key_path, const char *certificate_path, struct cns_tls_pin *ret_pin,
                           struct cns_problem *problem) {
  struct cns_tls_pin pin;
  if (!is_name(common_name) || valid_from < 0 || valid_until <= valid_from)
    return cns_problem_set(
        problem, CNS_ERR_ARGUMENT,
        "a certificate needs a name of 1 to 64 printable characters and an end after its start");
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *certificate = X509_new();
  int r = key && certificate ? 0 : CNS_ERR_LIBRARY;
  if (!r) r = fill_certificate(certificate, key, common_name, valid_from, valid_until);
  if (!r) r = pin_of_key(X509_get_X509_PUBKEY(certificate), &pin);
  if (r) {
    ERR_clear_error();
    cns_problem_set(problem, r, "a certificate for %s couldn't be made", common_name);
  }
  if (!r) r = save_key(key, key_path, problem);
  if (!r) {
    r = save_certificate(certificate, certificate_path, problem);
    if (r) unlink(key_path); /* a key without its certificate is of no use and blocks a second try */
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  if (!r) *ret_pin = pin;
  return r;
}

/* The one certificate in the text; NULL if there is none, or a second. */
static X509 *read_single(const void *pem, size_t len) {
  BIO *in = len <= CNS_CERTIFICATE_BYTES_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
  /* An empty password: an encrypted block fails instead of asking on the terminal. */
  X509 *certificate = in ? PEM_read_bio_X509(in, NULL, NULL, (void *)"") : NULL;
  X509 *second = certificate ? PEM_read_bio_X509(in, NULL, NULL, (void *)"") : NULL;
  if (second) {
    X509_free(certificate);
    certificate = NULL;
  }
  X509_free(second);
  BIO_free(in);
  ERR_clear_error();
  return certificate;
}

int cns_certificate_pin_pem(const void *pem, size_t len, const char *where, struct cns_tls_pin *ret_pin,
                            int64_t *ret_valid_until, struct cns_problem *problem) {
  struct cns_tls_pin pin;
  struct tm end;
  X509 *certificate = read_single(pem, len);
  int r = 0;
  if (!certificate) {
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: isn't exactly one certificate in PEM form", where);
  } else if (!is_p256(X509_get0_pubkey(certificate))) {
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the certificate's key isn't an ECDSA key on P-256",
                        where);
  } else if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) {
    r = cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the certificate's end of validity can't be read",
                        where);
  } else if ((r = pin_of_key(X509_get_X509_PUBKEY(certificate), &pin))) {
    r = cns_problem_set(problem, r, "%s: the certificate's key can't be read", where);
  }
  X509_free(certificate);
  ERR_clear_error();
  if (r) return r;
  *ret_valid_until = (int64_t)timegm(&end);
  *ret_pin = pin;
  return 0;
}

int cns_certificate_pin(const char *certificate_path, struct cns_tls_pin *ret_pin, int64_t *ret_valid_until,
                        struct cns_problem *problem) {
  uint8_t *pem = NULL;
  size_t len = 0;
  int r = cns_file_read(certificate_path, CNS_CERTIFICATE_BYTES_MAX, &pem, &len, problem);
  if (r) return r;
  r = cns_certificate_pin_pem(pem, len, certificate_path, ret_pin, ret_valid_until, problem);
  free(pem);
  return r;
}

/* Does the secret half belong to the public one? A damaged file may well parse. */
static bool is_whole(EVP_PKEY *key) {
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
  bool whole = context && EVP_PKEY_pairwise_check(context) == 1;
  EVP_PKEY_CTX_free(context);
  return whole;
}

static int key_pin(const uint8_t *pem, size_t len, struct cns_tls_pin *ret_pin) {
  BIO *in = BIO_new_mem_buf(pem, (int)len);
  /* An empty password: an encrypted key fails instead of asking on the terminal. */
  EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, (void *)"") : NULL;
  X509_PUBKEY *public_key = NULL;
  int r = is_p256(key) && is_whole(key) && X509_PUBKEY_set(&public_key, key) == 1
              ? pin_of_key(public_key, ret_pin)
              : CNS_ERR_FORMAT;
  X509_PUBKEY_free(public_key);
  EVP_PKEY_free(key);
  BIO_free(in);
  ERR_clear_error();
  return r;
}

int cns_certificate_check_key(const char *key_path, const struct cns_tls_pin *pin,
                              struct cns_problem *problem) {
  struct stat info;
  struct cns_tls_pin found;
  uint8_t *pem = NULL;
  size_t len = 0;
  if (stat(key_path, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 077) != 0)
    return cns_problem_set(problem, CNS_ERR_PERMISSION,
                           "%s: others than its owner can read this secret key; run: chmod 600 %s", key_path,
                           key_path);
  int r = cns_file_read(key_path, CNS_CERTIFICATE_BYTES_MAX, &pem, &len, problem);
  if (r) return r;
  r = key_pin(pem, len, &found);
  cns_wipe(pem, len);
  free(pem);
  if (r)
    return cns_problem_set(problem, r, "%s: isn't an undamaged ECDSA key on P-256 in PEM form", key_path);
  if (memcmp(found.bytes, pin->bytes, sizeof found.bytes) != 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: isn't the key of the certificate beside it",
                           key_path);
  return 0;
}
