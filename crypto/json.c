/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cursor.h"

#define DEPTH_MAX 32
/* cJSON copies a number into a buffer of 64 characters and cuts it there. */
#define NUMBER_CHARS_MAX 60
#define INTEGER_EXACT_MAX 9007199254740992.0 /* 2^53 */

/*
 * The scanner goes over the text once, without recursion, before cJSON sees
 * it: cJSON is more generous than RFC 8259 and says little about where it
 * stopped.
 */
struct scan {
  const char *text;
  size_t len;
  size_t at;
  const char *where;
  struct cns_problem *problem;
};

static int scan_fail(struct scan *scan, const char *what) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < scan->at && i < scan->len; i++) {
    if (scan->text[i] == '\n') {
      line++;
      column = 1;
    } else if (((unsigned char)scan->text[i] & 0xC0) != 0x80) {
      column++;
    }
  }
  return cns_problem_set(scan->problem, CNS_ERR_FORMAT, "%s, line %zu, column %zu: %s", scan->where, line,
                         column, what);
}

static int peek(const struct scan *scan) {
  return scan->at < scan->len ? (unsigned char)scan->text[scan->at] : -1;
}

static void skip_space(struct scan *scan) {
  for (int c = peek(scan); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(scan))
    scan->at++;
}

static bool is_digit(int c) {
  return c >= '0' && c <= '9';
}

/* Length of the UTF-8 character at p (RFC 3629: shortest form, no surrogates,
 * at most U+10FFFF), 0 if it isn't one. */
static size_t utf8_length(const unsigned char *p, size_t left) {
  size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : 4;
  if (len == 1) return 1;
  if (p[0] < 0xC2 || p[0] > 0xF4 || left < len) return 0;
  for (size_t i = 1; i < len; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F)) return 0;
  if ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F)) return 0;
  return len;
}

/* Four hex digits at `at`, or -1. */
static long scan_hex4(const struct scan *scan, size_t at) {
  if (scan->len - at < 4 || at > scan->len) return -1;
  long value = 0;
  for (size_t i = at; i < at + 4; i++) {
    int c = (unsigned char)scan->text[i];
    int digit = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/* At a backslash. */
static int scan_escape(struct scan *scan) {
  scan->at++;
  int c = peek(scan);
  if (c < 0) return scan_fail(scan, "the text ends inside a string");
  if (c != 'u') {
    if (!memchr("\"\\/bfnrt", c, 8)) return scan_fail(scan, "unknown escape after the backslash");
    scan->at++;
    return 0;
  }
  long code = scan_hex4(scan, scan->at + 1);
  if (code < 0) return scan_fail(scan, "\\u needs four hex digits");
  if (code == 0) return scan_fail(scan, "a NUL character (\\u0000) is not allowed");
  if (code >= 0xDC00 && code <= 0xDFFF) return scan_fail(scan, "half of a surrogate pair");
  scan->at += 5;
  if (code < 0xD800 || code > 0xDBFF) return 0;
  bool escaped = scan->len - scan->at >= 6 && scan->text[scan->at] == '\\' && scan->text[scan->at + 1] == 'u';
  long low = escaped ? scan_hex4(scan, scan->at + 2) : -1;
  if (low < 0xDC00 || low > 0xDFFF) return scan_fail(scan, "half of a surrogate pair");
  scan->at += 6;
  return 0;
}

/* At the opening quote. */
static int scan_string(struct scan *scan) {
  scan->at++;
  while (true) {
    int c = peek(scan);
    if (c < 0) return scan_fail(scan, "the text ends inside a string");
    if (c == '"') break;
    if (c < 0x20)
      return scan_fail(scan, "a control character inside a string (write it as an escape such as \\n)");
    if (c == '\\') {
      int r = scan_escape(scan);
      if (r) return r;
      continue;
    }
    size_t len = utf8_length((const unsigned char *)scan->text + scan->at, scan->len - scan->at);
    if (len == 0) return scan_fail(scan, "not valid UTF-8; save the file as UTF-8");
    scan->at += len;
  }
  scan->at++;
  return 0;
}

static int scan_digits(struct scan *scan) {
  if (!is_digit(peek(scan))) return scan_fail(scan, "a digit is missing in this number");
  while (is_digit(peek(scan)))
    scan->at++;
  return 0;
}

static int scan_number(struct scan *scan) {
  size_t start = scan->at;
  bool whole = true;
  if (peek(scan) == '-') scan->at++;
  size_t digits_start = scan->at;
  int r = scan_digits(scan);
  if (r) return r;
  size_t digits = scan->at - digits_start;
  if (digits > 1 && scan->text[digits_start] == '0') return scan_fail(scan, "a number may not begin with 0");
  if (peek(scan) == '.') {
    whole = false;
    scan->at++;
    if ((r = scan_digits(scan))) return r;
  }
  if (peek(scan) == 'e' || peek(scan) == 'E') {
    whole = false;
    scan->at++;
    if (peek(scan) == '+' || peek(scan) == '-') scan->at++;
    if ((r = scan_digits(scan))) return r;
  }
  if (scan->at - start > NUMBER_CHARS_MAX) return scan_fail(scan, "a number of more than 60 characters");
  /* All numbers become doubles: an integer that would be changed silently is refused. */
  if (whole && digits >= 16) {
    uint64_t value = 0;
    for (size_t i = 0; i < digits && digits < 19; i++)
      value = value * 10 + (uint64_t)(scan->text[digits_start + i] - '0');
    if (digits >= 19 || value > (UINT64_C(1) << 53))
      return scan_fail(scan, "an integer beyond 2^53 can't be held exactly");
  }
  return 0;
}

static int scan_word(struct scan *scan) {
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    size_t len = strlen(words[i]);
    if (scan->len - scan->at >= len && memcmp(scan->text + scan->at, words[i], len) == 0) {
      scan->at += len;
      return 0;
    }
  }
  return scan_fail(scan, scan->at == scan->len
                             ? "the text ends where a value is expected"
                             : "a value is expected here (string, number, object, array, true, "
                               "false or null)");
}

static int scan_scalar(struct scan *scan) {
  int c = peek(scan);
  if (c == '"') return scan_string(scan);
  if (c == '-' || is_digit(c)) return scan_number(scan);
  return scan_word(scan);
}

static int scan_key(struct scan *scan) {
  skip_space(scan);
  if (peek(scan) != '"') return scan_fail(scan, "a field name in double quotes is expected here");
  int r = scan_string(scan);
  if (r) return r;
  skip_space(scan);
  if (peek(scan) != ':') return scan_fail(scan, "a colon is expected after the field name");
  scan->at++;
  return 0;
}

/* After a value: closes containers, and takes the comma before the next value.
 * Leaves *depth at 0 when the whole text's value is complete. */
static int scan_after(struct scan *scan, const char *stack, size_t *depth) {
  while (*depth > 0) {
    skip_space(scan);
    char open = stack[*depth - 1];
    int c = peek(scan);
    if (c == ',') {
      scan->at++;
      return open == '{' ? scan_key(scan) : 0;
    }
    if (c != (open == '{' ? '}' : ']'))
      return scan_fail(scan, open == '{' ? "a comma or } is expected here" : "a comma or ] is expected here");
    scan->at++;
    (*depth)--;
  }
  return 0;
}

static int scan_text(struct scan *scan) {
  char stack[DEPTH_MAX];
  size_t depth = 0;
  do {
    int r;
    skip_space(scan);
    int c = peek(scan);
    if (c == '{' || c == '[') {
      if (depth == DEPTH_MAX) return scan_fail(scan, "nested more than 32 deep");
      stack[depth++] = (char)c;
      scan->at++;
      skip_space(scan);
      bool empty = peek(scan) == (c == '{' ? '}' : ']');
      if (!empty) {
        if (c == '{' && (r = scan_key(scan))) return r;
        continue;
      }
    } else if ((r = scan_scalar(scan))) {
      return r;
    }
    if ((r = scan_after(scan, stack, &depth))) return r;
  } while (depth > 0);
  skip_space(scan);
  if (scan->at != scan->len) return scan_fail(scan, "something follows after the end of the JSON value");
  return 0;
}

/* Members of an object sorted bytewise by name. */
static int compare_names(const void *a, const void *b) {
  return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static int sorted_members(const cJSON *object, const cJSON ***ret_members, size_t *ret_count) {
  size_t count = 0;
  for (const cJSON *item = object->child; item; item = item->next) {
    if (cJSON_IsObject(object) && !item->string) return CNS_ERR_ARGUMENT;
    count++;
  }
  const cJSON **members = calloc(count ? count : 1, sizeof *members);
  if (!members) return CNS_ERR_MEMORY;
  size_t i = 0;
  for (const cJSON *item = object->child; item; item = item->next)
    members[i++] = item;
  if (cJSON_IsObject(object) && count > 1) qsort(members, count, sizeof *members, compare_names);
  *ret_members = members;
  *ret_count = count;
  return 0;
}

/* First name that occurs twice in the object, or NULL. */
static const char *repeated_name(const cJSON *object, const cJSON *const *members, size_t count) {
  for (size_t i = 1; cJSON_IsObject(object) && i < count; i++)
    if (strcmp(members[i - 1]->string, members[i]->string) == 0) return members[i]->string;
  return NULL;
}

/* Names come from a stranger's file: nothing that moves a terminal's cursor. */
static void printable(const char *name, char out[static 48]) {
  size_t len = 0;
  for (; name[len] && len < 40; len++) {
    unsigned char c = (unsigned char)name[len];
    out[len] = c < 0x20 || c >= 0x7F ? '?' : (char)c;
  }
  memcpy(out + len, name[len] ? "..." : "", name[len] ? 4 : 1);
}

static int check_tree(const cJSON *json, const char *where, struct cns_problem *problem) {
  char name[48] = "";
  if (json->string) printable(json->string, name);
  if (cJSON_IsNumber(json) && !isfinite(json->valuedouble))
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the number%s%s is too large", where,
                           json->string ? " at " : "", name);
  if (!cJSON_IsObject(json) && !cJSON_IsArray(json)) return 0;
  const cJSON **members = NULL;
  size_t count = 0;
  int r = sorted_members(json, &members, &count);
  if (r) return cns_problem_set(problem, r, "%s: out of memory", where);
  const char *repeated = repeated_name(json, members, count);
  free(members);
  if (repeated) {
    printable(repeated, name);
    return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: the field \"%s\" occurs twice in the same object",
                           where, name);
  }
  for (const cJSON *item = json->child; item && !r; item = item->next)
    r = check_tree(item, where, problem);
  return r;
}

int cns_json_parse(const char *text, size_t len, const char *where, cJSON **ret_json,
                   struct cns_problem *problem) {
  struct scan scan = {.text = text, .len = len, .where = where, .problem = problem};
  if (len > CNS_JSON_BYTES_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: larger than %u bytes", where, CNS_JSON_BYTES_MAX);
  if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
    return scan_fail(&scan, "begins with a byte order mark; save it as UTF-8 without one");
  int r = scan_text(&scan);
  if (r) return r;
  cJSON *json = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
  if (!json) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory while reading JSON", where);
  if ((r = check_tree(json, where, problem))) {
    cJSON_Delete(json);
    return r;
  }
  *ret_json = json;
  return 0;
}

static void write_text(struct cns_writer *out, const char *text) {
  cns_write_bytes(out, (const uint8_t *)text, strlen(text));
}

static void write_line(struct cns_writer *out, size_t depth) {
  cns_write_u8(out, '\n');
  for (size_t i = 0; i < depth; i++)
    write_text(out, "  ");
}

static void write_string(struct cns_writer *out, const char *text) {
  static const char escaped[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
  cns_write_u8(out, '"');
  for (const char *p = text; *p; p++) {
    const char *found = strchr(escaped, *p);
    if (found) {
      cns_write_u8(out, '\\');
      cns_write_u8(out, (uint8_t)letters[found - escaped]);
    } else if ((unsigned char)*p < 0x20) {
      char code[8];
      snprintf(code, sizeof code, "\\u%04x", (unsigned char)*p);
      write_text(out, code);
    } else {
      cns_write_u8(out, (uint8_t)*p);
    }
  }
  cns_write_u8(out, '"');
}

/* The fewest significant digits that read back to the same double; an
 * exponent without plus and leading zeros; a point whatever the locale says. */
static int write_number(struct cns_writer *out, double value) {
  char text[40];
  if (!isfinite(value)) return CNS_ERR_FORMAT;
  if (value == floor(value) && fabs(value) <= INTEGER_EXACT_MAX) {
    snprintf(text, sizeof text, "%lld", (long long)value);
    write_text(out, text);
    return 0;
  }
  for (int digits = 1; digits <= 17; digits++) {
    /* %g would write integers up to 10^17 without the exponent that tells
     * the scanner that they needn't be exact. */
    if (fabs(value) > INTEGER_EXACT_MAX)
      snprintf(text, sizeof text, "%.*e", digits - 1, value);
    else
      snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  char *exponent = strchr(text, 'e');
  for (char *p = text; *p && p != exponent; p++)
    cns_write_u8(out, (uint8_t)(is_digit((unsigned char)*p) || *p == '-' ? *p : '.'));
  if (exponent) {
    write_text(out, exponent[1] == '-' ? "e-" : "e");
    char *digits = exponent + 2;
    while (*digits == '0')
      digits++;
    write_text(out, digits);
  }
  return 0;
}

static int write_value(struct cns_writer *out, const cJSON *json, size_t depth);

static int write_container(struct cns_writer *out, const cJSON *json, size_t depth) {
  const cJSON **members = NULL;
  size_t count = 0;
  bool object = cJSON_IsObject(json);
  if (depth == DEPTH_MAX) return CNS_ERR_LIMIT;
  int r = sorted_members(json, &members, &count);
  if (r) return r;
  if (repeated_name(json, members, count)) r = CNS_ERR_FORMAT;
  cns_write_u8(out, object ? '{' : '[');
  for (size_t i = 0; i < count && !r; i++) {
    if (i > 0) cns_write_u8(out, ',');
    write_line(out, depth + 1);
    if (object) {
      write_string(out, members[i]->string);
      write_text(out, ": ");
    }
    r = write_value(out, members[i], depth + 1);
  }
  if (count > 0) write_line(out, depth);
  cns_write_u8(out, object ? '}' : ']');
  free(members);
  return r;
}

static int write_value(struct cns_writer *out, const cJSON *json, size_t depth) {
  if (cJSON_IsObject(json) || cJSON_IsArray(json)) return write_container(out, json, depth);
  if (cJSON_IsNumber(json)) return write_number(out, json->valuedouble);
  if (cJSON_IsString(json) && json->valuestring) {
    write_string(out, json->valuestring);
    return 0;
  }
  if (cJSON_IsTrue(json) || cJSON_IsFalse(json) || cJSON_IsNull(json)) {
    write_text(out, cJSON_IsTrue(json) ? "true" : cJSON_IsFalse(json) ? "false" : "null");
    return 0;
  }
  return CNS_ERR_ARGUMENT;
}

int cns_json_canonical(const cJSON *json, char **ret_text, size_t *ret_len) {
  struct cns_writer out;
  cns_writer_init(&out, CNS_JSON_BYTES_MAX);
  int r = write_value(&out, json, 0);
  cns_write_u8(&out, '\n');
  if (!r) r = cns_writer_finish(&out);
  char *text = NULL;
  if (!r && !(text = malloc(out.len + 1))) r = CNS_ERR_MEMORY;
  if (!r) {
    memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    *ret_len = out.len;
    *ret_text = text;
  }
  cns_writer_deinit(&out);
  return r;
}

int cns_json_check_canonical(const char *text, size_t len, const char *where, struct cns_problem *problem) {
  cJSON *json = NULL;
  char *canonical = NULL;
  size_t canonical_len = 0;
  int r = cns_json_parse(text, len, where, &json, problem);
  if (r) return r;
  r = cns_json_canonical(json, &canonical, &canonical_len);
  cJSON_Delete(json);
  if (r) return cns_problem_set(problem, r, "%s: can't be written in canonical form", where);
  struct scan scan = {.text = text, .len = len, .where = where, .problem = problem};
  while (scan.at < len && scan.at < canonical_len && text[scan.at] == canonical[scan.at])
    scan.at++;
  if (scan.at != len || len != canonical_len)
    r = scan_fail(&scan,
                  "not in the canonical form that is signed (the file was altered or written by hand)");
  free(canonical);
  return r;
}
