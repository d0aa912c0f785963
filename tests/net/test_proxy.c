/* SPDX-License-Identifier: Apache-2.0 */
/* Proxies' addresses, what is said to them, and what their answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/proxy.h"

static void test_addresses(void **state) {
  static const struct {
    const char *url, *host, *user, *password;
    uint16_t port;
  } cases[] = {
      {"http://proxy.hospital.example:3128", "proxy.hospital.example", NULL, "", 3128},
      {"HTTP://10.1.2.3:8080/", "10.1.2.3", NULL, "", 8080},
      {"http://[2001:db8::7]:3128", "2001:db8::7", NULL, "", 3128},
      {"http://agent:secret@proxy:1", "proxy", "agent", "secret", 1},
      {"http://agent@proxy:1", "proxy", "agent", "", 1},
      {"http://a%40b:p%3a%25@x@proxy:65535", "proxy", "a@b", "p:%@x", 65535},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct cns_proxy proxy;
    struct cns_problem problem = {0};
    if (cns_proxy_parse(cases[i].url, &proxy, &problem) != 0) fail_msg("%s: %s", cases[i].url, problem.text);
    assert_string_equal(proxy.host, cases[i].host);
    assert_int_equal(proxy.port, cases[i].port);
    assert_int_equal(proxy.has_user, cases[i].user != NULL);
    if (cases[i].user) assert_string_equal(proxy.user, cases[i].user);
    assert_string_equal(proxy.password, cases[i].password);
    assert_int_equal(cns_proxy_url_has_credentials(cases[i].url), cases[i].user != NULL);
  }
}

static void test_bad_addresses(void **state) {
  static const char *const cases[] = {"",
                                      "proxy:3128",
                                      "https://proxy:3128",
                                      "socks5://proxy:1080",
                                      "http://proxy",
                                      "http://:3128",
                                      "http://pro xy:3128",
                                      "http://proxy:0",
                                      "http://proxy:65536",
                                      "http://proxy:3128/path",
                                      "http://proxy:",
                                      "http://[::1:3128",
                                      "http://[::1]3128",
                                      "http://[proxy]:3128",
                                      "http://2001:db8::7:3128",
                                      "http://a:hunter2%0d%0aX@proxy:1",
                                      "http://a:hunter2%00@proxy:1",
                                      "http://a:hunter2%zz@proxy:1",
                                      "http://a%3ab:hunter2@proxy:1",
                                      "http://:hunter2@proxy:1",
                                      "http://a:hunter2@proxy"};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct cns_proxy proxy = {.port = 7};
    struct cns_problem problem = {0};
    if (cns_proxy_parse(cases[i], &proxy, &problem) != CNS_ERR_ARGUMENT) fail_msg("%s", cases[i]);
    assert_true(problem.text[0]);
    assert_null(strstr(problem.text, "hunter2"));
    assert_int_equal(proxy.port, 7);
  }
  char endless[400] = "http://";
  memset(endless + 7, 'a', 300);
  memcpy(endless + 307, ":80", 4);
  struct cns_proxy proxy;
  assert_int_equal(cns_proxy_parse(endless, &proxy, NULL), CNS_ERR_ARGUMENT);
}

static void test_environment(void **state) {
  static const char *const all[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                    "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    unsetenv(all[i]);
  struct cns_proxy proxy;
  struct cns_problem problem = {0};
  assert_int_equal(cns_proxy_from_environment("c.example", &proxy, &problem), CNS_CASE_NO_PROXY);
  setenv("HTTPS_PROXY", "http://u:p@outer:3128", 1);
  assert_int_equal(cns_proxy_from_environment("c.example", &proxy, &problem), 0);
  assert_string_equal(proxy.host, "outer");
  assert_string_equal(proxy.password, "p");
  setenv("https_proxy", "http://inner:3128", 1);
  assert_int_equal(cns_proxy_from_environment("c.example", &proxy, &problem), 0);
  assert_string_equal(proxy.host, "inner");
  setenv("NO_PROXY", "localhost, .example", 1);
  assert_int_equal(cns_proxy_from_environment("c.example", &proxy, &problem), CNS_CASE_NO_PROXY);
  unsetenv("NO_PROXY");
  setenv("https_proxy", "inner:3128", 1);
  assert_int_equal(cns_proxy_from_environment("c.example", &proxy, &problem), CNS_ERR_ARGUMENT);
  assert_non_null(strstr(problem.text, "HTTPS_PROXY"));
  unsetenv("https_proxy");
  unsetenv("HTTPS_PROXY");
  static const struct {
    const char *list, *host;
    bool bypassed;
  } cases[] = {
      {NULL, "a.b", false},     {"", "a.b", false},
      {"*", "a.b", true},       {"a.b", "a.b", true},
      {"b", "a.b", true},       {".b", "a.b", true},
      {"*.b", "a.b", true},     {"A.B", "a.b", true},
      {"a.b.c", "a.b", false},  {"xa.b", "a.b", false},
      {"a.b", "xa.b", false},   {"x,a.b", "a.b", true},
      {"x, a.b ", "a.b", true}, {"10.0.0.1", "10.0.0.1", true},
      {",,", "a.b", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (cns_proxy_bypassed(cases[i].list, cases[i].host) != cases[i].bypassed)
      fail_msg("'%s' and %s", cases[i].list ? cases[i].list : "", cases[i].host);
}

static void test_request(void **state) {
  /* The example of RFC 7617, section 2. */
  struct cns_proxy proxy = {.host = "proxy", .port = 3128};
  char text[CNS_PROXY_REQUEST_MAX];
  size_t len = cns_proxy_request(&proxy, "c.example", 443, text);
  assert_int_equal(len, strlen(text));
  assert_string_equal(
      text, "CONNECT c.example:443 HTTP/1.1\r\nHost: c.example:443\r\nUser-Agent: consilium\r\n\r\n");
  assert_int_equal(cns_proxy_set_credentials(&proxy, "Aladdin", "open sesame", NULL), 0);
  len = cns_proxy_request(&proxy, "2001:db8::1", 443, text);
  assert_int_equal(len, strlen(text));
  assert_string_equal(
      text, "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\nUser-Agent: consilium\r\n"
            "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
  /* The longest of everything. */
  char host[CNS_PROXY_HOST_MAX + 1], user[CNS_PROXY_USER_MAX + 1];
  memset(host, 'h', sizeof host - 1), host[sizeof host - 1] = 0;
  memset(user, 'u', sizeof user - 1), user[sizeof user - 1] = 0;
  assert_int_equal(cns_proxy_set_credentials(&proxy, user, user, NULL), 0);
  len = cns_proxy_request(&proxy, host, 65535, text);
  assert_int_equal(len, strlen(text));
  assert_string_equal(text + len - 4, "\r\n\r\n");
}

static const char head_200[] = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";

static void test_answers(void **state) {
  static const struct {
    const char *text;
    int result;
    const char *says;
  } cases[] = {
      {head_200, 0, NULL},
      {"HTTP/1.0 200\n\n", 0, NULL},
      {"HTTP/1.0 299 fine\r\n\r\n", 0, NULL},
      {"H", CNS_CASE_MORE, NULL},
      {"HTTP/1.1 200 OK\r\n", CNS_CASE_MORE, NULL},
      {"HTTP/1.1 200 OK\r\nVia: x\r\n", CNS_CASE_MORE, NULL},
      {"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"a, Negotiate\"\r\n\r\n", CNS_ERR_PERMISSION,
       "doesn't accept the password of user 'agent'"},
      {"HTTP/1.1 407 No\r\nproxy-authenticate: NTLM\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
       CNS_ERR_PERMISSION, "doesn't accept the password"},
      {"HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"y\", Basic realm=\"z\"\r\n\r\n",
       CNS_ERR_PERMISSION, "doesn't accept the password"},
      {"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
       CNS_ERR_PERMISSION, "authentication by 'Negotiate', which isn't supported"},
      {"HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"Basic\", qop=\"auth\"\r\n\r\n",
       CNS_ERR_PERMISSION, "'Digest', which isn't supported"},
      {"HTTP/1.1 407 No\r\n\r\n", CNS_ERR_PERMISSION, "doesn't accept the password"},
      {"HTTP/1.1 401 Unauthorized\r\n\r\n", CNS_ERR_PERMISSION, "doesn't accept the password"},
      {"HTTP/1.1 403 Forbidden\r\n\r\n", CNS_ERR_REFUSED,
       "ask its operators to allow CONNECT to c.example:7443"},
      {"HTTP/1.1 502 Bad Gateway\r\n\r\n", CNS_ERR_REFUSED, "can't reach the coordinator at c.example:7443"},
      {"HTTP/1.1 503 X\r\n\r\n", CNS_ERR_REFUSED, "can't reach the coordinator"},
      {"HTTP/1.1 504 X\r\n\r\n", CNS_ERR_REFUSED, "can't reach the coordinator"},
      {"HTTP/1.1 301 \x1b[31mMoved\r\n\r\n", CNS_ERR_REFUSED, "it answers 301 ?[31mMoved"},
      {"HTTP/1.1 100 Continue\r\n\r\n", CNS_ERR_REFUSED, "it answers 100"},
      {"SSH-2.0-OpenSSH_9.2\r\n", CNS_ERR_FORMAT, "is not an HTTP proxy"},
      {"\x15\x03\x01", CNS_ERR_FORMAT, "is not an HTTP proxy"},
      {"HTTP/2 200\r\n\r\n", CNS_ERR_FORMAT, "is not an HTTP proxy"},
      {"HTTP/1.1 2000 OK\r\n\r\n", CNS_ERR_FORMAT, "is not an HTTP proxy"},
      {"HTTP/1.1 abc\r\n\r\n", CNS_ERR_FORMAT, "is not an HTTP proxy"},
      {"HTTP/1.1\r\n\r\n", CNS_ERR_FORMAT, "is not an HTTP proxy"},
  };
  struct cns_proxy proxy = {.host = "proxy", .port = 3128};
  assert_int_equal(cns_proxy_set_credentials(&proxy, "agent", "hunter2", NULL), 0);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct cns_problem problem = {0};
    size_t head = 0;
    int r =
        cns_proxy_answer(&proxy, "c.example", 7443, cases[i].text, strlen(cases[i].text), &head, &problem);
    if (r != cases[i].result || (cases[i].says && !strstr(problem.text, cases[i].says)))
      fail_msg("%s: %d %s", cases[i].text, r, problem.text);
    assert_null(strstr(problem.text, "hunter2"));
    if (r == 0) assert_int_equal(head, strlen(cases[i].text));
  }
  proxy.has_user = false;
  struct cns_problem problem = {0};
  size_t head = 0;
  static const char want[] = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n";
  assert_int_equal(cns_proxy_answer(&proxy, "c", 1, want, sizeof want - 1, &head, &problem),
                   CNS_ERR_PERMISSION);
  assert_non_null(strstr(problem.text, "none is given"));
}

/* What follows the head is the other end's; a head may come in pieces, and not be endless. */
static void test_pieces(void **state) {
  struct cns_proxy proxy = {.host = "proxy", .port = 3128};
  char text[CNS_PROXY_ANSWER_MAX + 64];
  size_t whole = sizeof head_200 - 1, head = 0;
  for (size_t len = 1; len < whole; len++)
    assert_int_equal(cns_proxy_answer(&proxy, "c", 1, head_200, len, &head, NULL), CNS_CASE_MORE);
  memcpy(text, head_200, whole);
  memcpy(text + whole, "\n\nHELLO", 7);
  assert_int_equal(cns_proxy_answer(&proxy, "c", 1, text, whole + 7, &head, NULL), 0);
  assert_int_equal(head, whole);
  memset(text, 'x', sizeof text);
  memcpy(text, "HTTP/1.1 200 OK\r\nX:", 19);
  assert_int_equal(cns_proxy_answer(&proxy, "c", 1, text, CNS_PROXY_ANSWER_MAX, &head, NULL), CNS_CASE_MORE);
  struct cns_problem problem = {0};
  assert_int_equal(cns_proxy_answer(&proxy, "c", 1, text, CNS_PROXY_ANSWER_MAX + 1, &head, &problem),
                   CNS_ERR_LIMIT);
  assert_non_null(strstr(problem.text, "header of more than"));
  memcpy(text + CNS_PROXY_ANSWER_MAX, "\r\n\r\n", 4);
  assert_int_equal(cns_proxy_answer(&proxy, "c", 1, text, CNS_PROXY_ANSWER_MAX + 4, &head, NULL),
                   CNS_ERR_LIMIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses),   cmocka_unit_test(test_bad_addresses),
                                     cmocka_unit_test(test_environment), cmocka_unit_test(test_request),
                                     cmocka_unit_test(test_answers),     cmocka_unit_test(test_pieces)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
