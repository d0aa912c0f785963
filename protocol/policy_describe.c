/* SPDX-License-Identifier: Apache-2.0 */
/* The policy in sentences for a privacy officer: what it means, not what its
 * fields are called. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "protocol/policy.h"

static void describe_scope(FILE *out, const struct cns_policy *policy) {
  time_t end = (time_t)policy->valid_until;
  struct tm tm;
  char day[32] = "an unknown day";
  if (gmtime_r(&end, &tm)) strftime(day, sizeof day, "%Y-%m-%d %H:%M UTC", &tm);
  fprintf(out, "Policy of the consortium \"%s\", version %" PRIu64 ", valid until %s.\n\n",
          policy->consortium, policy->version, day);
}

static void describe_secrecy(FILE *out, const struct cns_policy *policy, size_t roster_size) {
  unsigned c = policy->colluders, cohort = policy->minimum_cohort;
  unsigned needed = cns_policy_threshold(cohort, policy->colluders);
  fprintf(out, "Who could see a single hospital's update\n");
  fprintf(out,
          "  Nobody, as long as at most %u hospital%s secretly work%s together with the coordinator.\n"
          "  The coordinator sees only the sum over the hospitals that took part%s.\n",
          c, c == 1 ? "" : "s", c == 1 ? "s" : "",
          policy->audit_level == CNS_AUDIT_NONE ? "" : ",\n  and what the audit below reveals");
  fprintf(out, "Who must take part\n");
  fprintf(out, "  A round starts with at least %u hospitals", cohort);
  if (roster_size > 0) fprintf(out, " (the roster has %zu)", roster_size);
  fprintf(out,
          ". Of %u, at least %u must stay to the end; up to %u may drop out.\n"
          "  A sum is only opened if it holds at least %u hospitals.\n",
          cohort, needed, cohort - needed, policy->minimum_included);
  if (policy->maximum_exclusions == 0)
    fprintf(out, "  The coordinator may not leave out a hospital by its own judgement.\n");
  else
    fprintf(out, "  The coordinator may leave out at most %u hospital%s by its own judgement in one round.\n",
            policy->maximum_exclusions, policy->maximum_exclusions == 1 ? "" : "s");
}

static void describe_influence(FILE *out, const struct cns_policy *policy) {
  fprintf(out, "How much one hospital counts\n");
  if (policy->weights_mode == CNS_WEIGHTS_EQUAL)
    fprintf(out, "  Every hospital counts the same, whatever its number of patients.\n");
  else
    fprintf(out,
            "  By its number of patients, which is public to the consortium, rounded to %" PRIu32
            " and never above %" PRIu32 ".\n",
            policy->weight_round_to, policy->weight_cap);
  fprintf(out, "  An update is shortened to a length (L2 norm) of at most %g before it is sent.\n",
          policy->clip_norm_max);
  fprintf(out, "  After a round without a result, at most %u updates in all are spent on the same model.\n",
          policy->attempts_per_parent);
}

static void describe_flags(FILE *out, const struct cns_policy *policy) {
  static const char *const what[] = {
      [CNS_FLAG_REPORT] = "reported, and stays in the sum",
      [CNS_FLAG_EXCLUDE] = "left out of that round's sum",
      [CNS_FLAG_QUARANTINE] = "left out until an officer lets it in again",
  };
  fprintf(out,
          "  A hospital whose update stands out is %s.\n"
          "  An honest one is flagged by mistake in about %g of 1000 rounds",
          what[policy->on_flag], 1000 * policy->false_positive_rate);
  if (policy->tighten_rounds > 0)
    fprintf(out, "; after a confirmed attack up to\n  %g times as often, for %u rounds",
            policy->tighten_factor, policy->tighten_rounds);
  fprintf(out, ".\n");
}

static void describe_audit(FILE *out, const struct cns_policy *policy) {
  static const char *const then[] = {
      [CNS_SPENT_STOP] = "takes part in no further round",
      [CNS_SPENT_UNAUDITED] = "goes on in rounds that are not audited",
      [CNS_SPENT_RANDOM] =
          "goes on in rounds that are not audited, which the coordinator may choose from the first on",
  };
  fprintf(out, "What is checked\n");
  if (policy->audit_level == CNS_AUDIT_NONE) {
    fprintf(
        out,
        "  There is no audit of the masked updates: a hospital that lies about its update is not noticed.\n");
    return;
  }
  fprintf(
      out,
      "  %s audited: of each one the coordinator sees %" PRIu32 " numbers, random sums of all its\n"
      "  entries, enough to notice one that is too large or points elsewhere, and to name who lies about\n"
      "  its own. They also tell the coordinator roughly which diseases a hospital's patients have; of\n"
      "  an update with few entries that matter they tell much more. Only noise would prevent that.\n"
      "  In one study a hospital reveals at most %g numbers for each parameter of the model,\n"
      "  then it %s.\n",
      policy->when_spent == CNS_SPENT_STOP ? "Every update is" : "Updates are", policy->sketch,
      policy->sketch_budget, then[policy->when_spent]);
  describe_flags(out, policy);
}

static void describe_metrics(FILE *out, const struct cns_policy *policy) {
  if (policy->metrics)
    fprintf(out,
            "  Loss and AUC are computed on all hospitals' validation patients together and are exact.\n");
  else if (policy->metrics_public)
    fprintf(
        out,
        "  Loss and AUC are computed by the coordinator on a public test set, of no hospital's patients.\n");
  else if (policy->metrics_noised)
    fprintf(
        out,
        "  Loss and accuracy are computed on the patients that train, and published with noise: they are\n"
        "  in the same sum and at the same cost, so that the model gets more noise than without them.\n");
  else
    fprintf(out, "  Loss and AUC are not collected.\n");
}

static void describe_placement(FILE *out, const struct cns_policy *policy) {
  if (policy->noise_placement == CNS_NOISE_CENTRAL)
    fprintf(out,
            "  The coordinator adds the noise. It sees the sums without noise, so nothing protects anybody\n"
            "  from the coordinator itself, and it is trusted to add the noise and to count.\n");
  else
    fprintf(out,
            "  Each hospital adds its share of the noise before its update leaves. The shares are so large\n"
            "  that the noise suffices if only %u hospitals are in a sum and %u of them tell theirs.\n",
            policy->minimum_included, policy->colluders);
  if (policy->noise_placement == CNS_NOISE_DISTRIBUTED && policy->audit_level != CNS_AUDIT_NONE)
    fprintf(out,
            "  The audit shows the coordinator parts of single updates, behind one hospital's share of the\n"
            "  noise only, so the patients are protected less from it than from readers of the model.\n");
  if (policy->privacy.epsilon_coordinator > 0)
    fprintf(out, "  What the coordinator sees may cost epsilon %g in all.\n",
            policy->privacy.epsilon_coordinator);
  else if (policy->noise_placement == CNS_NOISE_DISTRIBUTED)
    fprintf(out, "  What the coordinator sees is counted, but no limit is set to it.\n");
}

static void describe_budget(FILE *out, const struct cns_policy *policy) {
  const struct cns_policy_privacy *p = &policy->privacy;
  bool patients = policy->unit == CNS_UNIT_PATIENT;
  fprintf(out, "What the published models may give away: the privacy budget\n");
  fprintf(out,
          "  Protected is %s. All rounds together may cost at most\n"
          "  epsilon %g at delta %g (%s). A round that would cost more doesn't start, and each\n"
          "  hospital refuses it by its own ledger, which counts all studies on the same data.\n",
          patients ? "each patient, with all of that patient's rows" : "each hospital's data as a whole",
          p->epsilon, p->delta,
          p->relation == CNS_DP_REPLACE_ONE ? "one unit replaced by another" : "one unit more or less");
  if (p->epsilon_round > 0) fprintf(out, "  One round may cost at most epsilon %g.\n", p->epsilon_round);
  if (p->epsilon_month > 0)
    fprintf(out, "  The rounds of one calendar month may cost at most epsilon %g.\n", p->epsilon_month);
  fprintf(out,
          "  In each round the noise is at least %g times what one %s can change, and a %s takes part\n"
          "  with a probability of at most %g.\n",
          p->multiplier_min, patients ? "patient" : "hospital", patients ? "patient" : "hospital",
          p->rate_max);
  if (patients && policy->audit_level == CNS_AUDIT_NONE)
    fprintf(out,
            "  A study may let the length that gradients are shortened to follow them from round to round,\n"
            "  up to %g: how many are within it is counted under the same noise, at the same cost.\n",
            policy->clip_norm_max);
  if (patients)
    fprintf(out,
            "  A patient known in two hospitals is two patients here and is protected less than stated.\n");
  if (p->large_delta)
    fprintf(out, "  Delta may be above one over the number of %ss: the budget is then a weak promise.\n",
            patients ? "patient" : "hospital");
  if (p->alert_count > 0) {
    fprintf(out, "  A warning is given when this share of it is spent:");
    for (size_t k = 0; k < p->alert_count; k++)
      fprintf(out, "%s %g %%", k ? "," : "", 100 * p->alerts[k]);
    fprintf(out, ".\n");
  }
  describe_placement(out, policy);
}

static void describe_noise(FILE *out, const struct cns_policy *policy) {
  if (policy->noise_placement != CNS_NOISE_NONE) {
    describe_budget(out, policy);
    describe_metrics(out, policy);
    return;
  }
  fprintf(out,
          "What the published models may give away\n"
          "  No noise is added: there is no guarantee of differential privacy. Who compares the models of\n"
          "  successive rounds learns the sum of the updates in between, and may learn about patients.\n");
  describe_metrics(out, policy);
}

int cns_policy_describe(const struct cns_policy *policy, size_t roster_size, char **ret_text) {
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  if (!out) return CNS_ERR_MEMORY;
  describe_scope(out, policy);
  describe_secrecy(out, policy, roster_size);
  describe_influence(out, policy);
  describe_audit(out, policy);
  describe_noise(out, policy);
  bool failed = ferror(out);
  if (fclose(out) != 0 || failed) {
    free(text);
    return CNS_ERR_MEMORY;
  }
  *ret_text = text;
  return 0;
}
