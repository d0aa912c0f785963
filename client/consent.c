/* SPDX-License-Identifier: Apache-2.0 */
#include "client/consent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/site.h"

static const char *model_name(const struct cns_plan *plan) {
  return plan->kind == CNS_MODEL_LOGISTIC ? "a logistic regression"
         : plan->kind == CNS_MODEL_MLP    ? "a neural network"
                                          : "a model of its own kind";
}

static void write_features(FILE *out, const struct cns_plan *plan) {
  if (!plan->has_table) return;
  fprintf(out, "It uses %zu columns of your table: ", plan->feature_count);
  for (size_t k = 0; k < plan->feature_count; k++)
    fprintf(out, "%s%s", k ? ", " : "", plan->features[k].name);
  fprintf(out, ".\nIt learns to tell apart, in the column %s: ", plan->label_column);
  for (size_t k = 0; k < plan->class_count; k++)
    fprintf(out, "%s%s", k == 0 ? "" : k + 1 == plan->class_count ? " and " : ", ", plan->classes[k]);
  fprintf(out, ".\nRows of one patient are recognised by the column %s and stay together.\n",
          plan->patient_column);
}

/* What a round does with the table. */
static void write_round(FILE *out, const struct cns_site *site) {
  const struct cns_plan *plan = &site->plan;
  const struct cns_policy *policy = &site->kit.policy;
  if (policy->unit == CNS_UNIT_PATIENT && policy->noise_placement != CNS_NOISE_NONE)
    fprintf(out,
            "In each round your\n"
            "hospital draws each of its patients by chance, with probability %g, computes how each one\n"
            "drawn would change the model, clipped to a norm of %g, and adds that up; what leaves is that\n"
            "sum, ",
            plan->sampling_rate, plan->clip_norm);
  else if (site->trainer.command.command)
    fprintf(out,
            "In each round your\n"
            "hospital runs its own command %s, which trains on its own data for %u passes, if it\n"
            "does as the study says; what leaves is the change of the model that it writes, clipped to a\n"
            "norm of %g, ",
            site->trainer.command.command[0], plan->local_epochs, plan->clip_norm);
  else
    fprintf(out,
            "In each round your\n"
            "hospital trains on its own table for %u passes over it%s; what leaves is the change of the\n"
            "model, clipped to a norm of %g, ",
            plan->local_epochs, plan->proximal > 0 ? ", held near the received model (FedProx)" : "",
            plan->clip_norm);
  fprintf(out,
          "%smasked so that only the sum over all hospitals can be\n"
          "read. Your %s.\n",
          policy->noise_placement == CNS_NOISE_DISTRIBUTED ? "with your hospital's share of the noise, and "
                                                           : "",
          plan->has_table ? "table never leaves" : "data never leave");
}

/* What the coordinator makes of the sum; nothing of plain averages. */
static void write_optimiser(FILE *out, const struct cns_server_optimiser *o) {
  size_t arrays = cns_server_optimiser_arrays(o);
  if (arrays == 0 && o->learning_rate == 1) return;
  fprintf(out, "From the mean change the next model is made by %s, with the learning rate %g",
          cns_server_optimiser_name(o), o->learning_rate);
  if (arrays == 1) fprintf(out, " and the momentum %g", o->beta1);
  if (o->kind == CNS_SERVER_FEDADAGRAD) fprintf(out, ", beta1 %g and tau %g", o->beta1, o->tau);
  if (arrays == 2 && o->kind != CNS_SERVER_FEDADAGRAD)
    fprintf(out, ", beta1 %g, beta2 %g and tau %g", o->beta1, o->beta2, o->tau);
  fprintf(out, ".\n");
}

static void write_study(FILE *out, const struct cns_site *site) {
  const struct cns_plan *plan = &site->plan;
  fprintf(out,
          "STUDY \"%s\" of the consortium \"%s\"\n\n"
          "The hospitals train %s of %zu numbers together, in up to %u rounds. ",
          plan->name, site->kit.roster.consortium, model_name(plan), cns_plan_dim(plan), plan->rounds);
  write_round(out, site);
  if (plan->adaptive_clip.share > 0)
    fprintf(out,
            "That norm is the first round's. From then on it follows how many gradients are within it, a\n"
            "count that is masked and noised with them, between %g and %g.\n",
            plan->adaptive_clip.min, plan->adaptive_clip.max);
  write_optimiser(out, &plan->server_optimiser);
  if (plan->scaffold.steps > 0)
    fprintf(
        out,
        "Training is by SCAFFOLD: beside the model's change leaves, in the same masked sum and within the\n"
        "same norm, how your hospital's mean gradient has changed. That gradient itself is kept in the\n"
        "agent's state folder.\n");
  write_features(out, plan);
  if (plan->validation_share == 0) return;
  fprintf(out, "%.0f of 100 patients are set aside here to test the model and are never trained on.\n",
          100 * plan->validation_share);
}

static void write_weight(FILE *out, const struct cns_site *site, uint32_t weight) {
  fprintf(out,
          "\nWHAT BECOMES PUBLIC\n\n"
          "Your consent tells the coordinator that you have about %u patients in this study, rounded as\n"
          "the policy says; your hospital counts with weight %u in the mean, which all hospitals see.\n",
          cns_policy_patients(&site->kit.policy, site->patients), weight);
  if (site->kit.policy.metrics_noised)
    fprintf(out,
            "How well the model fits the patients drawn, their loss (at most %g of each) and how many it\n"
            "classifies rightly, enters the sums of all hospitals with noise, within the same budget.\n",
            site->plan.noised_metrics.loss_max);
  if (!site->kit.policy.metrics) return;
  fprintf(out,
          "Your patients set aside enter the sums from which loss and AUC of all hospitals together are\n"
          "computed.\n");
}

static int describe(const struct cns_site *site, uint32_t weight, char **ret_text) {
  char *text = NULL, *policy = NULL;
  size_t len = 0;
  int r = cns_policy_describe(&site->kit.policy, site->kit.roster.hospital_count, &policy);
  if (r) return r;
  FILE *out = open_memstream(&text, &len);
  if (out) {
    write_study(out, site);
    fprintf(out, "\nYOUR %s, %s\n\n%s\nPOLICY\n\n%s", site->plan.has_table ? "TABLE" : "DATA",
            site->kit.config.data_path, site->report, policy);
    write_weight(out, site, weight);
  }
  free(policy);
  if (!out || fclose(out) != 0) {
    free(text);
    return CNS_ERR_MEMORY;
  }
  *ret_text = text;
  return 0;
}

static int sign_and_keep(const struct cns_site *site, const struct cns_consent *consent,
                         struct cns_problem *problem) {
  uint8_t *document = NULL;
  size_t len = 0;
  int r = cns_consent_make(consent, site->kit.identity, &document, &len);
  if (r) return cns_problem_set(problem, r, "the consent can't be signed (%s)", cns_error_name(r));
  r = cns_hospital_store_put_consent(site->store, &site->study, document, len, problem);
  free(document);
  return r;
}

static int give(const struct cns_client_consent_options *options, const struct cns_site *site,
                struct cns_client_consent_result *ret_result, struct cns_problem *problem) {
  const struct cns_kit_config *config = &site->kit.config;
  struct cns_client_consent_result result = {0};
  struct cns_consent *consent = &result.consent;
  snprintf(consent->consortium, sizeof consent->consortium, "%s", site->kit.roster.consortium);
  snprintf(consent->study, sizeof consent->study, "%s", site->plan.name);
  snprintf(consent->name, sizeof consent->name, "%s", config->name);
  consent->plan = site->kit.study_document.digest;
  consent->index = config->index;
  consent->patients = cns_policy_patients(&site->kit.policy, site->patients); /* the exact one stays here */
  consent->given_at = (int64_t)time(NULL);
  result.weight = cns_policy_weight(&site->kit.policy, site->patients);
  int r = describe(site, result.weight, &result.text);
  if (r) return cns_problem_set(problem, r, "out of memory");
  if (!options->assume_yes) r = options->ask ? options->ask(options->context, result.text) : CNS_ERR_STATE;
  if (r)
    cns_problem_set(problem, r,
                    r == CNS_ERR_STATE ? "nobody is there to agree; to agree without being asked, give --yes"
                                       : "no consent was given");
  if (!r) r = sign_and_keep(site, consent, problem);
  if (r)
    free(result.text);
  else
    *ret_result = result;
  return r;
}

int cns_client_consent(const struct cns_client_consent_options *options,
                       struct cns_client_consent_result *ret_result, struct cns_problem *problem) {
  struct cns_site site;
  int r = cns_site_open(options->kit_folder, &site, problem);
  if (r) return r;
  r = give(options, &site, ret_result, problem);
  cns_site_deinit(&site);
  return r;
}

int cns_client_consent_withdraw(const char *kit_folder, struct cns_problem *problem) {
  struct cns_site site;
  int r = cns_site_open_record(kit_folder, &site, problem);
  if (r) return r;
  r = cns_hospital_store_withdraw_consent(site.store, &site.study, problem);
  cns_site_deinit(&site);
  return r;
}
