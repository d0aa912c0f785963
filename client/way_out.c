/* SPDX-License-Identifier: Apache-2.0 */
#include "client/way_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/json.h"
#include "net/url.h"

static int check_owner_only(const char *path, struct cns_problem *problem) {
  struct stat info;
  if (stat(path, &info) != 0)
    return cns_problem_set(problem, CNS_ERR_IO, "the proxy's password file %s: %s", path, strerror(errno));
  if (info.st_mode & 077)
    return cns_problem_set(
        problem, CNS_ERR_PERMISSION,
        "the proxy's password file %s can be read by others than its owner: run chmod 600 %s", path, path);
  return 0;
}

/* One line; its end isn't part of the password. */
static int add_password(const struct cns_kit_proxy *config, struct cns_proxy *proxy,
                        struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = check_owner_only(config->password_path, problem);
  if (!r) r = cns_file_read(config->password_path, CNS_PROXY_PASSWORD_MAX + 2, &data, &len, problem);
  if (r) return r;
  size_t whole = len;
  if (len > 0 && data[len - 1] == '\n') len--;
  if (len > 0 && data[len - 1] == '\r') len--;
  data[len] = 0;
  if (strlen((char *)data) != len || len == 0)
    r = cns_problem_set(problem, CNS_ERR_ARGUMENT, "the proxy's password file %s: must be one line",
                        config->password_path);
  else if ((r = cns_proxy_set_credentials(proxy, config->user, (char *)data, problem)))
    cns_problem_prefix(problem, r, "%s", config->password_path);
  cns_wipe(data, whole);
  free(data);
  return r;
}

int cns_way_out_check(const char *option, struct cns_problem *problem) {
  struct cns_proxy proxy;
  if (!option || strcmp(option, "none") == 0 || strcmp(option, "environment") == 0) return 0;
  if (cns_proxy_url_has_credentials(option))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "a password on the command line can be seen by everybody on this machine: put "
                           "\"user\" and \"password_file\" into the kit's config.json");
  int r = cns_proxy_parse(option, &proxy, problem);
  if (r == 0) cns_wipe(&proxy, sizeof proxy);
  return r;
}

static int from_url(const struct cns_kit_proxy *config, const char *url, struct cns_proxy *proxy,
                    struct cns_problem *problem) {
  int r = cns_proxy_parse(url, proxy, problem);
  if (!r && config->user) r = add_password(config, proxy, problem);
  return r;
}

int cns_way_out(const struct cns_kit_config *config, const char *option, const char *address,
                struct cns_proxy *ret_proxy, struct cns_problem *problem) {
  struct cns_proxy proxy = {0};
  struct cns_url url;
  int r = cns_way_out_check(option, problem);
  if (!r) r = cns_url_parse(address, false, &url, problem);
  if (r) return r;
  bool none =
      !url.tls || (option ? strcmp(option, "none") == 0 : !config->proxy.url && !config->proxy.environment);
  bool environment = option ? strcmp(option, "environment") == 0 : config->proxy.environment;
  if (!none && environment)
    r = cns_proxy_from_environment(url.host, &proxy, problem);
  else if (!none)
    r = from_url(&config->proxy, option ? option : config->proxy.url, &proxy, problem);
  if (r >= 0) *ret_proxy = proxy;
  cns_wipe(&proxy, sizeof proxy);
  return r < 0 ? r : 0;
}
