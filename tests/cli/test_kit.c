/* SPDX-License-Identifier: Apache-2.0 */
/* Federations as they are made, and kits as they are loaded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/kit.h"
#include "model/modelfile.h"
#include "store/kit.h"
#include "store/registry.h"

#define NOW INT64_C(1795341600)

static const char study_text[] = "{\"name\":\"trial\",\"version\":1,\"task\":\"classification\",\"label\":{"
                                 "\"column\":\"y\",\"classes\":[\"a\","
                                 "\"b\"]},\"patient_id\":\"id\",\"features\":[{\"name\":\"x\",\"min\":0,"
                                 "\"max\":1,\"missing\":\"drop\"}],\"model\":{"
                                 "\"kind\":\"logistic\"},\"training\":{\"rounds\":1,\"local_epochs\":1,"
                                 "\"learning_rate\":0.1,\"momentum\":0,"
                                 "\"batch\":4,\"seed\":1,\"clip_norm\":2.5},\"initial_model\":%s,"
                                 "\"weighting\":\"equal\",\"validation_share\":0.1}";

static const char *const names[] = {"a", "b", "c", "d", "e"};

static void write_study(const char *initial) {
  char text[2048];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  int len = snprintf(text, sizeof text, study_text, initial);
#pragma GCC diagnostic pop
  assert_int_equal(cns_file_write("study.json", text, (size_t)len, 0644, NULL), 0);
}

static int enter_folder(void **state) {
  char *folder = strdup("/tmp/cns-kit-XXXXXX");
  if (!folder || !mkdtemp(folder) || chdir(folder) != 0) return -1;
  *state = folder;
  write_study("{\"seed\":1}");
  return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
  return remove(path);
}

static int leave_folder(void **state) {
  int r = chdir("/") || nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  free(*state);
  return r;
}

static int create(const char *folder, size_t count, struct cns_problem *problem) {
  struct cns_identity_public authority;
  struct cns_federation_options options = {
      .study_path = "study.json", .names = names, .name_count = count, .now_seconds = NOW};
  return cns_kit_create_federation(folder, &options, &authority, problem);
}

static void must_create(void) {
  struct cns_problem problem = {0};
  if (create("f", 5, &problem)) fail_msg("%s", problem.text);
}

static void refuse_load(const char *folder, enum cns_kit_role role, int64_t now, int error,
                        const char *sentence) {
  struct cns_kit kit;
  struct cns_problem problem = {0};
  int r = cns_kit_load(folder, role, now, &kit, &problem);
  if (r != error || !strstr(problem.text, sentence))
    fail_msg("%d: expected '%s' in '%s'", r, sentence, problem.text);
}

static void every_party_gets_a_kit_that_loads(void **state) {
  struct cns_kit kit;
  struct cns_problem problem = {0};
  struct stat info;
  must_create();
  if (cns_kit_load("f/coordinator", CNS_KIT_COORDINATOR, NOW, &kit, &problem)) fail_msg("%s", problem.text);
  assert_string_equal(kit.config.address, CNS_FEDERATION_ADDRESS);
  assert_string_equal(kit.config.state_path, "f/coordinator/state");
  assert_string_equal(kit.roster.consortium, "trial");
  assert_true(kit.policy.clip_norm_max == 2.5 && kit.policy.weights_mode == CNS_WEIGHTS_EQUAL);
  struct cns_digest roster = kit.roster.digest;
  cns_kit_deinit(&kit);
  for (uint16_t i = 0; i < 5; i++) {
    char folder[64], path[96];
    snprintf(folder, sizeof folder, "f/hospitals/%s", names[i]);
    if (cns_kit_load(folder, CNS_KIT_HOSPITAL, NOW, &kit, &problem)) fail_msg("%s", problem.text);
    assert_true(cns_digest_equal(&roster, &kit.roster.digest));
    assert_int_equal(kit.config.index, i + 1);
    assert_string_equal(kit.config.name, names[i]);
    assert_true(kit.config.floor.cohort == 4 && kit.config.floor.included == 3 &&
                kit.config.floor.threshold == 3);
    snprintf(path, sizeof path, "%s/data.csv", folder);
    assert_string_equal(kit.config.data_path, path);
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_true(stat(kit.tls_key_path, &info) == 0 && (info.st_mode & 07777) == 0600);
    cns_kit_deinit(&kit);
  }
}

static void a_federation_is_whole_or_not_there(void **state) {
  static const char *const bad_names[] = {"a", "b", "c", "a"};
  struct cns_identity_public authority;
  struct cns_problem problem = {0};
  struct cns_federation_options options = {
      .study_path = "study.json", .names = bad_names, .name_count = 4, .now_seconds = NOW};
  assert_int_equal(cns_kit_create_federation("f", &options, &authority, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "two hospitals have the name a"));
  assert_int_not_equal(access("f", F_OK), 0);
  /* A folder that was there and empty stays, empty, when the disk is full in the middle. */
  struct rlimit limit, tight = {.rlim_cur = 1500};
  options.names = names;
  assert_int_equal(mkdir("f", 0755), 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  tight.rlim_max = limit.rlim_max;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  int r = cns_kit_create_federation("f", &options, &authority, &problem);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_int_equal(r, CNS_ERR_DISK_FULL);
  assert_int_equal(rmdir("f"), 0);
  options.address = "http://x";
  assert_int_equal(cns_kit_create_federation("f", &options, &authority, &problem), CNS_ERR_FORMAT);
  assert_int_not_equal(access("f", F_OK), 0);
  assert_int_equal(create("f", 3, &problem), CNS_ERR_RANGE);
  must_create();
  assert_int_equal(create("f", 5, &problem), CNS_ERR_EXISTS);
  assert_non_null(strstr(problem.text, "not empty"));
  assert_int_equal(create("study.json", 5, &problem), CNS_ERR_EXISTS);
  assert_int_equal(create("none/f", 5, &problem), CNS_ERR_NOT_FOUND);
}

static void kits_end_with_their_dates(void **state) {
  must_create();
  refuse_load("f/coordinator", CNS_KIT_COORDINATOR, NOW - 2 * 3600, CNS_ERR_REFUSED, "valid only from");
  refuse_load("f/coordinator", CNS_KIT_COORDINATOR, NOW + CNS_POLICY_SECONDS, CNS_ERR_REFUSED, "policy.json");
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW + CNS_ROSTER_SECONDS, CNS_ERR_REFUSED, "roster.json");
}

static void kits_of_others_are_refused(void **state) {
  must_create();
  refuse_load("f/coordinator", CNS_KIT_HOSPITAL, NOW, CNS_ERR_REFUSED,
              "is the kit of a coordinator, not of a");
  refuse_load("f/hospitals/a", CNS_KIT_COORDINATOR, NOW, CNS_ERR_REFUSED,
              "is the kit of a hospital, not of a");
  refuse_load("f/none", CNS_KIT_HOSPITAL, NOW, CNS_ERR_NOT_FOUND, "f/none/config.json");
  assert_int_equal(rename("f/hospitals/a/identity.key", "f/spare"), 0);
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, CNS_ERR_NOT_FOUND, "identity.key");
  assert_int_equal(link("f/hospitals/b/identity.key", "f/hospitals/a/identity.key"), 0);
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, CNS_ERR_REFUSED, "another identity");
  assert_int_equal(rename("f/spare", "f/hospitals/a/identity.key"), 0);
  assert_int_equal(rename("f/hospitals/b/tls.crt", "f/hospitals/a/tls.crt"), 0);
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, CNS_ERR_FORMAT, "isn't the key of the certificate");
  assert_int_equal(rename("f/hospitals/b/tls.key", "f/hospitals/a/tls.key"), 0);
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, CNS_ERR_REFUSED, "the roster has another key");
}

static void another_authority_is_refused(void **state) {
  static const char *const files[] = {"roster.json", "study.json"};
  struct cns_problem problem = {0};
  must_create();
  if (create("g", 5, &problem)) fail_msg("%s", problem.text);
  for (size_t i = 0; i < 2; i++) {
    char from[64], to[64];
    snprintf(from, sizeof from, "g/coordinator/%s", files[i]);
    snprintf(to, sizeof to, "f/coordinator/%s", files[i]);
    assert_int_equal(rename(to, "spare"), 0);
    assert_int_equal(rename(from, to), 0);
    refuse_load("f/coordinator", CNS_KIT_COORDINATOR, NOW, CNS_ERR_SIGNATURE, files[i]);
    assert_int_equal(rename("spare", to), 0);
  }
  assert_int_equal(rename("g/coordinator/policy.json", "f/coordinator/policy.json"), 0);
  refuse_load("f/coordinator", CNS_KIT_COORDINATOR, NOW, CNS_ERR_SIGNATURE, "policy.json");
  assert_int_equal(rename("g/coordinator/authority.pub", "f/hospitals/a/authority.pub"), 0);
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, CNS_ERR_SIGNATURE, "roster.json");
}

static void open_modes_are_refused(void **state) {
  must_create();
  assert_int_equal(chmod("f/coordinator/tls.key", 0640), 0);
  refuse_load("f/coordinator", CNS_KIT_COORDINATOR, NOW, CNS_ERR_PERMISSION, "chmod 600");
  assert_int_equal(chmod("f/hospitals/a/identity.key", 0604), 0);
  refuse_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, CNS_ERR_PERMISSION, "identity.key");
  assert_int_equal(chmod("f/hospitals/b/authority.pub", 0664), 0);
  refuse_load("f/hospitals/b", CNS_KIT_HOSPITAL, NOW, CNS_ERR_PERMISSION, "chmod 644");
}

static void refuse_config(const char *text, const char *sentence) {
  assert_int_equal(cns_file_write("f/hospitals/a/config.json", text, strlen(text), 0644, NULL), 0);
  struct cns_kit kit;
  struct cns_problem problem = {0};
  assert_true(cns_kit_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, &kit, &problem) < 0);
  if (!strstr(problem.text, sentence)) fail_msg("expected '%s' in '%s'", sentence, problem.text);
}

static void configs_are_strict(void **state) {
#define LIMITS "\"floor\":{\"cohort\":4,\"included\":3,\"threshold\":3}"
#define PATHS "\"address\":\"tls+tcp://x:1\",\"data\":\"d.csv\",\"state\":\"s\""
  must_create();
  refuse_config("{", "line 1");
  refuse_config("{}", "role is missing");
  refuse_config("{\"role\":\"nurse\"}", "role must be");
  refuse_config("{\"role\":\"hospital\",\"colour\":1}", "colour is not a known field");
  refuse_config("{\"role\":\"coordinator\",\"listen\":\"x\",\"state\":\"s\"}", "listen: x is not an address");
  refuse_config("{\"role\":\"hospital\",\"name\":\"A\",\"index\":1," PATHS "," LIMITS "}", "name is not");
  refuse_config("{\"role\":\"hospital\",\"name\":\"a\",\"index\":0," PATHS "," LIMITS "}", "index is 0");
  refuse_config("{\"role\":\"hospital\",\"name\":\"a\",\"index\":2," PATHS "," LIMITS "}",
                "no hospital 2 named a");
  refuse_config("{\"role\":\"hospital\",\"name\":\"a\",\"index\":9," PATHS "," LIMITS "}",
                "no hospital 9 named a");
  refuse_config("{\"role\":\"hospital\",\"name\":\"a\",\"index\":1," PATHS
                ",\"floor\":{\"cohort\":3,\"included\":3,\"threshold\":3}}",
                "floor.cohort is 3");
  refuse_config("{\"role\":\"hospital\",\"name\":\"a\",\"index\":1,\"address\":\"tls+tcp://"
                "x:1\",\"data\":\"\",\"state\":"
                "\"s\"," LIMITS "}",
                "data is empty");
  const char *good =
      "{\"role\":\"hospital\",\"name\":\"a\",\"index\":1,\"address\":\"tls+tcp://x:1\",\"data\":\"/d.csv\","
      "\"state\":\"s\"," LIMITS "}";
  struct cns_kit kit;
  assert_int_equal(cns_file_write("f/hospitals/a/config.json", good, strlen(good), 0644, NULL), 0);
  assert_int_equal(cns_kit_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, &kit, NULL), 0);
  assert_string_equal(kit.config.data_path, "/d.csv");
  assert_string_equal(kit.config.state_path, "f/hospitals/a/s");
  cns_kit_deinit(&kit);
}

static void refuse_bytes(const char *path, size_t step) {
  uint8_t *data = NULL;
  size_t len = 0;
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(cns_file_read(path, 1 << 20, &data, &len, NULL), 0);
  for (size_t i = 0; i < len; i += step) {
    struct cns_kit kit;
    data[i] ^= 1;
    FILE *file = fopen(path, "w"); /* faster than a synced file, and keeps the mode */
    assert_true(file && fwrite(data, 1, len, file) == len && fclose(file) == 0);
    if (cns_kit_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, &kit, NULL) == 0)
      fail_msg("%s, byte %zu", path, i);
    data[i] ^= 1;
  }
  assert_int_equal(cns_file_write(path, data, len, info.st_mode & 0777, NULL), 0);
  free(data);
}

static void any_altered_byte_is_refused(void **state) {
  struct cns_kit kit;
  must_create();
  refuse_bytes("f/hospitals/a/roster.json", 7);
  refuse_bytes("f/hospitals/a/policy.json", 5);
  refuse_bytes("f/hospitals/a/study.json", 7);
  refuse_bytes("f/hospitals/a/authority.pub", 3);
  refuse_bytes("f/hospitals/a/identity.key", 3);
  assert_int_equal(cns_kit_load("f/hospitals/a", CNS_KIT_HOSPITAL, NOW, &kit, NULL), 0);
  cns_kit_deinit(&kit);
}

static void parse_study(struct cns_plan *ret_plan) {
  uint8_t *text = NULL;
  size_t len = 0;
  assert_int_equal(cns_file_read("study.json", 10000, &text, &len, NULL), 0);
  assert_int_equal(cns_plan_parse((const char *)text, len, "study.json", ret_plan, NULL), 0);
  free(text);
}

/* A model file with this digest in its metadata (NULL: none), and a study that means it. */
static void make_initial(const struct cns_plan *plan, const char *model_digest, uint8_t **ret_model,
                         size_t *ret_len, char initial[static 256]) {
  const struct cns_safetensors_pair pair = {"model_digest", model_digest};
  const float params[] = {0.5f, -0.5f, 1, 0};
  uint8_t digest[32];
  char hex[65];
  assert_int_equal(plan->dim, 4);
  assert_int_equal(cns_model_serialize(plan, params, &pair, model_digest ? 1 : 0, ret_model, ret_len, NULL),
                   0);
  crypto_generichash(digest, 32, *ret_model, *ret_len, NULL, 0);
  cns_hex_encode(digest, 32, hex);
  snprintf(initial, 256, "{\"file\":\"start.safetensors\",\"digest\":\"%s\"}", hex);
  write_study(initial);
}

static void an_initial_model_is_the_one_its_metadata_mean(void **state) {
  char initial[256], hex[65];
  struct cns_problem problem = {0};
  struct cns_plan plan;
  struct cns_digest digest;
  uint8_t *model = NULL;
  size_t len = 0;
  parse_study(&plan);
  make_initial(&plan, NULL, &model, &len, initial);
  cns_registry_model_digest(model, len, &digest);
  cns_hex_encode(digest.bytes, 32, hex);
  for (int right = 0; right < 2; right++) {
    free(model);
    hex[0] = right ? hex[0] : hex[0] == '0' ? '1' : '0';
    make_initial(&plan, hex, &model, &len, initial);
    assert_int_equal(cns_file_write("start.safetensors", model, len, 0644, NULL), 0);
    cns_hex_encode(digest.bytes, 32, hex);
    if (right) {
      must_create();
    } else {
      assert_int_equal(create("f", 5, &problem), CNS_ERR_FORMAT);
      assert_non_null(strstr(problem.text, "not those whose digest"));
    }
  }
  free(model);
  cns_plan_deinit(&plan);
}

static void an_initial_model_travels_with_the_study(void **state) {
  char initial[256], hex[65];
  const uint8_t digest[32] = {1};
  struct cns_plan plan;
  uint8_t *model = NULL;
  size_t len = 0;
  struct cns_problem problem = {0};
  struct stat info;
  parse_study(&plan);
  make_initial(&plan, NULL, &model, &len, initial);
  cns_hex_encode(digest, 32, hex);
  assert_int_equal(create("f", 5, &problem), CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "start.safetensors"));
  assert_int_equal(cns_file_write("start.safetensors", "other", 5, 0644, NULL), 0);
  assert_int_equal(create("f", 5, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "its digest differs"));
  assert_int_not_equal(access("f", F_OK), 0);
  assert_int_equal(cns_file_write("start.safetensors", model, len, 0644, NULL), 0);
  must_create();
  assert_int_equal(stat("f/hospitals/e/start.safetensors", &info), 0);
  assert_int_equal(info.st_size, len);
  assert_int_equal(stat("f/coordinator/start.safetensors", &info), 0);
  snprintf(initial, sizeof initial, "{\"file\":\"identity.key\",\"digest\":\"%s\"}", hex);
  write_study(initial);
  assert_int_equal(create("g", 5, &problem), CNS_ERR_FORMAT);
  assert_non_null(strstr(problem.text, "a kit's own file"));
  free(model);
  cns_plan_deinit(&plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(every_party_gets_a_kit_that_loads, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(a_federation_is_whole_or_not_there, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(kits_end_with_their_dates, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(kits_of_others_are_refused, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(another_authority_is_refused, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(open_modes_are_refused, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(configs_are_strict, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(any_altered_byte_is_refused, enter_folder, leave_folder),
      cmocka_unit_test_setup_teardown(an_initial_model_is_the_one_its_metadata_mean, enter_folder,
                                      leave_folder),
      cmocka_unit_test_setup_teardown(an_initial_model_travels_with_the_study, enter_folder, leave_folder),
  };
  if (cns_init() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
