/* SPDX-License-Identifier: Apache-2.0 */
/* Does a study fit the policy? Said before the first round, since it would be refused in each. */
#include "protocol/policy.h"

#define REFUSE(...) return cns_problem_set(problem, CNS_ERR_REFUSED, __VA_ARGS__)
#define WHOM "ask the privacy officer or the study's authors"

static int check_unit(const struct cns_policy *policy, const struct cns_policy_study *study,
                      struct cns_problem *problem) {
  if (policy->unit == CNS_UNIT_HOSPITAL && study->sampling_rate != 1)
    REFUSE(
        "the study's sampling rate is %g, but the policy protects hospitals, and each of them takes part in "
        "every round: it must be 1; " WHOM,
        study->sampling_rate);
  /* Who is held out depends on how many patients there are: one more would change which others train. */
  if (policy->unit == CNS_UNIT_PATIENT && study->validation_share != 0)
    REFUSE(
        "the study's validation share is %g, but the policy protects patients: one patient more could move "
        "another one out of the training data, which the noise isn't made for; it must be 0; " WHOM,
        study->validation_share);
  if (policy->unit == CNS_UNIT_PATIENT &&
      (study->local_epochs != 1 || study->momentum != 0 || study->proximal != 0))
    REFUSE("the policy protects patients, so a round is one step on a sum of clipped gradients: the study "
           "must have "
           "1 local epoch (it has %u), no momentum (it has %g) and no proximal term (it has %g); " WHOM,
           study->local_epochs, study->momentum, study->proximal);
  return 0;
}

static int check_noise(const struct cns_policy *policy, const struct cns_policy_study *study,
                       struct cns_problem *problem) {
  const struct cns_policy_privacy *p = &policy->privacy;
  bool noisy = policy->noise_placement != CNS_NOISE_NONE;
  if (noisy != (study->noise_multiplier > 0))
    REFUSE("%s; " WHOM,
           noisy ? "the policy asks for noise, but the study has no \"privacy\" section that says how much"
                 : "the study has a \"privacy\" section, but the policy's noise is \"none\", so there is "
                   "no budget for it");
  if (!noisy) return 0;
  if (study->noise_multiplier < p->multiplier_min)
    REFUSE("the study's noise multiplier is %g, but the policy allows none below %g; " WHOM,
           study->noise_multiplier, p->multiplier_min);
  if (study->sampling_rate > p->rate_max)
    REFUSE("the study's sampling rate is %g, but the policy allows none above %g; " WHOM,
           study->sampling_rate, p->rate_max);
  return check_unit(policy, study, problem);
}

/* The count that an adaptive clip norm follows. */
static int check_adaptive_clip(const struct cns_policy *policy, const struct cns_policy_study *study,
                               struct cns_problem *problem) {
  if (!study->adaptive_clip) return 0;
  if (policy->unit != CNS_UNIT_PATIENT)
    REFUSE("the study's clip norm is adaptive, but the policy protects hospitals: of so few, a count with "
           "noise says nothing; adaptive clip norms are for unit patient; " WHOM);
  /* What is charged for an audit depends on the clip norm, and so on earlier rounds' results. */
  if (policy->audit_level != CNS_AUDIT_NONE)
    REFUSE("the study's clip norm is adaptive, but the policy asks for an audit: the two aren't offered "
           "together; " WHOM);
  return 0;
}

static int check_noised_metrics(const struct cns_policy *policy, const struct cns_policy_study *study,
                                struct cns_problem *problem) {
  if (study->noised_metrics == policy->metrics_noised) return 0;
  if (policy->metrics_noised)
    REFUSE("the policy's metrics are \"noised\", but the study has no \"metrics\" in its \"privacy\" section "
           "that say which share of the noise is for them; " WHOM);
  REFUSE("the study has \"metrics\" in its \"privacy\" section, but the policy's metrics aren't "
         "\"noised\"; " WHOM);
}

int cns_policy_check_study(const struct cns_policy *policy, const struct cns_policy_study *study,
                           struct cns_problem *problem) {
  if (study->clip_norm > policy->clip_norm_max)
    REFUSE("the study's clip norm is %g, but the policy allows %g at the most; " WHOM, study->clip_norm,
           policy->clip_norm_max);
  if (policy->unit == CNS_UNIT_PATIENT && study->scaffold)
    REFUSE("the policy protects patients, and a control variate of SCAFFOLD is the mean gradient of a whole "
           "table, which the noise isn't made for: the study must do without training.scaffold; " WHOM);
  if (study->by_patients != (policy->weights_mode == CNS_WEIGHTS_PATIENTS))
    REFUSE("the study weighs hospitals %s, the policy %s; " WHOM,
           study->by_patients ? "by patients" : "equally", study->by_patients ? "equally" : "by patients");
  int r = check_noise(policy, study, problem);
  if (r == 0) r = check_adaptive_clip(policy, study, problem);
  return r ? r : check_noised_metrics(policy, study, problem);
}
