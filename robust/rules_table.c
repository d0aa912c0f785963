/* SPDX-License-Identifier: Apache-2.0 */
/* What there is, in words; names that are nearly right. */
#include <stdio.h>
#include <string.h>

#include "robust/names.h"
#include "robust/robust.h"

static const struct cns_robust_about rules[CNS_ROBUST_RULE_COUNT] = {
    [CNS_ROBUST_MEAN] = {.name = "mean",
                         .formula = "sum of w_i x_i over sum of w_i",
                         .breakdown = "none (f = 0)",
                         .cost = "O(n d)",
                         .source = "McMahan et al., AISTATS 2017, section 2 (FedAvg)",
                         .params = "",
                         .variants = "",
                         .takes_weights = true},
    [CNS_ROBUST_MEDIAN] = {.name = "median",
                           .formula =
                               "coordinate by coordinate: the median; of an even number the mean of the "
                               "two in the middle",
                           .breakdown = "f < n/2",
                           .cost = "O(n log^2 n d)",
                           .source = "Yin et al., ICML 2018, definition 1",
                           .params = "",
                           .variants = "",
                           .takes_weights = true},
    [CNS_ROBUST_TRIMMED_MEAN] = {.name = "trimmed-mean",
                                 .formula =
                                     "coordinate by coordinate: the mean without the f smallest and the "
                                     "f largest",
                                 .breakdown = "f < n/2",
                                 .cost = "O(n log^2 n d)",
                                 .source = "Yin et al., ICML 2018, definition 2",
                                 .params = "",
                                 .variants = "",
                                 .takes_byzantine = true,
                                 .takes_weights = true},
    [CNS_ROBUST_MEAMED] = {.name = "meamed",
                           .formula = "coordinate by coordinate: the mean of the n-f values nearest to the "
                                      "median",
                           .breakdown = "f < n/2",
                           .cost = "O(n log^2 n d)",
                           .source = "Xie, Koyejo, Gupta 2018 (arXiv:1802.10116), definition 8",
                           .params = "",
                           .variants = "",
                           .takes_byzantine = true,
                           .takes_weights = true},
    [CNS_ROBUST_GEOMETRIC_MEDIAN] = {.name = "geometric-median",
                                     .formula = "the z of least sum of w_i ||x_i - z||, distances below nu "
                                                "smoothed",
                                     .breakdown = "f < n/2",
                                     .cost = "O(n^2 d)",
                                     .source = "Pillutla, Kakade, Harchaoui, IEEE TSP 2022, section 3 (RFA)",
                                     .params = "nu iterations",
                                     .variants = "",
                                     .takes_weights = true},
    [CNS_ROBUST_KRUM] = {.name = "krum",
                         .formula = "the x_i of least sum of squared distances to its n-f-2 nearest others",
                         .breakdown = "2f + 2 < n",
                         .cost = "O(n^2 d)",
                         .source = "Blanchard et al., NIPS 2017, section 4",
                         .params = "",
                         .variants = "byzfl",
                         .takes_byzantine = true},
    [CNS_ROBUST_MULTI_KRUM] = {.name = "multi-krum",
                               .formula = "the mean of the n-f rows of least Krum score",
                               .breakdown = "2f + 2 < n",
                               .cost = "O(n^2 d)",
                               .source = "Blanchard et al., NIPS 2017, section 4 (m = n-f)",
                               .params = "",
                               .variants = "byzfl",
                               .takes_byzantine = true},
    [CNS_ROBUST_BULYAN] = {.name = "bulyan",
                           .formula = "n-2f rows chosen by Krum one after another; of these, coordinate by "
                                      "coordinate, the mean of the n-4f values nearest to their median",
                           .breakdown = "4f + 3 <= n",
                           .cost = "O(n^2 d)",
                           .source = "El Mhamdi, Guerraoui, Rouault, ICML 2018, section 4",
                           .params = "",
                           .variants = "flower",
                           .takes_byzantine = true},
    [CNS_ROBUST_CENTERED_CLIPPING] = {.name = "centered-clipping",
                                      .formula = "v = 0; v += sum of w_i (x_i - v) min(1, tau/||x_i - v||), "
                                                 "`iterations` times",
                                      .breakdown = "f < n/2",
                                      .cost = "O(n d) for one iteration, else O(n^2 d)",
                                      .source = "Karimireddy, He, Jaggi, ICML 2021, algorithm 2",
                                      .params = "iterations tau",
                                      .variants = "",
                                      .takes_weights = true},
    [CNS_ROBUST_MDA] = {.name = "mda",
                        .formula = "the mean of the n-f rows of smallest diameter",
                        .breakdown = "f < n/2",
                        .cost = "O(n^2 d + 2^f n^2 log n)",
                        .source = "El Mhamdi et al., NeurIPS 2021, section 3 (minimum-diameter averaging)",
                        .params = "",
                        .variants = "",
                        .takes_byzantine = true},
    [CNS_ROBUST_SMEA] = {.name = "smea",
                         .formula = "the mean of the n-f rows whose covariance has the least largest "
                                    "eigenvalue",
                         .breakdown = "f < n/2",
                         .cost = "O(n^2 d + C(n,f) n^2)",
                         .source =
                             "Allouah et al., ICML 2023, section 5 (smallest maximum eigenvalue averaging)",
                         .params = "",
                         .variants = "",
                         .takes_byzantine = true},
    [CNS_ROBUST_CAF] = {.name = "caf",
                        .formula =
                            "c_i *= 1 - t_i/max t, t_i the squared projection on the main direction of "
                            "the c-weighted covariance, until sum c <= n-2f; the mean of least variance",
                        .breakdown = "f < n/2",
                        .cost = "O(n^2 d + n^4)",
                        .source = "Allouah, Guerraoui, Stephan, ICML 2025 (covariance-bound agnostic filter)",
                        .params = "",
                        .variants = "byzfl",
                        .takes_byzantine = true,
                        .takes_weights = true},
    [CNS_ROBUST_MONNA] = {.name = "monna",
                          .formula = "the mean of the n-f rows nearest to row `pivot`, itself among them",
                          .breakdown = "f < n/2 if the pivot is honest",
                          .cost = "O(n d)",
                          .source = "Farhadkhani et al., ICML 2023, algorithm 1 (MoNNA)",
                          .params = "pivot",
                          .variants = "",
                          .takes_byzantine = true,
                          .takes_weights = true},
    [CNS_ROBUST_DNC] = {.name = "dnc",
                        .formula =
                            "the mean of the rows that, in each of `iterations` draws of 10000 "
                            "coordinates, aren't among the f of largest projection on the main direction",
                        .breakdown = "f < n/2, f * iterations < n",
                        .cost = "O(n d + n^2 10000 iterations)",
                        .source = "Shejwalkar, Houmansadr, NDSS 2021, algorithm 2 (divide and conquer)",
                        .params = "iterations seed",
                        .variants = "",
                        .takes_byzantine = true},
    [CNS_ROBUST_FLTRUST] = {.name = "fltrust",
                            .formula = "mean of x_i ||g||/||x_i||, weighted by max(0, cos(x_i, g)), g the "
                                       "reference",
                            .breakdown = "any f if the reference is honest",
                            .cost = "O(n d)",
                            .source = "Cao et al., NDSS 2021, section IV",
                            .params = "reference",
                            .variants = "",
                            .takes_weights = true},
    [CNS_ROBUST_CLIPPED_MEAN] = {.name = "clipped-mean",
                                 .formula = "mean of w_i x_i min(1, norm/||x_i||)",
                                 .breakdown = "none: each row moves it by norm/n at most",
                                 .cost = "O(n d)",
                                 .source =
                                     "Sun et al. 2019 (arXiv:1911.07963), section 4 (norm thresholding)",
                                 .params = "norm",
                                 .variants = "",
                                 .takes_weights = true},
};

static const struct cns_robust_about pres[CNS_ROBUST_PRE_COUNT] = {
    [CNS_ROBUST_NNM] = {.name = "nnm",
                        .formula = "row i becomes the mean of the n-f rows nearest to it, itself among them",
                        .breakdown = "f < n/2",
                        .cost = "O(n^2 d)",
                        .source = "Allouah et al., AISTATS 2023, section 3 (nearest neighbour mixing)",
                        .params = "",
                        .variants = "",
                        .takes_byzantine = true,
                        .takes_weights = true},
    [CNS_ROBUST_BUCKETING] = {.name = "bucketing",
                              .formula =
                                  "rows in an order drawn from `seed`; means of `size` after one another",
                              .breakdown = "that of the rule for ceil(n/size) rows",
                              .cost = "O(n d)",
                              .source = "Karimireddy, He, Jaggi, ICLR 2022, algorithm 1",
                              .params = "size seed",
                              .variants = "",
                              .takes_weights = true},
    [CNS_ROBUST_CLIPPING] = {.name = "clipping",
                             .formula = "x_i min(1, norm/||x_i||)",
                             .breakdown = "that of the rule",
                             .cost = "O(n d)",
                             .source = "Sun et al. 2019 (arXiv:1911.07963), section 4 (norm thresholding)",
                             .params = "norm",
                             .variants = "",
                             .takes_weights = true},
    [CNS_ROBUST_ARC] = {.name = "arc",
                        .formula = "the floor(2f(n-f)/n) longest rows are clipped to the length of the next",
                        .breakdown = "that of the rule",
                        .cost = "O(n d)",
                        .source = "Allouah et al., ICLR 2025, algorithm 2 (adaptive robust clipping)",
                        .params = "",
                        .variants = "",
                        .takes_byzantine = true,
                        .takes_weights = true},
};

const struct cns_robust_about *cns_robust_about_rule(enum cns_robust_rule rule) {
  return &rules[rule];
}

const struct cns_robust_about *cns_robust_about_pre(enum cns_robust_pre pre) {
  return &pres[pre];
}

/* More than there are of either kind. */
#define NAMES_MAX 32

static int find(const struct cns_robust_about *list, size_t count, const char *what, const char *name,
                size_t *ret_index, struct cns_problem *problem) {
  const char *names[NAMES_MAX];
  char all[320] = "";
  for (size_t k = 0, at = 0; k < count; k++) {
    if (strcmp(name, list[k].name) == 0) {
      *ret_index = k;
      return 0;
    }
    names[k] = list[k].name;
    if (at < sizeof all) at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", k ? ", " : "", names[k]);
  }
  const char *nearest = cns_names_nearest(name, names, count);
  if (nearest)
    return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "there is no %s '%.40s'; did you mean '%s'?", what,
                           name, nearest);
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "there is no %s '%.40s'; there are %s", what, name, all);
}

_Static_assert(CNS_ROBUST_RULE_COUNT <= NAMES_MAX && CNS_ROBUST_PRE_COUNT <= NAMES_MAX, "room for names");

int cns_robust_find_rule(const char *name, enum cns_robust_rule *ret_rule, struct cns_problem *problem) {
  size_t index;
  int r = find(rules, CNS_ROBUST_RULE_COUNT, "rule", name, &index, problem);
  if (r == 0) *ret_rule = (enum cns_robust_rule)index;
  return r;
}

int cns_robust_find_pre(const char *name, enum cns_robust_pre *ret_pre, struct cns_problem *problem) {
  size_t index;
  int r = find(pres, CNS_ROBUST_PRE_COUNT, "pre-aggregation", name, &index, problem);
  if (r == 0) *ret_pre = (enum cns_robust_pre)index;
  return r;
}
