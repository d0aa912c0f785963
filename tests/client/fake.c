/* SPDX-License-Identifier: Apache-2.0 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/consent.h"
#include "model/modelfile.h"
#include "store/registry.h"
#include "tests/client/fake.h"
#include "tests/client/fake_rogue.h"
#include "tests/client/fake_round.h"

static const char study_text[] =
    "{\"name\": \"tiny\", \"version\": 1, \"task\": \"classification\","
    " \"label\": {\"column\": \"grade\", \"classes\": [\"low\", \"high\"]}, \"patient_id\": \"pid\","
    " \"features\": [{\"name\": \"age\", \"min\": 0, \"max\": 100, \"missing\": \"drop\"},"
    "  {\"name\": \"marker\", \"min\": -1, \"max\": 1, \"missing\": \"drop\"}],"
    " \"model\": %s, \"training\": %s, \"initial_model\": {\"seed\": 5},"
    " \"weighting\": \"patients\", \"validation_share\": %s%s%s}";

static void write_text(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

static uint64_t draw(struct fake *fake, uint64_t bound) {
  uint64_t value = 0;
  assert_int_equal(cns_rng_uniform_u64(cns_rng_seeded(&fake->rng), bound, &value), 0);
  return value;
}

/* The older with the higher marker have the higher grade, mostly. */
static void write_data(struct fake *fake, size_t k) {
  char path[300];
  snprintf(path, sizeof path, "%s/data.csv", fake->peer[k].kit);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "pid,age,marker,grade\n");
  for (size_t row = 0; row < 24 + 10 * k; row++) {
    int age = (int)draw(fake, 101), marker = (int)draw(fake, 2001) - 1000;
    bool high = age * 10 + marker / 2 + (int)draw(fake, 200) > 600;
    fprintf(file, "p%zu,%d,%.3f,%s\n", row, age, marker / 1000.0, high ? "high" : "low");
  }
  assert_int_equal(fclose(file), 0);
}

static void write_policy(const char *folder, const struct cns_document *document) {
  char path[400];
  uint8_t *data = NULL;
  size_t len = 0;
  snprintf(path, sizeof path, "%s/policy.json", folder);
  assert_int_equal(cns_document_serialize("policy", document, &data, &len), 0);
  assert_int_equal(cns_file_write(path, data, len, 0644, NULL), 0);
  free(data);
}

/* Another policy, signed by the same officer, in all kits. */
static void change_policy(struct fake *fake, const char *folder, void (*change)(struct cns_policy *policy)) {
  char path[400];
  struct cns_kit kit;
  struct cns_document document;
  struct cns_identity *officer = NULL;
  snprintf(path, sizeof path, "%s/coordinator", folder);
  assert_int_equal(cns_kit_load(path, CNS_KIT_COORDINATOR, (int64_t)time(NULL), &kit, NULL), 0);
  change(&kit.policy);
  assert_int_equal(cns_policy_to_document(&kit.policy, &document), 0);
  snprintf(path, sizeof path, "%s/officer/identity.key", folder);
  assert_int_equal(cns_identity_load(path, &officer, NULL), 0);
  assert_int_equal(cns_document_sign("policy", &document, "officer", officer), 0);
  write_policy(kit.folder, &document);
  for (size_t k = 0; k < fake->n; k++)
    write_policy(fake->peer[k].kit, &document);
  cns_identity_free(officer);
  cns_document_deinit(&document);
  cns_kit_deinit(&kit);
}

static void make_kits(struct fake *fake, const struct fake_options *options) {
  static const char *const names[] = {"a", "b", "c", "d", "e"};
  struct cns_problem problem = {0};
  struct cns_identity_public authority;
  char path[128], *text = NULL;
  assert_true(asprintf(&text, study_text, options->model, options->training,
                       options->privacy.unit == CNS_UNIT_PATIENT ? "0" : "0.25",
                       options->noise ? ", \"privacy\": " : "", options->noise ? options->noise : "") > 0);
  snprintf(path, sizeof path, "%s/study.json", fake->folder);
  write_text(path, text);
  free(text);
  const struct cns_federation_options federation = {.study_path = path,
                                                    .names = names,
                                                    .name_count = fake->n,
                                                    .address = "tls+tcp://127.0.0.1:7443",
                                                    .now_seconds = (int64_t)time(NULL),
                                                    .privacy = options->privacy};
  char folder[128];
  snprintf(folder, sizeof folder, "%s/federation", fake->folder);
  if (cns_kit_create_federation(folder, &federation, &authority, &problem)) fail_msg("%s", problem.text);
  for (size_t k = 0; k < fake->n; k++) {
    fake->peer[k].fake = fake;
    fake->peer[k].k = k;
    snprintf(fake->peer[k].kit, sizeof fake->peer[k].kit, "%s/hospitals/%s", folder, names[k]);
    write_data(fake, k);
  }
  if (options->policy) change_policy(fake, folder, options->policy);
  strcat(folder, "/coordinator");
  if (cns_kit_load(folder, CNS_KIT_COORDINATOR, (int64_t)time(NULL), &fake->kit, &problem))
    fail_msg("%s", problem.text);
}

static void load_plan(struct fake *fake) {
  struct cns_problem problem = {0};
  const struct cns_document *study = &fake->kit.study_document;
  if (cns_plan_parse(study->payload, study->payload_len, "study", &fake->plan, &problem))
    fail_msg("%s", problem.text);
  cns_study_digest(fake->kit.roster.consortium, fake->plan.name, &fake->study);
  fake->clip_norm = fake->plan.clip_norm;
  fake->params = calloc(cns_plan_dim(&fake->plan), sizeof *fake->params);
  assert_non_null(fake->params);
  assert_int_equal(cns_model_initial(&fake->plan, fake->kit.folder, fake->params, &problem), 0);
  fake_set_model(fake);
}

static void listen_for_agents(struct fake *fake) {
  struct cns_problem problem = {0};
  struct cns_peer peers[FAKE_MAX];
  for (size_t k = 0; k < fake->n; k++) {
    const struct cns_roster_hospital *hospital = &fake->kit.roster.hospitals[k];
    peers[k] =
        (struct cns_peer){CNS_ROLE_HOSPITAL, hospital->index, false, hospital->identity, hospital->pin};
  }
  assert_int_equal(cns_peers_new(&fake->peers), 0);
  assert_int_equal(cns_peers_set(fake->peers, peers, fake->n), 0);
  const struct cns_link_config config = {.identity = fake->kit.identity,
                                         .role = CNS_ROLE_COORDINATOR,
                                         .peers = fake->peers,
                                         .certificate_path = fake->kit.tls_certificate_path,
                                         .key_path = fake->kit.tls_key_path,
                                         .rng = cns_rng_system(),
                                         .times = {.linger_ms = 200}};
  const struct cns_link_callbacks callbacks = fake_callbacks(fake);
  if (cns_listener_new(fake->loop, "tls+tcp://127.0.0.1:0", &config, &callbacks, &fake->listener, &problem))
    fail_msg("%s", problem.text);
}

struct fake *fake_new(const struct fake_options *options) {
  struct fake *fake = calloc(1, sizeof *fake);
  assert_non_null(fake);
  assert_int_equal(cns_init(), 0);
  fake->seed = options->seed;
  fake->n = options->n;
  cns_rng_seeded_init_label(&fake->rng, fake->seed, "fake");
  /* In memory where there is such a folder: syncing is not what is tested here. */
  const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  snprintf(fake->folder, sizeof fake->folder, "%s/cns-client-XXXXXX", base);
  assert_non_null(mkdtemp(fake->folder));
  make_kits(fake, options);
  load_plan(fake);
  assert_int_equal(uv_loop_init(&fake->uv), 0);
  assert_int_equal(cns_loop_new(&fake->uv, &fake->loop, NULL), 0);
  listen_for_agents(fake);
  return fake;
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)status, (void)flag, (void)walk;
  return remove(path);
}

void fake_free(struct fake *fake) {
  for (size_t k = 0; k < fake->n; k++)
    fake_stop(fake, k);
  fake->listener = cns_listener_free(fake->listener);
  fake->loop = cns_loop_free(fake->loop);
  assert_int_equal(uv_run(&fake->uv, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&fake->uv), 0);
  fake->machine = cns_coordinator_free(fake->machine);
  cns_descriptor_deinit(&fake->descriptor);
  for (size_t k = 0; k < fake->n; k++) {
    if (fake->peer[k].log_file) fclose(fake->peer[k].log_file);
    free(fake->peer[k].log);
    free(fake->peer[k].y);
  }
  fake_rogue_free(fake);
  cns_peers_free(fake->peers);
  cns_kit_deinit(&fake->kit);
  cns_plan_deinit(&fake->plan);
  free(fake->params);
  free(fake->sum);
  free(fake->model);
  free(fake->manifest);
  nftw(fake->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  free(fake);
}

void fake_consent(struct fake *fake, size_t k) {
  struct cns_problem problem = {0};
  struct cns_client_consent_result result;
  const struct cns_client_consent_options options = {.kit_folder = fake->peer[k].kit, .assume_yes = true};
  if (cns_client_consent(&options, &result, &problem)) fail_msg("%s", problem.text);
  free(result.text);
}

static void on_finished(void *context) {
  struct fake_peer *peer = context;
  peer->finished++;
}

void fake_start(struct fake *fake, size_t k) {
  struct fake_peer *peer = &fake->peer[k];
  struct cns_problem problem = {0};
  const struct cns_agent_options options = {.kit_folder = peer->kit,
                                            .address = cns_listener_url(fake->listener)};
  if (!peer->log_file) peer->log_file = open_memstream(&peer->log, &peer->log_len);
  const struct cns_agent_host host = {.loop = fake->loop,
                                      .log = peer->log_file,
                                      .times = {.retry_first_ms = 20, .retry_cap_ms = 100, .linger_ms = 200},
                                      .on_finished = on_finished,
                                      .context = peer};
  if (cns_agent_new(&options, &host, &peer->agent, &problem)) fail_msg("%s", problem.text);
}

void fake_start_all(struct fake *fake) {
  for (size_t k = 0; k < fake->n; k++) {
    if (fake_is_rogue(fake, k)) continue;
    fake_consent(fake, k);
    fake_start(fake, k);
  }
  for (size_t k = 0; k < fake->n; k++)
    if (!fake_is_rogue(fake, k)) fake_until(fake, fake->peer[k].joined, 1);
}

void fake_stop(struct fake *fake, size_t k) {
  fake->peer[k].agent = cns_agent_free(fake->peer[k].agent);
}

static void idle(uv_timer_t *timer) {
  (void)timer;
}

static bool counted(struct fake *fake, const void *context, int least) {
  (void)fake;
  return *(const int *)context >= least;
}

struct logged {
  size_t k;
  const char *text;
};

static bool logged(struct fake *fake, const void *context, int least) {
  const struct logged *l = context;
  (void)least;
  return fake_logged(fake, l->k, l->text);
}

static void wait_for(struct fake *fake, bool (*reached)(struct fake *, const void *, int),
                     const void *context, int least, const char *what, int line) {
  uv_timer_t timer;
  uint64_t start = uv_hrtime();
  uv_timer_init(&fake->uv, &timer);
  uv_timer_start(&timer, idle, 10, 10);
  while (!reached(fake, context, least) && uv_hrtime() - start < 60000000000ull) {
    uv_run(&fake->uv, UV_RUN_ONCE);
    fake_rogue_work(fake);
  }
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&fake->uv, UV_RUN_NOWAIT);
  if (reached(fake, context, least)) return;
  for (size_t k = 0; k < fake->n; k++)
    print_error("hospital %zu:\n%s\n", k + 1, fake->peer[k].log ? fake->peer[k].log : "");
  fail_msg("line %d: waited in vain for %s, seed %d", line, what, (int)fake->seed);
}

void fake_until_(struct fake *fake, const int *counter, int least, const char *what, int line) {
  wait_for(fake, counted, counter, least, what, line);
}

bool fake_logged(struct fake *fake, size_t k, const char *text) {
  return fake->peer[k].log && strstr(fake->peer[k].log, text);
}

size_t fake_count_log(const struct fake *fake, size_t k, const char *text) {
  size_t count = 0;
  const char *at = fake->peer[k].log;
  for (; at && (at = strstr(at, text)); at += strlen(text))
    count++;
  return count;
}

void fake_expect_log_(struct fake *fake, size_t k, const char *text, int line) {
  const struct logged context = {k, text};
  wait_for(fake, logged, &context, 0, text, line);
}

const char *fake_declined_(struct fake *fake, size_t k, int least, int line) {
  fake_until_(fake, &fake->peer[k].declines, least, "declines", line);
  return fake->peer[k].declined.sentence;
}
