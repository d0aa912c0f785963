/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol/policy_compare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/policy_internal.h"

struct comparison {
  const struct cns_policy *old, *new;
  struct cns_policy_change *changes;
  size_t count;
};

const char *cns_policy_direction_name(enum cns_policy_direction direction) {
  static const char *const names[] = {"neutral", "tightening", "loosening"};
  return names[direction];
}

static void add(struct comparison *c, enum cns_policy_direction direction, const char *field, const char *fmt,
                ...) CNS_PRINTF(4, 5);

static void add(struct comparison *c, enum cns_policy_direction direction, const char *field, const char *fmt,
                ...) {
  va_list args;
  if (c->count == CNS_POLICY_CHANGES_MAX) return;
  struct cns_policy_change *change = &c->changes[c->count++];
  change->direction = direction;
  change->field = field;
  va_start(args, fmt);
  vsnprintf(change->text, sizeof change->text, fmt, args);
  va_end(args);
}

/* ---- numbers, of which more is looser, or less is ---- */

enum looser { MORE_IS_LOOSER, LESS_IS_LOOSER };

static enum cns_policy_direction direction_of(double old, double new, enum looser looser) {
  return (new > old) == (looser == MORE_IS_LOOSER) ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING;
}

static void compare(struct comparison *c, const char *field, double old, double new, enum looser looser,
                    const char *what) {
  if (old == new) return;
  add(c, direction_of(old, new, looser), field, "%s: %.10g instead of %.10g", what, new, old);
}

/* 0 is no such limit. */
static void compare_limit(struct comparison *c, const char *field, double old, double new, const char *what) {
  if (old == new) return;
  if (new == 0)
    add(c, CNS_CHANGE_LOOSENING, field, "%s: no limit any more, instead of epsilon %.10g", what, old);
  else if (old == 0)
    add(c, CNS_CHANGE_TIGHTENING, field, "%s: at most epsilon %.10g, where there was no limit", what, new);
  else
    compare(c, field, old, new, MORE_IS_LOOSER, what);
}

/* ---- the parts of a policy ---- */

static void format_time(int64_t seconds, char out[static 32]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0)
    snprintf(out, 32, "an unknown day");
}

static void compare_scope(struct comparison *c) {
  const struct cns_policy *old = c->old, *new = c->new;
  char before[32], after[32];
  if (strcmp(old->consortium, new->consortium) != 0)
    add(c, CNS_CHANGE_LOOSENING, "consortium", "it is another consortium's: \"%s\" instead of \"%s\"",
        new->consortium, old->consortium);
  if (old->version != new->version)
    add(c, CNS_CHANGE_NEUTRAL, "version", "the version: %" PRIu64 " instead of %" PRIu64, new->version,
        old->version);
  if (old->valid_until == new->valid_until) return;
  format_time(old->valid_until, before);
  format_time(new->valid_until, after);
  add(c, new->valid_until > old->valid_until ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING, "valid_until",
      "the policy ends %s: %s instead of %s", new->valid_until > old->valid_until ? "later" : "earlier",
      after, before);
}

static void compare_secrecy(struct comparison *c) {
  const struct cns_policy *old = c->old, *new = c->new;
  compare(c, "colluders", old->colluders, new->colluders, LESS_IS_LOOSER,
          "hospitals that may secretly work together with the coordinator without learning an update");
  compare(c, "minimum_cohort", old->minimum_cohort, new->minimum_cohort, LESS_IS_LOOSER,
          "the fewest hospitals that a round begins with");
  compare(c, "minimum_included", old->minimum_included, new->minimum_included, LESS_IS_LOOSER,
          "the fewest hospitals in a sum that is opened");
  compare(c, "maximum_exclusions", old->maximum_exclusions, new->maximum_exclusions, MORE_IS_LOOSER,
          "hospitals that the coordinator may leave out of a sum by its own judgement");
  compare(c, "attempts_per_parent", old->attempts_per_parent, new->attempts_per_parent, MORE_IS_LOOSER,
          "updates that may be spent on the same model");
}

static void compare_influence(struct comparison *c) {
  const struct cns_policy *old = c->old, *new = c->new;
  compare(c, "clip_norm_max", old->clip_norm_max, new->clip_norm_max, MORE_IS_LOOSER,
          "the longest update (L2 norm)");
  if (old->weights_mode != new->weights_mode)
    add(c, new->weights_mode == CNS_WEIGHTS_PATIENTS ? CNS_CHANGE_LOOSENING : CNS_CHANGE_NEUTRAL,
        "weights.mode", "%s",
        new->weights_mode == CNS_WEIGHTS_PATIENTS
            ? "hospitals count by their patients instead of equally: a large one moves the model further"
            : "all hospitals count equally instead of by their patients");
  compare(c, "weights.cap", old->weight_cap, new->weight_cap, MORE_IS_LOOSER,
          "the most patients that a hospital counts for");
  compare(c, "weights.round_to", old->weight_round_to, new->weight_round_to, LESS_IS_LOOSER,
          "the number to which the public numbers of patients are rounded");
}

/* Looser the further right. */
static void compare_ordered(struct comparison *c, const char *field, int old, int new, const char *what,
                            const char *old_name, const char *new_name) {
  if (old == new) return;
  add(c, new > old ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING, field, "%s: \"%s\" instead of \"%s\"",
      what, new_name, old_name);
}

static void compare_open_audit(struct comparison *c) {
  const struct cns_policy *old = c->old, *new = c->new;
  if (old->sketch != new->sketch)
    add(c, CNS_CHANGE_LOOSENING, "audit.sketch",
        "an audit reveals %" PRIu32 " numbers of each update instead of %" PRIu32 ": %s", new->sketch,
        old->sketch,
        new->sketch > old->sketch ? "the coordinator learns more of each hospital"
                                  : "attacks are noticed less surely");
  compare(c, "audit.budget", old->sketch_budget, new->sketch_budget, MORE_IS_LOOSER,
          "numbers that a hospital reveals in a study for each parameter of the model");
  compare_ordered(c, "audit.when_spent", (int)old->when_spent, (int)new->when_spent,
                  "what a hospital does when that is used up", cns_policy_spent_name(old->when_spent),
                  cns_policy_spent_name(new->when_spent));
  compare_ordered(c, "audit.on_flag", -(int)old->on_flag, -(int)new->on_flag,
                  "what becomes of a hospital whose update stands out", cns_policy_flag_name(old->on_flag),
                  cns_policy_flag_name(new->on_flag));
  compare(c, "audit.false_positive_rate", old->false_positive_rate, new->false_positive_rate, LESS_IS_LOOSER,
          "how readily an update is flagged");
  compare(c, "audit.tighten_rounds", old->tighten_rounds, new->tighten_rounds, LESS_IS_LOOSER,
          "rounds for which it is flagged more readily after an attack");
  compare(c, "audit.tighten_factor", old->tighten_factor, new->tighten_factor, LESS_IS_LOOSER,
          "how much more readily then");
}

static void compare_audit(struct comparison *c) {
  bool before = c->old->audit_level != CNS_AUDIT_NONE, after = c->new->audit_level != CNS_AUDIT_NONE;
  if (before && after)
    compare_open_audit(c);
  else if (before)
    add(c, CNS_CHANGE_LOOSENING, "audit.level",
        "updates aren't audited any more: a hospital that lies about its own isn't noticed");
  else if (after)
    add(c, CNS_CHANGE_LOOSENING, "audit.level",
        "updates are audited: the coordinator learns %" PRIu32 " numbers of each", c->new->sketch);
  if (c->old->metrics_public != c->new->metrics_public)
    add(c, CNS_CHANGE_NEUTRAL, "metrics", "%s",
        c->new->metrics_public ? "loss and AUC are of a public test set"
                               : "no public test set is used any more");
  if (c->old->metrics_noised != c->new->metrics_noised)
    add(c, c->new->metrics_noised ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING, "metrics", "%s",
        c->new->metrics_noised ? "loss and accuracy on the patients that train are released, with noise"
                               : "loss and accuracy on the patients that train aren't released any more");
  if (c->old->metrics != c->new->metrics)
    add(c, c->new->metrics ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING, "metrics", "%s",
        c->new->metrics ? "loss and AUC are collected, exact, where they weren't"
                        : "loss and AUC aren't collected any more");
}

static void compare_placement(struct comparison *c) {
  enum cns_noise_placement before = c->old->noise_placement, after = c->new->noise_placement;
  if (after == before) return;
  if (after == CNS_NOISE_NONE)
    add(c, CNS_CHANGE_LOOSENING, "noise.placement",
        "no noise is added any more, and nothing is counted: there is no guarantee of differential privacy");
  else if (before == CNS_NOISE_NONE)
    add(c, CNS_CHANGE_TIGHTENING, "noise.placement",
        "noise is added (%s), with a budget of epsilon %.10g at delta %.10g, where there was none",
        cns_noise_placement_name(after), c->new->privacy.epsilon, c->new->privacy.delta);
  else
    add(c, after == CNS_NOISE_CENTRAL ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING, "noise.placement", "%s",
        after == CNS_NOISE_CENTRAL
            ? "the coordinator adds the noise instead of the hospitals: it sees the sums without noise"
            : "the hospitals add the noise instead of the coordinator, which sees no sum without it any "
              "more");
}

/* In audits the coordinator sees single updates behind one hospital's share alone,
 * which shrinks with the number of shares that a sum surely has. */
static void compare_share(struct comparison *c) {
  const struct cns_policy *old = c->old, *new = c->new;
  if (old->noise_placement != CNS_NOISE_DISTRIBUTED || new->noise_placement != CNS_NOISE_DISTRIBUTED ||
      old->audit_level == CNS_AUDIT_NONE || new->audit_level == CNS_AUDIT_NONE)
    return;
  compare(c, "minimum_included", old->minimum_included - old->colluders,
          new->minimum_included - new->colluders, MORE_IS_LOOSER,
          "shares that the noise is divided into, behind one of which the coordinator sees what is audited");
}

static void compare_budget(struct comparison *c) {
  const struct cns_policy_privacy *old = &c->old->privacy, *new = &c->new->privacy;
  if (c->old->unit != c->new->unit)
    add(c, CNS_CHANGE_LOOSENING, "unit",
        "protected is each %s instead of each %s: epsilon before and after don't mean the same",
        cns_privacy_unit_name(c->new->unit), cns_privacy_unit_name(c->old->unit));
  if (old->relation != new->relation)
    add(c, new->relation == CNS_DP_ADD_REMOVE ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING,
        "noise.relation", "epsilon is meant for %s instead of %s",
        new->relation == CNS_DP_ADD_REMOVE ? "one unit more or less" : "one unit replaced by another",
        old->relation == CNS_DP_ADD_REMOVE ? "one unit more or less" : "one unit replaced by another");
  compare(c, "noise.epsilon", old->epsilon, new->epsilon, MORE_IS_LOOSER,
          "epsilon that all rounds together may cost");
  compare(c, "noise.delta", old->delta, new->delta, MORE_IS_LOOSER, "delta at which it is meant");
  compare_limit(c, "noise.epsilon_round", old->epsilon_round, new->epsilon_round,
                "epsilon that one round may cost");
  compare_limit(c, "noise.epsilon_month", old->epsilon_month, new->epsilon_month,
                "epsilon that the rounds of a calendar month may cost");
  /* With central noise none can be set: that was said of the placement. */
  if (c->new->noise_placement == CNS_NOISE_DISTRIBUTED)
    compare_limit(c, "noise.epsilon_coordinator", old->epsilon_coordinator, new->epsilon_coordinator,
                  "epsilon that what the coordinator sees may cost");
  compare(c, "noise.multiplier_min", old->multiplier_min, new->multiplier_min, LESS_IS_LOOSER,
          "the least noise multiplier");
  compare(c, "noise.rate_max", old->rate_max, new->rate_max, MORE_IS_LOOSER, "the largest sampling rate");
  if (old->large_delta != new->large_delta)
    add(c, new->large_delta ? CNS_CHANGE_LOOSENING : CNS_CHANGE_TIGHTENING, "noise.large_delta",
        "delta may%s be above one over the number of units", new->large_delta ? "" : " not");
  if (old->alert_count != new->alert_count || memcmp(old->alerts, new->alerts, sizeof old->alerts) != 0)
    add(c, CNS_CHANGE_NEUTRAL, "noise.alerts", "warnings are given at other shares of the budget");
}

size_t cns_policy_compare(const struct cns_policy *old, const struct cns_policy *new,
                          struct cns_policy_change ret_changes[CNS_POLICY_CHANGES_MAX]) {
  struct comparison c = {old, new, ret_changes, 0};
  compare_scope(&c);
  compare_secrecy(&c);
  compare_influence(&c);
  compare_audit(&c);
  compare_placement(&c);
  if (old->noise_placement != CNS_NOISE_NONE && new->noise_placement != CNS_NOISE_NONE) {
    compare_share(&c);
    compare_budget(&c);
  }
  return c.count;
}

bool cns_policy_loosens(const struct cns_policy *old, const struct cns_policy *new,
                        struct cns_problem *ret_sentence) {
  struct cns_policy_change changes[CNS_POLICY_CHANGES_MAX];
  size_t count = cns_policy_compare(old, new, changes), loosening = 0;
  char text[sizeof ret_sentence->text] = "";
  for (size_t k = 0; k < count; k++) {
    if (changes[k].direction != CNS_CHANGE_LOOSENING) continue;
    size_t used = strlen(text);
    if (loosening++ < 2)
      snprintf(text + used, sizeof text - used, "%s%.140s", used ? "; " : "", changes[k].text);
  }
  if (loosening == 0) return false;
  cns_problem_set(ret_sentence, CNS_ERR_REFUSED, "it loosens version %" PRIu64 " (%s%s)", old->version, text,
                  loosening > 2 ? "; and more" : "");
  return true;
}
