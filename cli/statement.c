/* SPDX-License-Identifier: Apache-2.0 */
/* `consilium budget statement`: everything in it follows from policy, study and ledger. What was
 * spent is in statement_spent.c. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "cli/statement.h"

void cns_statement_time(int64_t seconds, char out[static 32]) {
  time_t value = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&value, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0)
    snprintf(out, 32, "an unknown time");
}

struct hex {
  char text[2 * CNS_DIGEST_BYTES + 1];
};

static struct hex hex_of(const uint8_t bytes[static CNS_DIGEST_BYTES]) {
  struct hex hex;
  cns_hex_encode(bytes, CNS_DIGEST_BYTES, hex.text);
  return hex;
}

static bool patients(const struct cns_budget_view *view) {
  return view->site->kit.policy.unit == CNS_UNIT_PATIENT;
}

static bool central(const struct cns_budget_view *view) {
  return view->site->kit.policy.noise_placement == CNS_NOISE_CENTRAL;
}

static bool audited(const struct cns_budget_view *view) {
  return view->site->kit.policy.audit_level != CNS_AUDIT_NONE;
}

static void write_ledger_facts(struct cns_page *page, const struct cns_budget_view *view) {
  char when[32];
  if (view->last.sequence == 0) {
    cns_page_fact(page, "Privacy ledger", "%s",
                  view->lost
                      ? "missing, though the key of its owner is there: what it held isn't in this page"
                      : "no entry yet");
    return;
  }
  cns_statement_time(view->last.time, when);
  cns_page_fact(page, "Privacy ledger",
                "%" PRIu64 " entries, the last one of %s; all signatures and digests hold",
                view->last.sequence, when);
  cns_page_fact(page, "Digest of that entry", "%s", hex_of(view->last.digest.bytes).text);
  cns_page_fact(page, "Owner of the ledger", "%s", hex_of(view->owner.bytes).text);
}

static void write_origin(struct cns_page *page, const struct cns_budget_view *view, int64_t made_at) {
  const struct cns_kit *kit = &view->site->kit;
  char made[32], until[32];
  cns_statement_time(made_at, made);
  cns_statement_time(kit->policy.valid_until, until);
  cns_page_facts(page, true);
  cns_page_fact(page, "Consortium", "%s", kit->roster.consortium);
  cns_page_fact(page, "Study", "%s, version %" PRIu64, view->site->plan.name, view->site->plan.version);
  cns_page_fact(page, "Digest of the study", "%s", hex_of(kit->study_document.digest.bytes).text);
  cns_page_fact(page, "Policy", "version %" PRIu64 ", valid until %s", kit->policy.version, until);
  cns_page_fact(page, "Digest of the policy", "%s", hex_of(kit->policy.digest.bytes).text);
  if (view->role == CNS_KIT_HOSPITAL)
    cns_page_fact(page, "Made by", "hospital %u, %s, from its own ledger of its data", kit->config.index,
                  kit->config.name);
  else
    cns_page_fact(page, "Made by", "the coordinator, from its ledger of the study");
  cns_page_fact(page, "Made at", "%s, by Consilium " CNS_VERSION, made);
  write_ledger_facts(page, view);
  cns_page_facts(page, false);
}

static void write_unit(struct cns_page *page, const struct cns_budget_view *view) {
  const struct cns_policy_privacy *p = &view->site->kit.policy.privacy;
  bool replaced = p->relation == CNS_DP_REPLACE_ONE;
  cns_page_heading(page, "Who is protected, and what is promised");
  if (patients(view))
    cns_page_paragraph(page,
                       "Each patient of each hospital, with all rows of that patient. Two data sets are "
                       "compared that differ by one patient of one hospital: %s.",
                       replaced ? "one is replaced by another (replace-one)"
                                : "one more or less (add-remove)");
  else
    cns_page_paragraph(page,
                       "Each hospital's data as a whole. Two consortia are compared that differ by one "
                       "hospital's contribution: %s.",
                       replaced ? "it is replaced by another one (replace-one)"
                                : "it is there or not (add-remove)");
  cns_page_paragraph(page,
                     "Whatever an observer makes of all it sees, the probability of any outcome differs "
                     "between the two by a factor of at most e^epsilon, but for a probability of delta. "
                     "The policy allows the study epsilon %.6g at delta %g towards readers of the models.",
                     p->epsilon, p->delta);
  if (p->large_delta)
    cns_page_paragraph(page,
                       "The policy permits a delta above one over the number of %ss, which makes this a "
                       "weak promise.",
                       patients(view) ? "patient" : "hospital");
}

static void write_observers(struct cns_page *page, const struct cns_budget_view *view) {
  const struct cns_policy *policy = &view->site->kit.policy;
  unsigned c = policy->colluders;
  cns_page_heading(page, "From whom, and whom one has to trust");
  cns_page_list(page, true);
  cns_page_item(page,
                "Readers: whoever sees the models of all rounds, the other hospitals included, and knows "
                "everything about all other %ss.",
                patients(view) ? "patient" : "hospital");
  if (central(view)) {
    cns_page_item(page, "The coordinator is not an observer that anybody is protected from: it sees each sum "
                        "without noise, so its epsilon is infinite.");
    cns_page_item(page, "To be trusted: the coordinator, which draws and adds the noise, keeps the sums to "
                        "itself and counts. A hospital can't check that the noise was added.");
  } else {
    cns_page_item(page, "The coordinator, which sees the same sums with their noise%s.",
                  audited(view) ? ", and in audited rounds numbers computed from single updates, behind one "
                                  "hospital's share of the noise alone: its epsilon is larger"
                                : " and nothing else: its epsilon is that of readers");
    cns_page_item(page,
                  "Trusted for the noise is nobody alone. Each hospital adds its own share; up to %u "
                  "hospital%s of a sum may have left theirs out, or tell it to an observer (a hospital that "
                  "is the observer knows its own, and is one of these). If more do, "
                  "there is less noise than is counted.",
                  c, c == 1 ? "" : "s");
  }
  cns_page_item(page,
                "To be trusted by its own patients: each hospital, that it runs this program as it is on "
                "its true data, and%s keeps its ledger.",
                patients(view) ? " draws who takes part in secret, clips and" : " clips and");
  cns_page_list(page, false);
}

static void write_placement(struct cns_page *page, const struct cns_policy *policy) {
  unsigned included = policy->minimum_included, c = policy->colluders, shares = included - c;
  if (policy->noise_placement == CNS_NOISE_CENTRAL) {
    cns_page_fact(page, "Placement", "central: the coordinator adds it to the sum that it has opened");
    cns_page_fact(page, "Smallest sum", "%u hospitals", included);
    return;
  }
  cns_page_fact(page, "Placement", "distributed: each hospital adds its share, before the update leaves it");
  cns_page_fact(page, "Smallest sum", "%u hospitals: no sum of fewer is opened, however many drop out",
                included);
  cns_page_fact(page, "Colluders assumed",
                "%u; with them %u share%s of the noise remain%s in the smallest sum", c, shares,
                shares == 1 ? "" : "s", shares == 1 ? "s" : "");
  cns_page_fact(page, "Each share",
                "the whole standard deviation over the root of %u. What more hospitals add isn't credited",
                shares);
}

static void write_clip_norm(struct cns_page *page, const struct cns_plan *plan,
                            const struct cns_policy *policy) {
  const struct cns_adaptive_clip *a = &plan->adaptive_clip;
  if (a->share == 0) {
    cns_page_fact(page, "Clip norm", "%.6g (L2; the policy allows %.6g)", plan->clip_norm,
                  policy->clip_norm_max);
    return;
  }
  cns_page_fact(
      page, "Clip norm",
      "adaptive (L2): %.6g in the first round; then it follows the gradients' norms, so that a share "
      "of %.6g is within it, at a rate of %.6g, between %.6g and %.6g (the policy allows %.6g)",
      plan->clip_norm, a->quantile, a->rate, a->min, a->max, policy->clip_norm_max);
  cns_page_fact(
      page, "How many are within it",
      "one number more in the same sum, under the same noise. A share of %.6g of what a round gives "
      "away is that count's: it has noise of %.4g patients, and the gradients %.6g times the clip "
      "norm. The noise multiplier below is that of both together, whatever the clip norm is",
      a->share, plan->noise_multiplier / (2 * sqrt(a->share)), plan->noise_multiplier / sqrt(1 - a->share));
}

/* With an adaptive clip norm the rest of the noise is the gradients' and the count's. */
static void write_metrics(struct cns_page *page, const struct cns_plan *plan,
                          const struct cns_policy *policy) {
  const struct cns_noised_metrics *m = &plan->noised_metrics;
  if (m->share > 0)
    cns_page_fact(page, "Metrics on patients",
                  "noised: the loss (at most %.6g of a patient) and the right answers of the patients drawn, "
                  "two numbers "
                  "more in the same sum, under the same noise. A share of %.6g of what a round gives away is "
                  "theirs: each "
                  "has noise of %.4g patients, and all other numbers %.6g times what they would have",
                  m->loss_max, m->share, plan->noise_multiplier / sqrt(2 * m->share), 1 / sqrt(1 - m->share));
  else
    cns_page_fact(page, "Metrics on patients", "%s",
                  policy->metrics          ? "exact"
                  : policy->metrics_public ? "none; the coordinator has a public test set"
                                           : "off");
}

static void write_mechanism(struct cns_page *page, const struct cns_budget_view *view) {
  const struct cns_policy *policy = &view->site->kit.policy;
  const struct cns_plan *plan = &view->site->plan;
  cns_page_heading(page, "Mechanism");
  cns_page_facts(page, true);
  cns_page_fact(page, "A round", "%s",
                patients(view)
                    ? "one sum, over all hospitals, of the gradients of the patients drawn for it, "
                      "each clipped by itself (DP-SGD)"
                    : "one sum of the hospitals' updates, each clipped as a whole");
  write_clip_norm(page, plan, policy);
  cns_page_fact(
      page, "Noise multiplier",
      "%.10g: the standard deviation of a sum's noise over what one %s can change (the policy asks for "
      "%.6g at the least)",
      plan->noise_multiplier, patients(view) ? "patient" : "hospital", policy->privacy.multiplier_min);
  cns_page_fact(page, "Sampling rate",
                "%.6g: the probability that a %s takes part in a round (the policy allows %.6g)%s",
                plan->sampling_rate, patients(view) ? "patient" : "hospital", policy->privacy.rate_max,
                patients(view) ? "; independent of the others, and anew in each round (Poisson sampling)"
                               : "");
  write_placement(page, policy);
  cns_page_fact(page, "Noise",
                "discrete Gaussian on the integer grid of the masked sum, at least %g steps wide; "
                "its scale includes what rounding to the grid adds to the sensitivity",
                CNS_MECHANISM_SIGMA_MIN);
  cns_page_fact(page, "Drawn noise",
                "each number is within a statistical distance of 2^-104 of what is accounted; for "
                "that, each round is charged %.3g of delta",
                view->next[CNS_LEDGER_READERS].extra_delta);
  cns_page_fact(page, "Cohort", "at least %u hospitals", policy->minimum_cohort);
  cns_page_fact(page, "Model", "%zu parameters", cns_plan_dim(plan));
  cns_page_fact(page, "Rounds planned", "%u; up to %u updates may be spent on the same model", plan->rounds,
                policy->attempts_per_parent);
  cns_page_fact(page, "Audit", "%s", audited(view) ? "yes" : "none");
  write_metrics(page, plan, policy);
  cns_page_facts(page, false);
}

static void write_uncovered_people(struct cns_page *page, const struct cns_budget_view *view) {
  if (patients(view)) {
    cns_page_item(page, "A patient known in two hospitals counts as two, and is exposed to the sum of both.");
    cns_page_item(page,
                  "Groups: of a family of k patients epsilon is up to k times as large, and delta more than "
                  "that. What holds for many of a hospital's patients (its case mix) isn't hidden.");
  } else {
    cns_page_item(page,
                  "A group of k hospitals: epsilon is up to k times as large, and delta more than that.");
  }
  cns_page_item(
      page, "The same patients under another name: a copy of the table with a ledger of its own, a second "
            "export, a study elsewhere. Nothing here compares patients.");
  cns_page_item(page,
                "What leaves by another way: figures, tables and models made of the same data without this "
                "program, and a study's parameters or column ranges if they were chosen by looking at it. "
                "Metrics are %s in this study.",
                view->site->kit.policy.metrics          ? "on"
                : view->site->kit.policy.metrics_noised ? "noised, and counted,"
                                                        : "off");
}

static void write_uncovered(struct cns_page *page, const struct cns_budget_view *view) {
  unsigned c = view->site->kit.policy.colluders;
  cns_page_heading(page, "What is not covered");
  cns_page_list(page, true);
  write_uncovered_people(page, view);
  if (view->site->plan.initial_from_file)
    cns_page_item(page,
                  "The model that the study starts from: what it says of the patients it was made with.");
  if (!central(view))
    cns_page_item(page, "More than %u hospital%s of a sum that leave out their noise or tell it.", c,
                  c == 1 ? "" : "s");
  else
    cns_page_item(page, "The coordinator, its operators, and whoever breaks into it.");
  cns_page_item(
      page, "Refusals and times: that a hospital declines a round, or how long it takes, may depend on its "
            "patients. So may who takes part; the numbers of patients that hospitals declare are public, "
            "rounded as the policy says.");
  cns_page_item(
      page, "The hospital's own staff and machines, and the ledger's owner: whoever holds its key can write "
            "another one, which only those notice who kept a signed head of this one.");
  cns_page_item(
      page, "That a patient resembles the others: what the models say of people like that patient, they say "
            "with or without that patient in the data.");
  cns_page_item(page,
                "Randomness is AES-256 and ChaCha20 keyed by the operating system; it is taken to be as good "
                "as uniform.");
  cns_page_list(page, false);
}

int cns_statement_write(const struct cns_budget_view *view, int64_t made_at, struct cns_page *page,
                        struct cns_problem *problem) {
  char title[200];
  snprintf(title, sizeof title, "Differential privacy of the study %s", view->site->plan.name);
  cns_page_begin(page, title);
  write_origin(page, view, made_at);
  write_unit(page, view);
  write_observers(page, view);
  write_mechanism(page, view);
  int r = cns_statement_spent(page, view, problem);
  write_uncovered(page, view);
  cns_page_end(page);
  return r;
}
