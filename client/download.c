/* SPDX-License-Identifier: Apache-2.0 */
/* Models in the registry, and how those that aren't there come. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"
#include "model/modelfile.h"

int cns_agent_initial_model(struct cns_agent *agent, struct cns_problem *problem) {
  const struct cns_site *site = &agent->site;
  uint8_t *bytes = NULL;
  size_t len = 0;
  int r = cns_model_initial_round(&site->plan, site->kit.folder, &bytes, &len, problem);
  if (!r) r = cns_registry_put_model(agent->registry, bytes, len, &agent->initial, problem);
  if (!r) agent->model_bytes = len;
  free(bytes);
  return r;
}

static void ask(struct cns_agent *agent) {
  struct cns_agent_download *download = &agent->download;
  struct cns_writer frame;
  if (!download->wanted || download->asked || !agent->link) return;
  download->asked = true;
  cns_writer_init(&frame, 64);
  cns_wire_write_digest_u64(&frame, &download->model, download->have);
  cns_agent_send(agent, CNS_WIRE_MODEL_GET, &frame);
  cns_writer_deinit(&frame);
}

void cns_agent_download_stop(struct cns_agent *agent) {
  free(agent->download.bytes);
  agent->download = (struct cns_agent_download){0};
}

/* The buffer is as long as this study's models are, whatever a peer says. */
static int want(struct cns_agent *agent, const struct cns_digest *model) {
  struct cns_agent_download *download = &agent->download;
  if (download->wanted && cns_digest_equal(&download->model, model)) return 0;
  cns_agent_download_stop(agent);
  download->bytes = malloc(agent->model_bytes);
  if (!download->bytes) return CNS_ERR_MEMORY;
  download->wanted = true;
  download->model = *model;
  return 0;
}

int cns_agent_model(struct cns_agent *agent, const struct cns_digest *model, uint8_t **ret_bytes,
                    size_t *ret_len, struct cns_problem *problem) {
  struct cns_problem found = {0};
  int r = cns_registry_get_model(agent->registry, model, ret_bytes, ret_len, &found);
  if (r == CNS_ERR_FORMAT) {
    cns_agent_note(agent, "error", &found); /* damaged on disk: fetched again */
    r = CNS_ERR_NOT_FOUND;
  }
  if (r && r != CNS_ERR_NOT_FOUND) {
    if (problem) *problem = found;
    return r;
  }
  if (!r) return 0;
  r = want(agent, model);
  if (r) return cns_problem_set(problem, r, "not enough memory for the study's model");
  ask(agent);
  return CNS_ERR_NOT_FOUND;
}

void cns_agent_download_resume(struct cns_agent *agent) {
  ask(agent);
}

void cns_agent_download_lost(struct cns_agent *agent) {
  agent->download.asked = false;
}

/* All bytes are here: are they the model? */
static void complete(struct cns_agent *agent) {
  struct cns_agent_download *download = &agent->download;
  struct cns_problem problem = {0};
  struct cns_digest digest;
  cns_registry_model_digest(download->bytes, agent->model_bytes, &digest);
  int r = cns_digest_equal(&digest, &download->model) ? 0 : CNS_ERR_REFUSED;
  if (r)
    cns_problem_set(&problem, r, "the model that the coordinator sent isn't the one that its manifest names");
  else
    r = cns_registry_put_model(agent->registry, download->bytes, agent->model_bytes, &digest, &problem);
  cns_agent_download_stop(agent);
  if (r && agent->round && agent->round->stage == CNS_STAGE_MODEL)
    cns_agent_give_up(agent, &problem);
  else if (r)
    cns_agent_note(agent, "error", &problem);
  else
    cns_agent_model_here(agent);
}

void cns_agent_download_frame(struct cns_agent *agent, const uint8_t *data, size_t len) {
  struct cns_agent_download *download = &agent->download;
  struct cns_digest model;
  struct cns_problem problem = {0};
  uint64_t offset, total;
  const uint8_t *bytes;
  size_t bytes_len;
  int r = cns_wire_read_model(data, len, &model, &offset, &total, &bytes, &bytes_len);
  if (!r && (!download->wanted || !cns_digest_equal(&model, &download->model)))
    return; /* not wanted any more */
  if (r || total != agent->model_bytes || offset != download->have) {
    cns_problem_set(
        &problem, CNS_ERR_FORMAT,
        "the coordinator sent a piece of the model that doesn't fit: this study's models have %zu "
        "bytes, of which %zu are here",
        agent->model_bytes, download->have);
    cns_agent_download_stop(agent);
    if (agent->round && agent->round->stage == CNS_STAGE_MODEL)
      cns_agent_give_up(agent, &problem);
    else
      cns_agent_note(agent, "error", &problem);
    return;
  }
  memcpy(download->bytes + offset, bytes, bytes_len); /* offset + bytes_len <= total: cns_wire_read_model */
  download->have += bytes_len;
  if (agent->last_model_asked && !agent->finished) uv_timer_again(&agent->timer);
  if (download->have == agent->model_bytes) complete(agent);
}
