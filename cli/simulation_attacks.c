/* SPDX-License-Identifier: Apache-2.0 */
/* Attacks as they are written on the command line. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/simulation.h"
#include "robust/names.h"

static const struct kind {
  const char *name;
  double scale; /* by default; 0: there is none */
} kinds[CNS_LIE_COUNT] = {
    [CNS_LIE_NUMBERS] = {"numbers", 0},
    [CNS_LIE_FALSE_PAIR] = {"false-pair", 10},
    [CNS_LIE_FALSE_PAIR_AGREED] = {"false-pair-agreed", 1},
    [CNS_LIE_FALSE_SELF] = {"false-self", 10},
    [CNS_LIE_WRONG_SHARE] = {"wrong-share", 0},
    [CNS_LIE_EQUIVOCATE] = {"equivocate", 0},
    [CNS_LIE_OTHER_MASKS] = {"other-masks", 0},
    [CNS_LIE_DROP] = {"drop-after-upload", 0},
    [CNS_LIE_REFUSE_OPENING] = {"refuse-opening", 0},
};
#define SCALE_MAX 1e6

const char *cns_simulation_lie_name(enum cns_simulation_lie lie) {
  return (unsigned)lie < CNS_LIE_COUNT ? kinds[lie].name : "unknown";
}

static int find_lie(const char *spec, size_t len) {
  for (int lie = CNS_LIE_NUMBERS + 1; lie < CNS_LIE_COUNT; lie++)
    if (strlen(kinds[lie].name) == len && memcmp(kinds[lie].name, spec, len) == 0) return lie;
  return -1;
}

static int no_such_attack(const char *spec, size_t len, struct cns_problem *problem) {
  const char *all[CNS_ATTACK_KIND_COUNT + CNS_LIE_COUNT];
  size_t count = 0;
  char names[400] = "", name[CNS_NAMES_CHARS_MAX + 1];
  for (int k = 0; k < CNS_ATTACK_KIND_COUNT; k++)
    if (cns_attack_check_masked((enum cns_attack_kind)k, NULL) == 0)
      all[count++] = cns_attack_name((enum cns_attack_kind)k);
  for (int lie = CNS_LIE_NUMBERS + 1; lie < CNS_LIE_COUNT; lie++)
    all[count++] = kinds[lie].name;
  for (size_t a = 0; a < count; a++)
    strncat(strncat(names, a > 0 ? ", " : "", 3), all[a], 20);
  snprintf(name, sizeof name, "%.*s", (int)(len < CNS_NAMES_CHARS_MAX ? len : CNS_NAMES_CHARS_MAX), spec);
  const char *nearest = cns_names_nearest(name, all, count);
  if (nearest)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "there is no attack '%s'; did you mean %s? There are %s",
                           name, nearest, names);
  return cns_problem_set(problem, CNS_ERR_FORMAT, "there is no attack '%s'; there are %s", name, names);
}

static int parse_scale(const char *text, struct cns_simulation_attack *attack, struct cns_problem *problem) {
  const char *name = kinds[attack->lie].name;
  char *end;
  if (kinds[attack->lie].scale == 0)
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s' takes no parameters, not '%.40s'", name,
                           text);
  if (strncmp(text, "scale=", 6) != 0 || !strchr("0123456789.", text[6]) || text[6] == '\0')
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s' takes scale=NUMBER, not '%.40s'", name,
                           text);
  attack->scale = strtod(text + 6, &end);
  if (*end != '\0')
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s' takes scale=NUMBER once, not '%.40s'", name,
                           text);
  if (!(attack->scale > 0) || !(attack->scale <= SCALE_MAX))
    return cns_problem_set(problem, CNS_ERR_RANGE, "attack '%s': scale is above 0 and at most %g", name,
                           SCALE_MAX);
  return 0;
}

static int parse_lie(const char *spec, enum cns_simulation_lie lie, struct cns_simulation_attack *attack,
                     struct cns_problem *problem) {
  const char *name = kinds[lie].name, *at = spec + strlen(name);
  *attack = (struct cns_simulation_attack){.lie = lie, .scale = kinds[lie].scale};
  if (*at == '\0')
    return cns_problem_set(problem, CNS_ERR_FORMAT, "attack '%s' needs a number of hospitals: %s:COUNT", name,
                           name);
  size_t digits = strspn(++at, "0123456789");
  errno = 0;
  unsigned long long count = strtoull(at, NULL, 10);
  if (digits == 0 || (at[digits] != '\0' && at[digits] != ':') || errno || count < 1 ||
      count > CNS_HOSPITALS_MAX)
    return cns_problem_set(
        problem, CNS_ERR_RANGE,
        "attack '%s': how many hospitals attack is a whole number from 1 to %d, not '%.40s'", name,
        CNS_HOSPITALS_MAX, at);
  attack->count = (size_t)count;
  if (lie == CNS_LIE_FALSE_PAIR_AGREED && count % 2 != 0)
    return cns_problem_set(problem, CNS_ERR_RANGE,
                           "attack '%s' is made by hospitals two by two: their number must be even", name);
  return at[digits] == '\0' ? 0 : parse_scale(at + digits + 1, attack, problem);
}

static int parse_numbers(const char *spec, struct cns_attack *attack, struct cns_problem *problem) {
  int r = cns_attack_parse(spec, attack, problem);
  return r < 0 ? r : cns_attack_check_masked(attack->kind, problem);
}

int cns_simulation_attack_parse(const char *spec, struct cns_simulation_attack *ret_attack,
                                struct cns_problem *problem) {
  struct cns_simulation_attack attack = {.lie = CNS_LIE_NUMBERS};
  size_t len = strcspn(spec, ":");
  int lie = find_lie(spec, len);
  if (lie < 0 && !cns_attack_is_name(spec)) return no_such_attack(spec, len, problem);
  int r = lie < 0 ? parse_numbers(spec, &attack.numbers, problem)
                  : parse_lie(spec, (enum cns_simulation_lie)lie, &attack, problem);
  if (r < 0) return r;
  if (lie < 0) attack.count = attack.numbers.count;
  *ret_attack = attack;
  return 0;
}
