/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/privacy_options.h"

#define DELTA_DEFAULT 1e-5

int cns_cli_parse_privacy(const char *verb, const struct cns_privacy_call *call,
                          struct cns_privacy_choice *ret_choice) {
  struct cns_privacy_choice choice = {.epsilon = call->epsilon,
                                      .delta = call->delta > 0 ? call->delta : DELTA_DEFAULT,
                                      .unit = CNS_UNIT_PATIENT,
                                      .placement = CNS_NOISE_DISTRIBUTED,
                                      .minimum_included = (uint16_t)call->minimum_included};
  if (call->epsilon <= 0 && (call->delta > 0 || call->unit || call->noise || call->minimum_included))
    return cns_cli_usage_error(verb, "--delta, --unit, --noise and --smallest-sum need --epsilon");
  if (call->unit && !cns_privacy_unit_find(call->unit, &choice.unit))
    return cns_cli_usage_error(verb, "--unit is patient or hospital, not \"%s\"", call->unit);
  if (call->noise &&
      (!cns_noise_placement_find(call->noise, &choice.placement) || choice.placement == CNS_NOISE_NONE))
    return cns_cli_usage_error(verb, "--noise is distributed or central, not \"%s\"", call->noise);
  *ret_choice = choice;
  return 0;
}
