/* SPDX-License-Identifier: Apache-2.0 */
#include "net/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unsupported(const char *text, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                         "address '%.200s' is not understood: use tls+tcp://host:port or wss://host:port "
                         "(between processes of one "
                         "machine also tcp://127.0.0.1:port or ipc:///path)",
                         text);
}

static bool read_port(const char *digits, bool listening, uint16_t *ret_port) {
  size_t len = strlen(digits);
  if (len > 0 && digits[len - 1] == '/') len--;
  if (len == 0 || len > 5) return false;
  unsigned port = 0;
  for (size_t i = 0; i < len; i++) {
    if (digits[i] < '0' || digits[i] > '9') return false;
    port = port * 10 + (unsigned)(digits[i] - '0');
  }
  if (port > 65535 || (port == 0 && !listening)) return false;
  *ret_port = (uint16_t)port;
  return true;
}

static bool host_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
         c == '_';
}

static bool host_valid(const struct cns_url *url) {
  if (url->literal) return true;
  for (const char *c = url->host; *c; c++)
    if (!host_char(*c)) return false;
  return url->host[0] != 0;
}

/* Splits "[v6]:port" or "host:port"; false if there is no port. */
static bool split(const char *rest, struct cns_url *url, const char **ret_port) {
  const char *start = rest, *end;
  if (*rest == '[') {
    start = rest + 1;
    end = strchr(start, ']');
    if (!end || end[1] != ':') return false;
    *ret_port = end + 2;
    url->ipv6 = true;
  } else {
    end = strrchr(rest, ':');
    if (!end) return false;
    *ret_port = end + 1;
  }
  size_t len = (size_t)(end - start);
  if (len >= sizeof url->host) return false;
  memcpy(url->host, start, len);
  url->host[len] = 0;
  return true;
}

static bool loopback(const struct cns_url *url, const struct in_addr *v4, const struct in6_addr *v6) {
  if (url->ipv6) return IN6_IS_ADDR_LOOPBACK(v6);
  if (url->literal) return !url->wildcard && (ntohl(v4->s_addr) >> 24) == 127;
  return strcmp(url->host, "localhost") == 0;
}

/* What a URL's path may hold without being written otherwise. */
static bool path_valid(const char *path) {
  for (const char *c = path; *c; c++)
    if (!host_char(*c) && *c != '/' && *c != '~' && *c != '+') return false;
  return path[0] == '/' && path[1] && !strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./");
}

static int parse_local(const char *text, const char *path, struct cns_url *ret_url,
                       struct cns_problem *problem) {
  struct cns_url url = {.local = true, .literal = true};
  if (path[0] != '/' || !path_valid(path))
    return cns_problem_set(
        problem, CNS_ERR_ARGUMENT,
        "address '%.200s': ipc:// is followed by the absolute path of a unix socket on this "
        "machine, as in ipc:///run/consilium/socket (letters, digits, and any of /._-~+)",
        text);
  if (strlen(path) > CNS_URL_PATH_MAX)
    return cns_problem_set(problem, CNS_ERR_ARGUMENT,
                           "address '%.120s...': the path of a unix socket may have at most %d characters",
                           text, CNS_URL_PATH_MAX);
  memcpy(url.path, path, strlen(path) + 1);
  *ret_url = url;
  return 0;
}

/* Takes the path off rest, which is copied to ret_rest. */
static int take_path(const char *text, const char *rest, struct cns_url *url,
                     char ret_rest[static CNS_URL_MAX], struct cns_problem *problem) {
  size_t len = strcspn(rest, "/");
  const char *path = rest[len] && rest[len + 1] ? rest + len : CNS_URL_WEBSOCKET_PATH;
  if (len >= CNS_URL_MAX) return unsupported(text, problem);
  if (strlen(path) > CNS_URL_PATH_MAX || !path_valid(path))
    return cns_problem_set(
        problem, CNS_ERR_ARGUMENT,
        "address '%.200s': its path is too long, or isn't made of letters, digits and /._-~+", text);
  memcpy(ret_rest, rest, len);
  ret_rest[len] = 0;
  memcpy(url->path, path, strlen(path) + 1);
  return 0;
}

int cns_url_parse(const char *text, bool listening, struct cns_url *ret_url, struct cns_problem *problem) {
  struct cns_url url = {0};
  const char *rest, *port = NULL;
  char without_path[CNS_URL_MAX];
  int r = 0;
  if (strncmp(text, "tls+tcp://", 10) == 0) {
    url.tls = true;
    rest = text + 10;
  } else if (strncmp(text, "wss://", 6) == 0) {
    url.tls = url.websocket = true;
    rest = without_path;
    if ((r = take_path(text, text + 6, &url, without_path, problem))) return r;
  } else if (strncmp(text, "ipc://", 6) == 0) {
    return parse_local(text, text + 6, ret_url, problem);
  } else if (strncmp(text, "tcp://", 6) == 0) {
    rest = text + 6;
  } else {
    return unsupported(text, problem);
  }
  if (!split(rest, &url, &port)) return unsupported(text, problem);
  struct in_addr v4 = {0};
  struct in6_addr v6 = {0};
  url.wildcard = url.host[0] == 0 || strcmp(url.host, "*") == 0;
  if (url.ipv6 && inet_pton(AF_INET6, url.host, &v6) != 1) return unsupported(text, problem);
  url.literal = url.ipv6 || url.wildcard || inet_pton(AF_INET, url.host, &v4) == 1;
  if ((url.wildcard && (!listening || url.ipv6)) || !host_valid(&url)) return unsupported(text, problem);
  if (!read_port(port, listening, &url.port))
    return cns_problem_set(problem, CNS_ERR_ARGUMENT, "address '%.200s' has no port that can be used", text);
  if (!url.tls && !loopback(&url, &v4, &v6))
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "address '%.200s': plain tcp is for 127.0.0.1, ::1 and localhost only; between "
                           "machines use tls+tcp:// or wss://",
                           text);
  *ret_url = url;
  return 0;
}

void cns_url_format(const struct cns_url *url, bool only_ipv4, char ret_text[static CNS_URL_MAX]) {
  if (url->local) {
    snprintf(ret_text, CNS_URL_MAX, "ipc://%s", url->path);
    return;
  }
  snprintf(ret_text, CNS_URL_MAX, "%stcp%s://%s%s%s:%u", url->tls ? "tls+" : "",
           only_ipv4 && !url->literal ? "4" : "", url->ipv6 ? "[" : "", url->wildcard ? "*" : url->host,
           url->ipv6 ? "]" : "", url->port);
}

void cns_url_print(const struct cns_url *url, char ret_text[static CNS_URL_MAX]) {
  if (!url->websocket) {
    cns_url_format(url, false, ret_text);
    return;
  }
  snprintf(ret_text, CNS_URL_MAX, "wss://%s%s%s:%u%s", url->ipv6 ? "[" : "", url->wildcard ? "*" : url->host,
           url->ipv6 ? "]" : "", url->port, url->path);
}
