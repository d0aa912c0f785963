/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The study file: what is trained, on which columns, how. Signed and consented
 * to by each hospital, so it is strict: every field required, unknown fields
 * refused. docs/study.md describes the JSON with an example; this struct is its
 * image, plain, read-only after parsing.
 *
 * Parameters are one flat vector of dim floats: for each layer its weight
 * [outputs, inputs] row by row, then its bias [outputs]; tensors are named
 * "layer0.weight", "layer0.bias", "layer1.weight", ... The last layer gives one
 * logit per class (softmax, also for two classes). For two classes the second
 * is the positive one. Of an external model the study file names the tensors; they
 * lie in the vector in the order of their names' bytes.
 */
#pragma once

#include "crypto/base.h"
#include "dp/adaptive_clip.h"
#include "dp/noised_metrics.h"
#include "model/server_optimiser.h"
#include "model/tensors.h"

#define CNS_PLAN_BYTES_MAX (4u << 20)
#define CNS_PLAN_DIM_MAX ((size_t)1 << 28) /* parameters; 1 GiB of floats */
#define CNS_PLAN_NAME_MAX 64               /* of the study: letters, digits, '-', '_', '.' */
#define CNS_PLAN_TEXT_MAX 200              /* bytes of a column or class name */
#define CNS_PLAN_CLASSES_MAX 100
#define CNS_PLAN_FEATURES_MAX 10000
#define CNS_PLAN_HIDDEN_MAX 8
#define CNS_PLAN_WIDTH_MAX 65536
#define CNS_PLAN_SEED_MAX ((int64_t)1 << 53)

enum cns_plan_missing { CNS_MISSING_DROP = 0, CNS_MISSING_IMPUTE = 1 };
/* External: of any architecture; only its tensors are known here, and a command trains it (client/trainer.h).
 */
enum cns_plan_kind { CNS_MODEL_LOGISTIC = 0, CNS_MODEL_MLP = 1, CNS_MODEL_EXTERNAL = 2 };
enum cns_plan_activation { CNS_ACTIVATION_RELU = 0, CNS_ACTIVATION_TANH = 1 };
enum cns_plan_weighting { CNS_WEIGHTING_EQUAL = 0, CNS_WEIGHTING_PATIENTS = 1 };

struct cns_plan_feature {
  char *name;
  double min; /* public range; min < max */
  double max;
  enum cns_plan_missing missing;
  double impute; /* within the range; only with CNS_MISSING_IMPUTE */
};

/* SCAFFOLD (model/scaffold.h). steps 0: it is left out. */
struct cns_plan_scaffold {
  uint32_t steps;     /* about so many local steps has a hospital in a round: only a public scale */
  uint32_t hospitals; /* N: so many take part in the study */
};

struct cns_plan {
  char name[CNS_PLAN_NAME_MAX + 1];
  uint64_t version;
  /* Always, but for an external model whose data only the hospital's command can read. Without it
   * there are no label, classes, patient column and features. */
  bool has_table;
  char *label_column;
  char **classes;
  size_t class_count; /* 2..CNS_PLAN_CLASSES_MAX */
  char *patient_column;
  struct cns_plan_feature *features;
  size_t feature_count;

  enum cns_plan_kind kind;
  size_t hidden[CNS_PLAN_HIDDEN_MAX]; /* widths; none for logistic regression */
  size_t hidden_count;
  enum cns_plan_activation activation;
  struct cns_tensor_list tensors; /* of an external model; else empty */

  uint32_t rounds;
  uint32_t local_epochs;
  double learning_rate;
  double momentum;
  uint32_t batch;
  uint64_t seed;    /* of shuffles and of the validation split */
  double clip_norm; /* L2 norm of one hospital's unweighted update, in unit patient of one patient's
                       gradient; the first round's if it is adaptive */

  struct cns_plan_scaffold scaffold;
  double proximal;                              /* mu of the term mu/2 |w - parent|^2; left out: 0 */
  struct cns_server_optimiser server_optimiser; /* left out: FedAvg with learning rate 1 */

  /* "privacy", which studies without noise leave out: then both are 0. */
  double noise_multiplier; /* standard deviation of the noise over what one unit can change */
  double sampling_rate;    /* probability that a patient takes part in a round; 1 in unit hospital */
  struct cns_adaptive_clip adaptive_clip;   /* share 0: the clip norm is fixed */
  struct cns_noised_metrics noised_metrics; /* share 0: there are none */

  bool initial_from_file;
  uint64_t initial_seed;                    /* without a file */
  char *initial_file;                       /* name without a folder */
  uint8_t initial_digest[CNS_DIGEST_BYTES]; /* BLAKE2b-256 of the file, unkeyed: `b2sum -l 256` */

  enum cns_plan_weighting weighting;
  double validation_share; /* 0..0.5 of the patients of each hospital */

  size_t dim; /* number of model parameters */
};

/* where: file name or other origin, for the sentence. ret_plan must not hold an
 * earlier plan; deinit it. The payload of a signed "study" document is what is
 * parsed. CNS_ERR_FORMAT, CNS_ERR_RANGE, CNS_ERR_LIMIT with a sentence. */
CNS_MUST_CHECK int cns_plan_parse(const char *json, size_t len, const char *where, struct cns_plan *ret_plan,
                                  struct cns_problem *problem);
void cns_plan_deinit(struct cns_plan *plan); /* also fine on a zeroed struct */

/* 0 if the model is one that this program can compute with. CNS_ERR_UNSUPPORTED with a sentence for an
 * external one. */
CNS_MUST_CHECK int cns_plan_check_built_in(const struct cns_plan *plan, struct cns_problem *problem);

/* Number of model parameters d; elements of a round's update, which are d, with SCAFFOLD 2d, and behind
 * them, with an adaptive clip norm, one more and, with noised metrics, two; and words of the masked metrics
 * vector, 0 for an external model, which only the hospitals' commands can evaluate. */
size_t cns_plan_dim(const struct cns_plan *plan);
size_t cns_plan_update_dim(const struct cns_plan *plan);
/* Floats that a round begins with, and a new model consists of: the parameters and, with SCAFFOLD,
 * behind them as many of the control variate. */
size_t cns_plan_round_dim(const struct cns_plan *plan);
size_t cns_plan_metrics_dim(const struct cns_plan *plan);
/* The largest clip norm that a round may have. */
double cns_plan_clip_norm_max(const struct cns_plan *plan);

/* Tensors of a built-in model's flat vector, in order. A layer has two. Those of any model:
 * cns_tensor_list_from_plan. */
struct cns_plan_tensor {
  char name[32];
  size_t shape[2];
  size_t shape_count; /* 2 for a weight, 1 for a bias */
  size_t offset;      /* first float in the flat vector */
  size_t count;
};
size_t cns_plan_tensor_count(const struct cns_plan *plan);
struct cns_plan_tensor cns_plan_tensor(const struct cns_plan *plan, size_t index);

/* Inputs and outputs of layer 0..cns_plan_layer_count-1 of a built-in model. */
size_t cns_plan_layer_count(const struct cns_plan *plan);
size_t cns_plan_layer_inputs(const struct cns_plan *plan, size_t layer);
size_t cns_plan_layer_outputs(const struct cns_plan *plan, size_t layer);
