/* SPDX-License-Identifier: Apache-2.0 */
/* Models in the registry, and how those that aren't there come. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/agent_internal.h"
#include "store/study_model.h"

/* From here on at most so much waits in memory for the disk. */
#define FLUSH_BYTES ((size_t)16 << 20)

static void remember(struct cns_agent *agent, struct cns_model_map *map, const struct cns_digest *digest) {
  cns_model_map_free(agent->map);
  agent->map = map;
  agent->mapped = *digest;
}

int cns_agent_initial_model(struct cns_agent *agent, struct cns_problem *problem) {
  const struct cns_site *site = &agent->site;
  struct cns_model_map *map = NULL;
  int r =
      cns_study_model_initial(agent->registry, &site->plan, site->kit.folder, &agent->initial, &map, problem);
  if (r) return r;
  (void)cns_model_map_bytes(map, &agent->model_bytes);
  remember(agent, map, &agent->initial);
  return 0;
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
  cns_model_draft_free(agent->download.draft);
  agent->download = (struct cns_agent_download){0};
}

/* The file is as long as this study's models are, whatever a peer says. */
static int want(struct cns_agent *agent, const struct cns_digest *model, struct cns_problem *problem) {
  struct cns_agent_download *download = &agent->download;
  if (download->wanted && cns_digest_equal(&download->model, model)) return 0;
  cns_agent_download_stop(agent);
  int r = cns_registry_draft_model(agent->registry, agent->model_bytes, &download->draft, problem);
  if (r) return cns_problem_prefix(problem, r, "the model of this round can't be fetched");
  cns_registry_model_hash(&download->hash);
  download->wanted = true;
  download->model = *model;
  return 0;
}

int cns_agent_model(struct cns_agent *agent, const struct cns_digest *model, struct cns_model_map **ret_map,
                    struct cns_problem *problem) {
  struct cns_problem found = {0};
  struct cns_model_map *map = NULL;
  int r = 0;
  if (!agent->map || !cns_digest_equal(&agent->mapped, model)) {
    r = cns_registry_map_model(agent->registry, model, &map, &found);
    if (!r) remember(agent, map, model);
  }
  if (r == CNS_ERR_FORMAT) {
    cns_agent_note(agent, "error", &found); /* damaged on disk: fetched again */
    r = CNS_ERR_NOT_FOUND;
  }
  if (r && r != CNS_ERR_NOT_FOUND) {
    if (problem) *problem = found;
    return r;
  }
  if (!r) {
    *ret_map = cns_model_map_hold(agent->map);
    return 0;
  }
  r = want(agent, model, problem);
  if (r) return r;
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
  struct cns_model_map *map = NULL;
  struct cns_digest digest;
  cns_hash_final(&download->hash, &digest);
  int r = cns_digest_equal(&digest, &download->model) ? 0 : CNS_ERR_REFUSED;
  if (r)
    cns_problem_set(&problem, r, "the model that the coordinator sent isn't the one that its manifest names");
  else
    r = cns_registry_put_draft(agent->registry, download->draft, &digest, &map, &problem);
  if (!r) remember(agent, map, &digest);
  cns_agent_download_stop(agent);
  if (r && agent->round && agent->round->stage == CNS_STAGE_MODEL)
    cns_agent_give_up(agent, &problem);
  else if (r)
    cns_agent_note(agent, "error", &problem);
  else
    cns_agent_model_here(agent);
}

static void take_piece(struct cns_agent_download *download, const uint8_t *bytes, size_t len) {
  memcpy(cns_model_draft_bytes(download->draft, NULL) + download->have, bytes, len);
  cns_hash_bytes(&download->hash, bytes, len);
  download->have += len;
  if (download->have - download->flushed < FLUSH_BYTES) return;
  cns_model_draft_written(download->draft, download->flushed, download->have - download->flushed);
  download->flushed = download->have;
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
  take_piece(download, bytes, bytes_len); /* offset + bytes_len <= total: cns_wire_read_model */
  if (agent->last_model_asked && !agent->finished) uv_timer_again(&agent->timer);
  if (download->have == agent->model_bytes) complete(agent);
}
