/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "net/url.h"

static void good_ones(void **state) {
  (void)state;
  static const struct {
    const char *text, *formatted, *only_ipv4;
    bool listening;
  } cases[] = {
      {"tls+tcp://coordinator.example.org:7443", "tls+tcp://coordinator.example.org:7443",
       "tls+tcp4://coordinator.example.org:7443", false},
      {"tls+tcp://10.1.2.3:1", "tls+tcp://10.1.2.3:1", "tls+tcp://10.1.2.3:1", false},
      {"tls+tcp://[2001:db8::1]:65535/", "tls+tcp://[2001:db8::1]:65535", "tls+tcp://[2001:db8::1]:65535",
       false},
      {"tls+tcp://*:7443", "tls+tcp://*:7443", "tls+tcp://*:7443", true},
      {"tls+tcp://:7443", "tls+tcp://*:7443", "tls+tcp://*:7443", true},
      {"tls+tcp://0.0.0.0:0", "tls+tcp://0.0.0.0:0", "tls+tcp://0.0.0.0:0", true},
      {"tcp://127.0.0.1:80", "tcp://127.0.0.1:80", "tcp://127.0.0.1:80", false},
      {"tcp://127.200.3.4:80", "tcp://127.200.3.4:80", "tcp://127.200.3.4:80", false},
      {"tcp://[::1]:80", "tcp://[::1]:80", "tcp://[::1]:80", false},
      {"tcp://localhost:80", "tcp://localhost:80", "tcp4://localhost:80", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct cns_url url;
    struct cns_problem problem = {0};
    char text[CNS_URL_MAX];
    if (cns_url_parse(cases[i].text, cases[i].listening, &url, &problem) != 0) fail_msg("%s", problem.text);
    cns_url_format(&url, false, text);
    assert_string_equal(text, cases[i].formatted);
    cns_url_format(&url, true, text);
    assert_string_equal(text, cases[i].only_ipv4);
  }
}

static void bad_ones(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int result;
  } cases[] = {
      {"", CNS_ERR_ARGUMENT},
      {"coordinator:7443", CNS_ERR_ARGUMENT},
      {"https://coordinator:7443", CNS_ERR_ARGUMENT},
      {"ipc:///tmp/x", CNS_ERR_ARGUMENT},
      {"wss://coordinator:443/x", CNS_ERR_ARGUMENT},
      {"TLS+TCP://coordinator:7443", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator:", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator:0", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator:65536", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator:74x3", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator:-1", CNS_ERR_ARGUMENT},
      {"tls+tcp://coordinator:7443/path", CNS_ERR_ARGUMENT},
      {"tls+tcp://user@coordinator:7443", CNS_ERR_ARGUMENT},
      {"tls+tcp://2001:db8::1:7443", CNS_ERR_ARGUMENT},
      {"tls+tcp://[2001:db8::1:7443", CNS_ERR_ARGUMENT},
      {"tls+tcp://[fish]:7443", CNS_ERR_ARGUMENT},
      {"tls+tcp://*:7443", CNS_ERR_ARGUMENT},
      {"tcp://10.0.0.1:80", CNS_ERR_REFUSED},
      {"tcp://coordinator:80", CNS_ERR_REFUSED},
      {"tcp://127.0.0.1.example.org:80", CNS_ERR_REFUSED},
      {"tcp://localhost.example.org:80", CNS_ERR_REFUSED},
      {"tcp://[::ffff:127.0.0.1]:80", CNS_ERR_REFUSED},
      {"tcp://0.0.0.0:80", CNS_ERR_REFUSED},
      {"tcp://[::]:80", CNS_ERR_REFUSED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct cns_url url;
    struct cns_problem problem = {0};
    int result = cns_url_parse(cases[i].text, false, &url, &problem);
    if (result != cases[i].result) fail_msg("%s: %d", cases[i].text, result);
    assert_non_null(strstr(problem.text, cases[i].text));
  }
  struct cns_url url;
  assert_int_equal(cns_url_parse("tcp://*:80", true, &url, NULL), CNS_ERR_REFUSED);
  char endless[1000];
  memset(endless, 'a', sizeof endless);
  memcpy(endless, "tls+tcp://", 10);
  memcpy(endless + sizeof endless - 5, ":123", 5);
  assert_int_equal(cns_url_parse(endless, false, &url, NULL), CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(good_ones), cmocka_unit_test(bad_ones)};
  return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
