/* SPDX-License-Identifier: Apache-2.0 */
/* The part of config.json that names a hospital's proxy. */
#include <stdlib.h>
#include <string.h>

#include "store/kit.h"

#define URL_MAX 700
#define TEXT_MAX 4096

static int copy(const cJSON *object, const char *name, size_t max, char **ret_text,
                struct cns_problem *problem) {
  const char *text = NULL;
  int r = cns_json_get_string(object, "proxy", name, max, &text, problem);
  if (r) return r;
  if (!*text) return cns_problem_set(problem, CNS_ERR_FORMAT, "proxy.%s is empty", name);
  *ret_text = strdup(text);
  return *ret_text ? 0 : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
}

static int read_object(const cJSON *json, const char *folder, struct cns_kit_proxy *proxy,
                       struct cns_problem *problem) {
  static const char *const fields[] = {"url", "user", "password_file", NULL};
  const cJSON *object = NULL;
  char *path = NULL;
  int r = cns_json_get_object(json, "", "proxy", &object, problem);
  if (!r) r = cns_json_only(object, "proxy", fields, problem);
  if (!r) r = copy(object, "url", URL_MAX, &proxy->url, problem);
  if (!r && cns_json_has(object, "user") != cns_json_has(object, "password_file"))
    r = cns_problem_set(problem, CNS_ERR_FORMAT,
                        "proxy needs both \"user\" and \"password_file\", or neither");
  if (r || !cns_json_has(object, "user")) return r;
  r = copy(object, "user", TEXT_MAX, &proxy->user, problem);
  if (!r) r = copy(object, "password_file", TEXT_MAX, &path, problem);
  if (!r && !(proxy->password_path = cns_kit_path(folder, path)))
    r = cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  free(path);
  return r;
}

int cns_kit_proxy_read(const cJSON *json, const char *folder, struct cns_kit_proxy *ret_proxy,
                       struct cns_problem *problem) {
  struct cns_kit_proxy proxy = {0};
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, "proxy");
  int r = 0;
  if (!item) return 0;
  if (!cJSON_IsString(item))
    r = read_object(json, folder, &proxy, problem);
  else if (strcmp(item->valuestring, "environment") == 0)
    proxy.environment = true;
  else
    r = cns_problem_set(problem, CNS_ERR_FORMAT,
                        "proxy must be \"environment\" or an object with \"url\", and \"user\" and "
                        "\"password_file\" if the proxy asks for them");
  if (r)
    cns_kit_proxy_deinit(&proxy);
  else
    *ret_proxy = proxy;
  return r;
}

bool cns_kit_proxy_fill(cJSON *json, const struct cns_kit_proxy *proxy, const char *password_path) {
  if (proxy->environment) return cJSON_AddStringToObject(json, "proxy", "environment") != NULL;
  if (!proxy->url) return true;
  cJSON *object = cJSON_AddObjectToObject(json, "proxy");
  return object && cJSON_AddStringToObject(object, "url", proxy->url) &&
         (!proxy->user || (cJSON_AddStringToObject(object, "user", proxy->user) &&
                           cJSON_AddStringToObject(object, "password_file", password_path)));
}

bool cns_kit_proxy_is_secret(const struct cns_kit_proxy *proxy) {
  return proxy->url && strchr(proxy->url, '@');
}

/* The URL may hold a password. */
void cns_kit_proxy_deinit(struct cns_kit_proxy *proxy) {
  if (proxy->url) cns_wipe(proxy->url, strlen(proxy->url));
  free(proxy->url);
  free(proxy->user);
  free(proxy->password_path);
  *proxy = (struct cns_kit_proxy){0};
}
