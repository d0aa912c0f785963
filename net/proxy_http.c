/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to a proxy, and what its answers mean. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net/proxy.h"

#define REASON_MAX 80

void cns_proxy_authority(const char *host, uint16_t port, char *ret_text, size_t size) {
  bool ipv6 = strchr(host, ':') != NULL;
  snprintf(ret_text, size, "%s%s%s:%u", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port);
}

static size_t append_credentials(const struct cns_proxy *proxy, char *request, size_t len) {
  char plain[CNS_PROXY_USER_MAX + CNS_PROXY_PASSWORD_MAX + 2];
  char encoded[sodium_base64_ENCODED_LEN(sizeof plain, sodium_base64_VARIANT_ORIGINAL)];
  int plain_len = snprintf(plain, sizeof plain, "%s:%s", proxy->user, proxy->password);
  sodium_bin2base64(encoded, sizeof encoded, (const uint8_t *)plain, (size_t)plain_len,
                    sodium_base64_VARIANT_ORIGINAL);
  len += (size_t)snprintf(request + len, CNS_PROXY_REQUEST_MAX - len, "Proxy-Authorization: Basic %s\r\n",
                          encoded);
  cns_wipe(plain, sizeof plain);
  cns_wipe(encoded, sizeof encoded);
  return len;
}

size_t cns_proxy_request(const struct cns_proxy *proxy, const char *host, uint16_t port,
                         char ret_request[static CNS_PROXY_REQUEST_MAX]) {
  char place[CNS_PROXY_HOST_MAX + 16];
  cns_proxy_authority(host, port, place, sizeof place);
  size_t len = (size_t)snprintf(ret_request, CNS_PROXY_REQUEST_MAX,
                                "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: consilium\r\n", place, place);
  if (proxy->has_user) len = append_credentials(proxy, ret_request, len);
  memcpy(ret_request + len, "\r\n", 3);
  return len + 2;
}

/* -- answers -- */

struct answer {
  unsigned status;
  char reason[REASON_MAX + 1];
  bool basic, challenged; /* Proxy-Authenticate: offers Basic; offers anything */
  char scheme[24];        /* the first that isn't Basic */
};

/* The proxy's words, for a log: printable ASCII only. */
static void clean(const char *text, size_t len, char *ret_text, size_t size) {
  size_t out = 0;
  for (size_t i = 0; i < len && out + 1 < size; i++)
    ret_text[out++] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
  ret_text[out] = 0;
}

/* The end of the head: an empty line. Lone line feeds are taken too (RFC 9112, 2.2). */
static size_t head_length(const char *data, size_t len) {
  for (size_t i = 0; i + 1 < len; i++) {
    if (data[i] != '\n') continue;
    if (data[i + 1] == '\n') return i + 2;
    if (i + 2 < len && data[i + 1] == '\r' && data[i + 2] == '\n') return i + 3;
  }
  return 0;
}

static bool read_status(const char *line, size_t len, struct answer *answer) {
  if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ') return false;
  for (size_t i = 9; i < 12; i++) {
    if (line[i] < '0' || line[i] > '9') return false;
    answer->status = answer->status * 10 + (unsigned)(line[i] - '0');
  }
  if (len > 13) clean(line + 13, len - 13, answer->reason, sizeof answer->reason);
  return len == 12 || line[12] == ' ';
}

/* A field may hold several challenges; the schemes are all that matters, and each stands at the
 * beginning or after a comma and has no '=' behind it. */
static void read_challenge(const char *value, size_t len, struct answer *answer) {
  answer->challenged = true;
  while (len > 0) {
    size_t space = strspn(value, ", \t");
    if (space >= len) return;
    value += space, len -= space;
    size_t word = strcspn(value, " \t,=\r\n");
    if (word > len) word = len;
    bool scheme = word > 0 && (word == len || value[word] != '=');
    if (scheme && word == 5 && strncasecmp(value, "basic", 5) == 0)
      answer->basic = true;
    else if (scheme && !answer->scheme[0])
      clean(value, word, answer->scheme, sizeof answer->scheme);
    size_t rest = 0; /* to the next comma that isn't in quotes */
    for (bool quoted = false; rest < len && (quoted || value[rest] != ','); rest++)
      if (value[rest] == '"') quoted = !quoted;
    value += rest, len -= rest;
  }
}

static void read_fields(const char *head, size_t len, struct answer *answer) {
  static const char name[] = "proxy-authenticate:";
  while (len > 0) {
    const char *end = memchr(head, '\n', len);
    size_t line = end ? (size_t)(end - head) : len;
    if (line >= sizeof name - 1 && strncasecmp(head, name, sizeof name - 1) == 0)
      read_challenge(head + sizeof name - 1, line - (sizeof name - 1), answer);
    line += end != NULL;
    head += line, len -= line;
  }
}

static int wants_password(const struct cns_proxy *proxy, const char *self, const struct answer *answer,
                          struct cns_problem *problem) {
  if (answer->challenged && !answer->basic)
    return cns_problem_set(
        problem, CNS_ERR_PERMISSION,
        "the proxy %s asks for authentication by '%s', which isn't supported: only Basic is. Ask for an "
        "exception for this machine, or run a local helper that speaks it (cntlm, px) and name that as proxy",
        self, answer->scheme[0] ? answer->scheme : "?");
  if (!proxy->has_user)
    return cns_problem_set(
        problem, CNS_ERR_PERMISSION,
        "the proxy %s asks for a user and a password (%u), and none is given: put \"user\" "
        "and \"password_file\" beside the proxy's url into the kit's config.json",
        self, answer->status);
  char user[CNS_PROXY_USER_MAX + 1];
  clean(proxy->user, strlen(proxy->user), user, sizeof user);
  return cns_problem_set(problem, CNS_ERR_PERMISSION,
                         "the proxy %s doesn't accept the password of user '%.64s' (%u): check user and "
                         "password file in the kit's config.json",
                         self, user, answer->status);
}

static int refused(const struct cns_proxy *proxy, const char *self, const char *place,
                   const struct answer *answer, struct cns_problem *problem) {
  switch (answer->status) {
  case 401: /* tinyproxy's word for a wrong password */
  case 407:
    return wants_password(proxy, self, answer, problem);
  case 403:
  case 405:
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the proxy %s doesn't allow connections to %s (%u %s): ask its operators to allow "
                           "CONNECT to %s",
                           self, place, answer->status, answer->reason, place);
  case 500:
  case 502:
  case 503:
  case 504:
    return cns_problem_set(
        problem, CNS_ERR_REFUSED,
        "the proxy %s can't reach the coordinator at %s (%u %s): is the address right, and "
        "is the coordinator running?",
        self, place, answer->status, answer->reason);
  default:
    return cns_problem_set(problem, CNS_ERR_REFUSED,
                           "the proxy %s refuses a connection to %s: it answers %u %s", self, place,
                           answer->status, answer->reason);
  }
}

int cns_proxy_answer(const struct cns_proxy *proxy, const char *host, uint16_t port, const char *data,
                     size_t len, size_t *ret_head_len, struct cns_problem *problem) {
  static const char magic[] = "HTTP/1.";
  char self[CNS_PROXY_HOST_MAX + 16], place[CNS_PROXY_HOST_MAX + 16];
  struct answer answer = {0};
  cns_proxy_authority(proxy->host, proxy->port, self, sizeof self);
  cns_proxy_authority(host, port, place, sizeof place);
  size_t known = len < sizeof magic - 1 ? len : sizeof magic - 1;
  size_t head = head_length(data, len);
  if (memcmp(data, magic, known) == 0 && head == 0 && len <= CNS_PROXY_ANSWER_MAX) return CNS_CASE_MORE;
  const char *line_end = memchr(data, '\n', len);
  size_t line = line_end ? (size_t)(line_end - data) : len;
  if (line > 0 && data[line - 1] == '\r') line--;
  if (memcmp(data, magic, known) != 0 || (head > 0 && !read_status(data, line, &answer)))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "what answers at %s is not an HTTP proxy", self);
  if (head == 0 || head > CNS_PROXY_ANSWER_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "the proxy %s answers with a header of more than %d bytes",
                           self, CNS_PROXY_ANSWER_MAX);
  if (answer.status >= 200 && answer.status < 300) {
    *ret_head_len = head;
    return 0;
  }
  read_fields(data, head, &answer);
  return refused(proxy, self, place, &answer, problem);
}
