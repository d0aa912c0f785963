/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int not_understood(struct cns_problem *problem, const char *why) {
  return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                         "the proxy's address is not understood: %s; it is written http://host:port", why);
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* %XX; false for a broken one, a zero byte, or no room. */
static bool decode(const char *text, size_t len, char *ret_text, size_t size) {
  size_t out = 0;
  for (size_t i = 0; i < len; i++) {
    char c = text[i];
    if (c == '%') {
      if (len - i < 3 || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0) return false;
      c = (char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    }
    if (c == 0 || out + 1 >= size) return false;
    ret_text[out++] = c;
  }
  ret_text[out] = 0;
  return true;
}

static bool printable(const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || (unsigned char)*text == 0x7f) return false;
  return true;
}

int cns_proxy_set_credentials(struct cns_proxy *proxy, const char *user, const char *password,
                              struct cns_problem *problem) {
  if (!*user || strlen(user) > CNS_PROXY_USER_MAX || strlen(password) > CNS_PROXY_PASSWORD_MAX)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "the proxy's user or password is empty or longer than %d bytes",
                           CNS_PROXY_PASSWORD_MAX);
  if (strchr(user, ':') || !printable(user) || !printable(password))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "the proxy's user holds a colon, or user or password a control character, which "
                           "Basic authentication can't carry");
  memcpy(proxy->user, user, strlen(user) + 1);
  memcpy(proxy->password, password, strlen(password) + 1);
  proxy->has_user = true;
  return 0;
}

static int read_credentials(const char *text, size_t len, struct cns_proxy *proxy,
                            struct cns_problem *problem) {
  char user[CNS_PROXY_USER_MAX + 1], password[CNS_PROXY_PASSWORD_MAX + 1] = "";
  const char *colon = memchr(text, ':', len);
  size_t user_len = colon ? (size_t)(colon - text) : len;
  bool good = decode(text, user_len, user, sizeof user) &&
              (!colon || decode(colon + 1, len - user_len - 1, password, sizeof password));
  int r = good ? cns_proxy_set_credentials(proxy, user, password, problem)
               : not_understood(problem, "its user or password is too long or not percent-encoded");
  cns_wipe(user, sizeof user);
  cns_wipe(password, sizeof password);
  return r;
}

static bool host_valid(const char *host, bool ipv6) {
  struct in6_addr address;
  if (ipv6) return inet_pton(AF_INET6, host, &address) == 1;
  for (const char *c = host; *c; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '.' ||
          *c == '-' || *c == '_'))
      return false;
  return *host != 0;
}

static bool read_port(const char *digits, uint16_t *ret_port) {
  unsigned port = 0;
  size_t len = strspn(digits, "0123456789");
  if (len == 0 || len > 5 || (digits[len] && strcmp(digits + len, "/") != 0)) return false;
  for (size_t i = 0; i < len; i++)
    port = port * 10 + (unsigned)(digits[i] - '0');
  if (port == 0 || port > 65535) return false;
  *ret_port = (uint16_t)port;
  return true;
}

static int read_place(const char *place, struct cns_proxy *proxy, struct cns_problem *problem) {
  const char *end, *start = place;
  bool ipv6 = *place == '[';
  if (ipv6) {
    start++;
    end = strchr(start, ']');
    if (!end || end[1] != ':') return not_understood(problem, "it has no port");
  } else if (!(end = strrchr(place, ':'))) {
    return not_understood(problem, "it has no port");
  }
  size_t len = (size_t)(end - start);
  if (len > CNS_PROXY_HOST_MAX) return not_understood(problem, "its host is too long");
  memcpy(proxy->host, start, len);
  proxy->host[len] = 0;
  if (!host_valid(proxy->host, ipv6)) return not_understood(problem, "its host is not a name or an address");
  if (!read_port(end + (ipv6 ? 2 : 1), &proxy->port))
    return not_understood(problem, "its port is not a number from 1 to 65535");
  return 0;
}

bool cns_proxy_url_has_credentials(const char *url) {
  return strchr(url, '@') != NULL;
}

int cns_proxy_parse(const char *url, struct cns_proxy *ret_proxy, struct cns_problem *problem) {
  struct cns_proxy proxy = {0};
  if (strncasecmp(url, "https://", 8) == 0 || strncasecmp(url, "socks", 5) == 0)
    return not_understood(problem, "only HTTP proxies that are spoken to in the clear are supported (no "
                                   "https://, no SOCKS), and they see nothing but TLS");
  if (strncasecmp(url, "http://", 7) != 0) return not_understood(problem, "it doesn't begin with http://");
  const char *place = url + 7, *at = strrchr(place, '@');
  int r = 0;
  if (at) {
    r = read_credentials(place, (size_t)(at - place), &proxy, problem);
    place = at + 1;
  }
  if (!r) r = read_place(place, &proxy, problem);
  if (!r) *ret_proxy = proxy;
  cns_wipe(&proxy, sizeof proxy);
  return r;
}

/* -- the environment -- */

static const char *first_set(const char *const *names) {
  for (; *names; names++) {
    const char *value = getenv(*names);
    if (value && *value) return value;
  }
  return NULL;
}

/* "example.org" and ".example.org" both name the domain and everything in it. */
static bool names_host(const char *item, size_t len, const char *host) {
  if (len == 1 && *item == '*') return true;
  if (len > 1 && *item == '*' && item[1] == '.') item++, len--;
  if (len > 0 && *item == '.') item++, len--;
  size_t host_len = strlen(host);
  if (len == 0 || len > host_len || strncasecmp(host + host_len - len, item, len) != 0) return false;
  return len == host_len || host[host_len - len - 1] == '.';
}

bool cns_proxy_bypassed(const char *no_proxy, const char *host) {
  while (no_proxy && *no_proxy) {
    size_t len = strcspn(no_proxy, ", ");
    if (names_host(no_proxy, len, host)) return true;
    no_proxy += len + (no_proxy[len] != 0);
  }
  return false;
}

int cns_proxy_from_environment(const char *host, struct cns_proxy *ret_proxy, struct cns_problem *problem) {
  static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
  static const char *const exceptions[] = {"no_proxy", "NO_PROXY", NULL};
  const char *url = first_set(names);
  if (!url || cns_proxy_bypassed(first_set(exceptions), host)) return CNS_CASE_NO_PROXY;
  int r = cns_proxy_parse(url, ret_proxy, problem);
  return r ? cns_problem_prefix(problem, r, "HTTPS_PROXY") : 0;
}
