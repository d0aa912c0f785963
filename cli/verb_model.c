/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/model_call.h"
#include "cli/predict.h"

static int predict(int argc, char **argv) {
  struct cns_predict_options options = {0};
  const struct cns_option table[] = {
      {"model", "FILE", "the model (consilium model export)", CNS_OPTION_TEXT, &options.model, 0, 0},
      {"study", "FILE", "its study file, signed or not", CNS_OPTION_TEXT, &options.study, 0, 0},
      {"data", "FILE", "the table, CSV", CNS_OPTION_TEXT, &options.data, 0, 0},
      {"out", "FILE", "write the probabilities there, readable by you only", CNS_OPTION_TEXT, &options.out, 0,
       0},
      {"evaluate", NULL, "the table has labels: print loss and AUC", CNS_OPTION_FLAG, &options.evaluate, 0,
       0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &options.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      "model predict --model FILE --study FILE --data FILE [OPTION]...",
      "Prints, for each data row of a table, its number (from 1) and the probability of each class.\n"
      "Patient identifiers are never printed. Rows without a value that the study needs are left\n"
      "out, and counted. With --evaluate the probabilities are only written to --out.",
      table, 0, 0};
  int operands = 0;
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!options.model) return cns_cli_usage_error("model predict", "--model FILE is missing");
  if (!options.study) return cns_cli_usage_error("model predict", "--study FILE is missing");
  if (!options.data) return cns_cli_usage_error("model predict", "--data FILE is missing");
  return cns_predict_run(&options);
}

int cns_cli_model(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"export", "copy a model out of a kit; to F16, BF16 or NumPy's format", cns_model_export},
      {"import", "make a model file of a safetensors or a NumPy .npy file", cns_model_import},
      {"predict", "class probabilities for the rows of a table; loss and AUC", predict},
      {"show", "print a model file's tensors and metadata", cns_model_show},
      {NULL, NULL, NULL},
  };
  return cns_cli_dispatch("consilium model", "Models that a federation has trained.", verbs, argc, argv);
}
