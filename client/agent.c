/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's life: opening what it has, its link, and letting go. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/agent_internal.h"
#include "client/way_out.h"

bool cns_agent_may_log(struct cns_agent *agent) {
  return cns_client_log_allowed(&agent->log, &agent->lines, CNS_AGENT_LINES_MAX, CNS_AGENT_LINES_MS,
                                cns_loop_now_ms(agent->host.loop));
}

bool cns_agent_may_log_round(struct cns_agent *agent, uint32_t attempt) {
  return attempt == 1 || cns_agent_may_log(agent);
}

void cns_agent_note(struct cns_agent *agent, const char *event, const struct cns_problem *problem) {
  if (cns_agent_may_log(agent)) cns_client_log(&agent->log, event, "%s", problem->text);
}

static bool may_log_link(struct cns_agent *agent) {
  return cns_client_log_allowed(&agent->log, &agent->link_lines, CNS_AGENT_LINK_LINES_MAX,
                                CNS_AGENT_LINK_LINES_MS, cns_loop_now_ms(agent->host.loop));
}

struct cns_agent_traffic cns_agent_traffic(const struct cns_agent *agent) {
  struct cns_agent_traffic traffic = agent->closed_links;
  if (agent->link) {
    struct cns_link_counters counters = cns_link_counters(agent->link);
    traffic.up += counters.bytes_out;
    traffic.down += counters.bytes_in;
  }
  return traffic;
}

void cns_agent_send(struct cns_agent *agent, uint8_t type, const struct cns_writer *frame) {
  int r = cns_writer_finish(frame);
  if (!r && agent->link) r = cns_link_send(agent->link, type, frame->data, frame->len);
  if (r && r != CNS_ERR_CLOSED && cns_agent_may_log(agent))
    cns_client_log(&agent->log, "error", "a frame of type %u couldn't be sent (%s)", type, cns_error_name(r));
}

void cns_agent_decline(struct cns_agent *agent, const struct cns_digest *digest,
                       const struct cns_problem *problem) {
  struct cns_writer frame;
  cns_agent_note(agent, "declined", problem);
  cns_writer_init(&frame, CNS_WIRE_SENTENCE_MAX + 64);
  cns_wire_write_word(&frame, digest, 0, problem->text);
  cns_agent_send(agent, CNS_WIRE_DECLINE, &frame);
  cns_writer_deinit(&frame);
}

/* Why the study ends before its last round; "" if it doesn't. */
static const char *early_end(const struct cns_agent *agent) {
  return agent->budget_spent.text[0] && !agent->stopped ? agent->budget_spent.text : agent->over.text;
}

void cns_agent_finish(struct cns_agent *agent) {
  if (agent->finished) return;
  agent->finished = true;
  uv_timer_stop(&agent->timer);
  if (agent->model_round < agent->site.plan.rounds)
    cns_client_log(&agent->log, agent->stopped ? "stopped" : "budget", "%s", early_end(agent));
  cns_client_log(&agent->log, "finished", "study finished after round %" PRIu64, agent->model_round);
  if (agent->host.on_finished) agent->host.on_finished(agent->host.context);
}

int cns_agent_result(const struct cns_agent *agent, struct cns_problem *problem) {
  if (!agent->finished || !early_end(agent)[0]) return 0;
  return cns_problem_set(problem, agent->stopped ? CNS_ERR_STOPPED : CNS_ERR_BUDGET, "%s", early_end(agent));
}

/* While an attempt on the present model is spent without a result, the study isn't over for
 * want of budget: its cost may be refunded. If not, the next announcement settles it. */
static void check_over(struct cns_agent *agent) {
  uint64_t spent = 0;
  int r = cns_hospital_store_count_spent(agent->site.store, &agent->model, &spent);
  if (r || spent == 0) cns_agent_check_finished(agent);
}

/* ---- the link ---- */

static void on_open(void *context, struct cns_link *link, const struct cns_peer *peer) {
  struct cns_agent *agent = context;
  (void)peer;
  agent->link = link;
  agent->failures = 0;
  agent->last_failure[0] = '\0';
  if (may_log_link(agent))
    cns_client_log(&agent->log, "connected", "connected to the coordinator at %s (%s)", cns_link_remote(link),
                   cns_link_peer_software(link));
  cns_agent_look_at_expiry(agent, (int64_t)time(NULL));
  cns_agent_join(agent);
  check_over(agent);
  cns_agent_download_resume(agent);
}

static void on_frame(void *context, struct cns_link *link, uint8_t type, const uint8_t *data, size_t len) {
  if (cns_frame_is_bulk(type)) cns_link_consumed(link, len);
  cns_agent_frame(context, type, data, len);
}

static void on_writable(void *context, struct cns_link *link) {
  struct cns_agent *agent = context;
  (void)link;
  if (agent->round && agent->round->uploader) cns_uploader_writable(agent->round->uploader);
}

static void on_closed(void *context, struct cns_link *link, int error, const char *sentence) {
  struct cns_agent *agent = context;
  (void)error;
  agent->closed_links = cns_agent_traffic(agent);
  if (agent->link == link) agent->link = NULL;
  if (agent->round && agent->round->uploader) cns_uploader_pause(agent->round->uploader);
  cns_agent_download_lost(agent);
  if (may_log_link(agent))
    cns_client_log(&agent->log, "disconnected", "the connection to the coordinator is gone: %s", sentence);
}

/* Said once for each reason, and now and then while it lasts. */
static void on_attempt_failed(void *context, const char *sentence, uint64_t retry_ms) {
  struct cns_agent *agent = context;
  char shortened[sizeof agent->last_failure];
  (void)retry_ms;
  snprintf(shortened, sizeof shortened, "%.*s", (int)sizeof shortened - 1, sentence);
  bool same = strcmp(shortened, agent->last_failure) == 0;
  agent->failures = same ? agent->failures + 1 : 0;
  memcpy(agent->last_failure, shortened, sizeof shortened);
  if (agent->failures % 50 == 0 && cns_agent_may_log(agent))
    cns_client_log(&agent->log, "connecting", "no connection to the coordinator yet, trying again: %s",
                   sentence);
}

static int dial(struct cns_agent *agent, struct cns_problem *problem) {
  const struct cns_kit *kit = &agent->site.kit;
  const struct cns_peer coordinator = {.role = CNS_ROLE_COORDINATOR,
                                       .identity = kit->roster.coordinator.identity,
                                       .pin = kit->roster.coordinator_pin};
  const struct cns_link_callbacks callbacks = {.context = agent,
                                               .on_open = on_open,
                                               .on_frame = on_frame,
                                               .on_writable = on_writable,
                                               .on_closed = on_closed,
                                               .on_attempt_failed = on_attempt_failed};
  int r = cns_peers_new(&agent->peers);
  if (!r) r = cns_peers_set(agent->peers, &coordinator, 1);
  if (r) return cns_problem_set(problem, r, "the table of peers can't be made");
  const char *address = agent->options.address ? agent->options.address : kit->config.address;
  struct cns_proxy proxy;
  if ((r = cns_way_out(&kit->config, agent->options.proxy, address, &proxy, problem))) return r;
  const struct cns_link_config config = {.identity = kit->identity,
                                         .proxy = proxy.host[0] ? &proxy : NULL,
                                         .role = CNS_ROLE_HOSPITAL,
                                         .index = kit->config.index,
                                         .peers = agent->peers,
                                         .certificate_path = kit->tls_certificate_path,
                                         .key_path = kit->tls_key_path,
                                         .rng = cns_rng_system(),
                                         .times = agent->host.times};
  if (config.proxy)
    cns_client_log(&agent->log, "proxy", "connections go through the proxy %s port %u%s", proxy.host,
                   proxy.port, proxy.has_user ? ", with a password" : "");
  r = cns_dialer_new(agent->host.loop, address, &config, &callbacks, &agent->dialer, problem);
  cns_wipe(&proxy, sizeof proxy);
  return r;
}

int cns_agent_redial(struct cns_agent *agent, struct cns_problem *problem) {
  agent->closed_links = cns_agent_traffic(agent);
  agent->link = NULL;
  if (agent->round && agent->round->uploader) cns_uploader_pause(agent->round->uploader);
  cns_agent_download_lost(agent);
  agent->dialer = cns_dialer_free(agent->dialer);
  agent->peers = cns_peers_free(agent->peers);
  return dial(agent, problem);
}

/* ---- life ---- */

static void destroy(struct cns_agent *agent) {
  cns_model_map_free(agent->map);
  cns_registry_free(agent->registry);
  cns_site_deinit(&agent->site);
  cns_roster_deinit(&agent->next_roster);
  cns_document_deinit(&agent->next_document);
  free(agent->consent);
  free(agent);
}

static void maybe_destroy(struct cns_agent *agent) {
  if (agent->closing && agent->timer_closed && agent->works == 0) destroy(agent);
}

static void on_timer_closed(uv_handle_t *handle) {
  struct cns_agent *agent = handle->data;
  agent->timer_closed = true;
  maybe_destroy(agent);
}

void cns_agent_work_ended(struct cns_agent *agent) {
  agent->works--;
  if (!agent->closing) cns_agent_roster_adopt(agent);
  maybe_destroy(agent);
}

struct cns_agent *cns_agent_free(struct cns_agent *agent) {
  if (!agent || agent->closing) return NULL;
  agent->closing = true;
  cns_agent_drop_round(agent);
  cns_agent_download_stop(agent);
  agent->link = NULL;
  agent->dialer = cns_dialer_free(agent->dialer);
  agent->peers = cns_peers_free(agent->peers);
  agent->site.store = cns_hospital_store_free(agent->site.store);
  uv_close((uv_handle_t *)&agent->timer, on_timer_closed);
  return NULL;
}

/* What is in the record was verified before it was put there. Under another version of the
 * study the clip norm begins anew. */
static int take_manifest(struct cns_agent *agent, const uint8_t *bytes, size_t len,
                         struct cns_problem *problem) {
  const struct cns_plan *plan = &agent->site.plan;
  struct cns_manifest manifest;
  if (plan->adaptive_clip.share == 0 && plan->scaffold.steps == 0) return 0;
  int r = cns_manifest_open(bytes, len, "the last manifest", NULL, &manifest, problem);
  if (r) return r;
  r = cns_agent_settle_control(agent, &manifest, problem); /* again, if it was killed before */
  if (!r && plan->adaptive_clip.share > 0 &&
      cns_digest_equal(&manifest.plan, &agent->site.kit.study_document.digest)) {
    r = cns_manifest_check_clip(&manifest, &agent->site.plan.adaptive_clip, problem);
    if (!r) agent->clip_norm = manifest.clip.next;
  }
  cns_manifest_deinit(&manifest);
  return r;
}

/* The newest manifest that was accepted here, if there is one. */
static int load_state(struct cns_agent *agent, struct cns_problem *problem) {
  uint8_t *manifest = NULL;
  size_t len = 0;
  agent->clip_norm = agent->site.plan.clip_norm;
  int r = cns_hospital_store_get_manifest(agent->site.store, &agent->site.study, &agent->model_round,
                                          &agent->model, &manifest, &len, problem);
  if (!r) r = take_manifest(agent, manifest, len, problem);
  free(manifest);
  if (r != CNS_ERR_NOT_FOUND) return r;
  agent->model_round = 0;
  agent->model = agent->initial;
  return 0;
}

static int log_audits(const struct cns_agent *agent, struct cns_problem *problem) {
  const struct cns_site *site = &agent->site;
  const struct cns_policy *policy = &site->kit.policy;
  struct cns_audit_record record;
  if (policy->audit_level == CNS_AUDIT_NONE) return 0;
  int r = cns_hospital_store_audits(site->store, &site->study, &agent->model, &record, problem);
  if (r) return r;
  cns_client_log(
      &agent->log, "audits",
      "an audited round reveals %u numbers of our update to the coordinator; in this study %" PRIu64
      " of the %" PRIu64 " numbers that the policy allows are revealed",
      policy->sketch, record.numbers, cns_policy_sketch_budget(policy, cns_plan_dim(&site->plan)));
  return 0;
}

static void open_trainer(const struct cns_agent *agent) {
  const struct cns_trainer_setup *trainer = &agent->site.trainer;
  cns_trainer_sweep(trainer); /* also of a command that isn't used any more */
  if (!trainer->command.command) return;
  cns_client_log(&agent->log, "trainer", "trained by the command %s, for at most %u s a round",
                 trainer->command.command[0], trainer->command.time_limit_s);
}

static int open_all(struct cns_agent *agent, struct cns_problem *problem) {
  struct cns_consent consent;
  int r = cns_site_open(agent->options.kit_folder, &agent->site, problem);
  if (!r) r = cns_agent_ledger_begin(agent, problem);
  if (r) return r;
  const struct cns_kit *kit = &agent->site.kit;
  cns_client_log(&agent->log, "start",
                 "hospital %u \"%s\" of \"%s\", study \"%s\", roster version %" PRIu64
                 ", policy version %" PRIu64,
                 kit->config.index, kit->config.name, kit->roster.consortium, agent->site.plan.name,
                 kit->roster.version, kit->policy.version);
  cns_client_log_lines(&agent->log, "data", agent->site.report);
  open_trainer(agent);
  r = cns_site_consent(&agent->site, &consent, &agent->consent, &agent->consent_len, problem);
  if (r) return r;
  agent->weight = cns_policy_weight(&kit->policy, consent.patients);
  r = cns_registry_open(kit->config.state_path, &agent->registry, problem);
  if (!r) r = cns_agent_initial_model(agent, problem);
  if (!r) r = load_state(agent, problem);
  return r ? r : log_audits(agent, problem);
}

/* A study that was over before needs no coordinator. */
static void on_start(uv_timer_t *timer) {
  check_over(timer->data);
}

int cns_agent_new(const struct cns_agent_options *options, const struct cns_agent_host *host,
                  struct cns_agent **ret_agent, struct cns_problem *problem) {
  struct cns_agent *agent = calloc(1, sizeof *agent);
  if (!agent) return cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  agent->options = *options;
  agent->host = *host;
  agent->log.out = host->log ? host->log : stderr;
  agent->log.json = options->json;
  int r = open_all(agent, problem);
  if (!r && uv_timer_init(cns_loop_uv(host->loop), &agent->timer) != 0)
    r = cns_problem_set(problem, CNS_ERR_LIBRARY, "no timer");
  if (r) {
    destroy(agent);
    return r;
  }
  agent->timer.data = agent;
  uv_timer_start(&agent->timer, on_start, 0, 0);
  r = dial(agent, problem);
  if (r)
    cns_agent_free(agent);
  else
    *ret_agent = agent;
  return r;
}
