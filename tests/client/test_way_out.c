/* SPDX-License-Identifier: Apache-2.0 */
/* Which proxy a hospital takes, by kit, command line and environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/way_out.h"

static const char address[] = "tls+tcp://coordinator.example:7443";

static char folder[64];

static void write_file(const char *name, const char *text, mode_t mode, char ret_path[static 128]) {
  snprintf(ret_path, 128, "%s/%s", folder, name);
  FILE *file = fopen(ret_path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  assert_int_equal(chmod(ret_path, mode), 0);
}

static void takes(const struct cns_kit_config *config, const char *option, const char *host,
                  const char *password) {
  struct cns_proxy proxy;
  struct cns_problem problem = {0};
  if (cns_way_out(config, option, address, &proxy, &problem)) fail_msg("%s", problem.text);
  assert_string_equal(proxy.host, host);
  assert_string_equal(proxy.password, password);
}

static void fails(const struct cns_kit_config *config, const char *option, int error, const char *says) {
  struct cns_proxy proxy;
  struct cns_problem problem = {0};
  assert_int_equal(cns_way_out(config, option, address, &proxy, &problem), error);
  if (!strstr(problem.text, says)) fail_msg("%s, not: %s", problem.text, says);
  assert_null(strstr(problem.text, "hunter2"));
}

static void kit_option_and_environment(void **state) {
  (void)state;
  char url[] = "http://proxy:3128", user[] = "agent", path[128];
  struct cns_kit_config config = {0};
  setenv("https_proxy", "http://u:hunter2@outer:1", 1);
  setenv("no_proxy", "", 1);
  takes(&config, NULL, "", "");
  takes(&config, "http://other:1", "other", "");
  takes(&config, "environment", "outer", "hunter2");
  config.proxy.environment = true;
  takes(&config, NULL, "outer", "hunter2");
  takes(&config, "none", "", "");
  setenv("no_proxy", "a,example", 1);
  takes(&config, NULL, "", "");
  config.proxy = (struct cns_kit_proxy){.url = url};
  takes(&config, NULL, "proxy", "");
  write_file("password", "hunter2: \r\n", 0600, path);
  config.proxy.user = user, config.proxy.password_path = path;
  takes(&config, NULL, "proxy", "hunter2: ");
  takes(&config, "http://other:1", "other", "hunter2: ");
  takes(&config, "none", "", "");
  /* What stays on the machine needs none. */
  struct cns_proxy proxy;
  assert_int_equal(cns_way_out(&config, NULL, "ipc:///run/socket", &proxy, NULL), 0);
  assert_string_equal(proxy.host, "");
  assert_int_equal(cns_way_out(&config, NULL, "wss://c:443", &proxy, NULL), 0);
  assert_string_equal(proxy.host, "proxy");
}

static void refusals(void **state) {
  (void)state;
  char url[] = "http://proxy:3128", user[] = "agent", path[128];
  struct cns_kit_config config = {.proxy = {.url = url, .user = user, .password_path = path}};
  write_file("open", "hunter2\n", 0640, path);
  fails(&config, NULL, CNS_ERR_PERMISSION, "chmod 600");
  write_file("lines", "hunter2\nhunter2\n", 0600, path);
  fails(&config, NULL, CNS_ERR_ARGUMENT, "control character");
  write_file("blank", "\n", 0600, path);
  fails(&config, NULL, CNS_ERR_ARGUMENT, "must be one line");
  snprintf(path, sizeof path, "%s/missing", folder);
  fails(&config, NULL, CNS_ERR_IO, "No such file");
  fails(&config, "http://a:hunter2@proxy:1", CNS_ERR_ARGUMENT, "can be seen by everybody");
  fails(&config, "proxy:1", CNS_ERR_ARGUMENT, "http://");
}

static void config_is_kept(void **state) {
  (void)state;
  static const char *const proxies[] = {
      "", "\"proxy\":\"environment\",", "\"proxy\":{\"url\":\"http://a:b@proxy:1\"},",
      "\"proxy\":{\"password_file\":\"secret\",\"url\":\"http://proxy:1\",\"user\":\"agent\"},"};
  for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++) {
    char text[600], path[128], back[600] = "";
    struct cns_kit_config config;
    struct cns_problem problem = {0};
    snprintf(
        text, sizeof text,
        "{\"address\":\"%s\",\"data\":\"data.csv\",\"floor\":{\"cohort\":4,\"included\":3,\"threshold\":3},"
        "\"index\":1,\"name\":\"h1\",%s\"role\":\"hospital\",\"state\":\"state\"}",
        address, proxies[i]);
    bool secret = strchr(proxies[i], '@') != NULL;
    write_file("config.json", text, 0644, path);
    if (secret) { /* a password that others can read */
      assert_int_equal(cns_kit_config_load(folder, &config, &problem), CNS_ERR_PERMISSION);
      assert_non_null(strstr(problem.text, "chmod 600"));
      write_file("config.json", text, 0600, path);
    }
    if (cns_kit_config_load(folder, &config, &problem)) fail_msg("%s", problem.text);
    assert_int_equal(cns_kit_config_save(folder, &config, &problem), 0);
    cns_kit_config_deinit(&config);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, secret ? 0600 : 0644);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    (void)!fread(back, 1, sizeof back - 1, file);
    fclose(file);
    size_t len = 0; /* it is written for people, with blanks and lines */
    for (const char *c = back; *c; c++)
      if (*c != ' ' && *c != '\n') back[len++] = *c;
    back[len] = 0;
    assert_string_equal(back, text);
  }
}

static int set_up(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/cns-way-XXXXXX");
  return cns_init() == 0 && mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  static const char *const names[] = {"password", "open", "lines", "blank", "config.json"};
  char path[128];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(kit_option_and_environment), cmocka_unit_test(refusals),
                                     cmocka_unit_test(config_is_kept)};
  return cmocka_run_group_tests_name("way_out", tests, set_up, tear_down);
}
