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
      {"wss://coordinator.example:443", "tls+tcp://coordinator.example:443",
       "tls+tcp4://coordinator.example:443", false},
      {"wss://10.1.2.3:443/", "tls+tcp://10.1.2.3:443", "tls+tcp://10.1.2.3:443", false},
      {"wss://[2001:db8::1]:443/a/b", "tls+tcp://[2001:db8::1]:443", "tls+tcp://[2001:db8::1]:443", false},
      {"wss://*:0/a", "tls+tcp://*:0", "tls+tcp://*:0", true},
      {"ipc:///run/consilium/socket", "ipc:///run/consilium/socket", "ipc:///run/consilium/socket", false},
      {"ipc:///run/consilium/socket", "ipc:///run/consilium/socket", "ipc:///run/consilium/socket", true},
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
      {"ws://coordinator:443", CNS_ERR_ARGUMENT},
      {"wss://coordinator", CNS_ERR_ARGUMENT},
      {"wss://coordinator/path", CNS_ERR_ARGUMENT},
      {"wss://coordinator:443/a b", CNS_ERR_ARGUMENT},
      {"wss://coordinator:443/a?b", CNS_ERR_ARGUMENT},
      {"wss://coordinator:443/a//b", CNS_ERR_ARGUMENT},
      {"wss://user@coordinator:443", CNS_ERR_ARGUMENT},
      {"wss://*:443", CNS_ERR_ARGUMENT},
      {"ipc://", CNS_ERR_ARGUMENT},
      {"ipc:///", CNS_ERR_ARGUMENT},
      {"ipc://socket", CNS_ERR_ARGUMENT},
      {"ipc://host/socket", CNS_ERR_ARGUMENT},
      {"ipc:///run/../etc/x", CNS_ERR_ARGUMENT},
      {"ipc:///run//x", CNS_ERR_ARGUMENT},
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

static void paths(void **state) {
  (void)state;
  struct cns_url url;
  char printed[CNS_URL_MAX];
  assert_int_equal(cns_url_parse("wss://[::1]:443", false, &url, NULL), 0);
  cns_url_print(&url, printed);
  assert_string_equal(printed, "wss://[::1]:443/consilium");
  assert_int_equal(cns_url_parse("wss://*:443/a/b", true, &url, NULL), 0);
  cns_url_print(&url, printed);
  assert_string_equal(printed, "wss://*:443/a/b");
  char deep[CNS_URL_PATH_MAX + 10] = "ipc:///";
  memset(deep + 7, 'a', CNS_URL_PATH_MAX - 1);
  assert_int_equal(cns_url_parse(deep, false, &url, NULL), 0);
  deep[6 + CNS_URL_PATH_MAX] = 'a';
  assert_int_equal(cns_url_parse(deep, false, &url, NULL), CNS_ERR_ARGUMENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(good_ones), cmocka_unit_test(bad_ones),
                                     cmocka_unit_test(paths)};
  return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
