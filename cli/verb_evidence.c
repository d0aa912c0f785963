/* SPDX-License-Identifier: Apache-2.0 */
/* consilium evidence: does a file prove that a hospital broke the protocol? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "model/plan.h"
#include "protocol/verdict.h"
#include "store/kit.h"

#define VERB "evidence verify"
#define NAME_CHARS (CNS_NAME_MAX + 32)

struct call {
  const char *file, *roster_path, *authority_path;
  bool json;
};

/* What the evidence is judged under. */
struct basis {
  struct cns_roster roster;
  char *authority_path; /* whose key the roster's signature was checked with; NULL: its own word */
  char *study;          /* name of the kit's study; NULL: not known */
};

/* What each kind of blame means; %s is the other hospital. */
struct meaning {
  const char *did, *proof;
};

static const struct meaning meanings[CNS_BLAME_COUNT] = {
    [CNS_BLAME_BAD_KEYS] = {"It sent keys without showing that it holds their secrets.",
                            "Its signed keys: the proofs of possession in them don't hold."},
    [CNS_BLAME_BAD_POINTS] = {"It dealt out shares under points that are none, or that are of nothing.",
                              "The points, under the root that it signed."},
    [CNS_BLAME_DEGREE] =
        {"It dealt out shares that don't lie on one polynomial of the round's degree, so "
         "that different hospitals would find different secrets.",
         "The points, under the root that it signed: they fail the test of the degree, whose "
         "challenge follows from its message."},
    [CNS_BLAME_BAD_SHARE] =
        {"It dealt %s a share that doesn't open, or that doesn't fit its point.",
         "The complaint: the share under the dealer's signature, and with a proof the key "
         "of that pair, with which anybody can open it."},
    [CNS_BLAME_FALSE_COMPLAINT] = {"It complained of a share of %s that is good.",
                                   "Its complaint, under the root that it signed: the share in it, or what "
                                   "should show that it is bad, is refuted by the dealer's signed keys."},
    [CNS_BLAME_WRONG_SHARE] =
        {"It released a share of a secret of %s that isn't the one it was dealt.",
         "Its signed answer: the share doesn't fit the point that the dealer had signed "
         "for it."},
    [CNS_BLAME_EQUIVOCATION] = {"It signed two different answers to one question.",
                                "Both answers, signed under the same lists."},
    [CNS_BLAME_FALSE_PAIR] =
        {"It signed a sketch of the mask that it shares with %s, and it isn't that mask's.",
         "Its signed sketch, and the pair's opened secret: the mask was made from it and "
         "sketched again, and the two differ."},
    [CNS_BLAME_FALSE_SELF] = {"It signed a sketch of its self mask, and it isn't that mask's.",
                              "Its signed sketch, and the self mask's secret: the mask was made from it and "
                              "sketched again, and the two differ."},
};

static const char not_checked[] =
    "when it was signed: whoever steals that key later can sign for past rounds too; the published heads of "
    "the coordinator's journal, which are to show the time, are reserved and not looked at in this version";

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static void basis_deinit(struct basis *basis) {
  cns_roster_deinit(&basis->roster);
  free(basis->authority_path);
  free(basis->study);
}

/* The name of a kit's study, if there is one under the authority's signature. */
static char *study_name(const char *kit, const struct cns_identity_public *authority) {
  struct cns_document document = {0};
  struct cns_plan plan = {0};
  char *name = NULL;
  if (cns_kit_document_load(kit, "study.json", "study", &document, NULL) < 0) return NULL;
  if (cns_document_verify("study", &document, "authority", authority, NULL) == 0 &&
      cns_plan_parse(document.payload, document.payload_len, "study.json", &plan, NULL) == 0)
    name = strdup(plan.name);
  cns_plan_deinit(&plan);
  cns_document_deinit(&document);
  return name;
}

static int open_roster(const char *path, const struct cns_identity_public *authority,
                       struct cns_roster *ret_roster, struct cns_problem *problem) {
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(path, CNS_JSON_BYTES_MAX, &data, &len, problem);
  if (!r) r = cns_roster_open(data, len, path, authority, ret_roster, problem);
  free(data);
  return r;
}

static int open_basis(const struct call *call, struct basis *ret_basis, struct cns_problem *problem) {
  struct basis basis = {0};
  struct cns_identity_public authority;
  bool kit = is_folder(call->roster_path);
  char *path = kit ? cns_kit_path(call->roster_path, "roster.json") : strdup(call->roster_path);
  if (call->authority_path)
    basis.authority_path = strdup(call->authority_path);
  else if (kit)
    basis.authority_path = cns_kit_path(call->roster_path, "authority.pub");
  bool checked = call->authority_path || kit;
  int r = path && (basis.authority_path || !checked)
              ? 0
              : cns_problem_set(problem, CNS_ERR_MEMORY, "out of memory");
  if (!r && checked) r = cns_kit_authority_read(basis.authority_path, &authority, problem);
  if (!r) r = open_roster(path, checked ? &authority : NULL, &basis.roster, problem);
  if (!r && kit) basis.study = study_name(call->roster_path, &basis.roster.authority.identity);
  free(path);
  if (r)
    basis_deinit(&basis);
  else
    *ret_basis = basis;
  return r;
}

/* "hospital 3 (north)" */
static void name_of(const struct basis *basis, uint16_t index, char out[static NAME_CHARS]) {
  const struct cns_roster_hospital *hospital = cns_roster_find(&basis->roster, index);
  if (hospital)
    snprintf(out, NAME_CHARS, "hospital %u (%s)", index, hospital->name);
  else
    snprintf(out, NAME_CHARS, "hospital %u", index);
}

/* Is it a round of the study in the kit? */
static bool is_of_study(const struct basis *basis, const struct cns_conviction *conviction) {
  struct cns_digest digest;
  if (!basis->study) return false;
  cns_study_digest(basis->roster.consortium, basis->study, &digest);
  return cns_digest_equal(&digest, &conviction->study);
}

static void what_it_did(const struct basis *basis, const struct cns_conviction *conviction,
                        char out[static 512]) {
  const char *did = meanings[conviction->blame].did, *place = strstr(did, "%s");
  char other[NAME_CHARS] = "itself";
  if (conviction->other) name_of(basis, conviction->other, other);
  if (place)
    snprintf(out, 512, "%.*s%s%s", (int)(place - did), did, other, place + 2);
  else
    snprintf(out, 512, "%s", did);
}

/* One paragraph, in lines of up to 80 characters that begin in this column. */
static void print_wrapped(const char *text, int column) {
  int at = column;
  while (*text) {
    int len = (int)strcspn(text, " ");
    if (at > column && at + 1 + len > 80) {
      printf("\n%*s", column, "");
      at = column;
    } else if (at > column) {
      printf(" ");
      at++;
    }
    printf("%.*s", len, text);
    at += len;
    text += len + (text[len] == ' ');
  }
  printf("\n");
}

static void print_row(const char *name, const char *text) {
  printf("  %-11s ", name);
  print_wrapped(text, 14);
}

static void print_study(const struct basis *basis, const struct cns_conviction *conviction) {
  char hex[2 * CNS_DIGEST_BYTES + 1], text[512];
  cns_hex_encode(conviction->study.bytes, CNS_DIGEST_BYTES, hex);
  if (is_of_study(basis, conviction))
    snprintf(text, sizeof text, "%s", basis->study);
  else
    snprintf(text, sizeof text, "%s (digest of consortium and name%s)", hex,
             basis->study ? "; it isn't the study in this kit" : "");
  print_row("study", text);
}

static void print_limits(const struct basis *basis, const struct cns_conviction *conviction) {
  char text[1024], key[2 * CNS_IDENTITY_BYTES + 1];
  const char *name = cns_roster_find(&basis->roster, conviction->index)->name;
  snprintf(
      text, sizeof text,
      "This proves that whoever held the identity key of %s, as version %" PRIu64
      " of the roster has it, signed this in that round. A machine that keeps to the protocol never does.%s",
      name, basis->roster.version,
      conviction->blame == CNS_BLAME_FALSE_PAIR || conviction->blame == CNS_BLAME_FALSE_SELF
          ? " Whether it lied or has a faulty machine isn't said, nor how far the value is off."
          : "");
  print_wrapped(text, 0);
  printf("\n");
  snprintf(text, sizeof text, "Not checked: %s.", not_checked);
  print_wrapped(text, 0);
  printf("\n");
  cns_hex_encode(basis->roster.authority.identity.bytes, CNS_IDENTITY_BYTES, key);
  if (basis->authority_path)
    snprintf(text, sizeof text, "The roster is signed with the authority's key that %s has.",
             basis->authority_path);
  else
    snprintf(
        text, sizeof text,
        "THE ROSTER WAS TAKEN ON TRUST: it is signed with the key that it names itself, %s. Compare that "
        "with the authority's key in your kit, or give --authority.",
        key);
  cns_text_clean(text);
  print_wrapped(text, 0);
}

static int print_text(const struct basis *basis, const struct cns_conviction *conviction) {
  char text[512], name[NAME_CHARS];
  name_of(basis, conviction->index, name);
  printf("Proven: %s broke the protocol.\n\n", name);
  print_row("consortium", basis->roster.consortium);
  print_study(basis, conviction);
  snprintf(text, sizeof text, "%" PRIu64 ", attempt %" PRIu32 ", phase %s", conviction->round,
           conviction->attempt, cns_phase_name(conviction->phase));
  print_row("round", text);
  print_row("kind", cns_blame_name(conviction->blame));
  what_it_did(basis, conviction, text);
  print_row("what it did", text);
  print_row("proof", meanings[conviction->blame].proof);
  printf("\n");
  print_limits(basis, conviction);
  return cns_cli_finish(CNS_EXIT_OK);
}

static int add_digest(cJSON *json, const char *name, const struct cns_digest *digest) {
  return cns_json_add_hex(json, name, digest->bytes, sizeof digest->bytes);
}

/* What the roster is worth. */
static int add_roster(cJSON *json, const struct basis *basis) {
  cJSON_AddStringToObject(json, "consortium", basis->roster.consortium);
  cJSON_AddNumberToObject(json, "roster_version", (double)basis->roster.version);
  cJSON_AddBoolToObject(json, "roster_on_trust", basis->authority_path == NULL);
  return cns_json_add_hex(json, "authority", basis->roster.authority.identity.bytes, CNS_IDENTITY_BYTES);
}

static void add_null(cJSON *json, const char *const *names) {
  for (; *names; names++)
    cJSON_AddNullToObject(json, *names);
}

static int print_conviction(const struct basis *basis, const struct cns_conviction *conviction) {
  char did[512];
  const struct cns_roster_hospital *hospital = cns_roster_find(&basis->roster, conviction->index);
  cJSON *json = cJSON_CreateObject();
  what_it_did(basis, conviction, did);
  cJSON_AddBoolToObject(json, "valid", true);
  cJSON_AddStringToObject(json, "hospital", hospital->name);
  cJSON_AddNumberToObject(json, "index", conviction->index);
  cJSON_AddNumberToObject(json, "round", (double)conviction->round);
  cJSON_AddNumberToObject(json, "attempt", conviction->attempt);
  cJSON_AddStringToObject(json, "phase", cns_phase_name(conviction->phase));
  cJSON_AddStringToObject(json, "kind", cns_blame_name(conviction->blame));
  if (conviction->other)
    cJSON_AddNumberToObject(json, "other", conviction->other);
  else
    cJSON_AddNullToObject(json, "other");
  cJSON_AddStringToObject(json, "reason", did);
  cJSON_AddStringToObject(json, "proof", meanings[conviction->blame].proof);
  if (is_of_study(basis, conviction))
    cJSON_AddStringToObject(json, "study", basis->study);
  else
    cJSON_AddNullToObject(json, "study");
  cJSON_AddStringToObject(json, "not_checked", not_checked);
  int r = add_digest(json, "study_digest", &conviction->study);
  if (!r) r = add_roster(json, basis);
  if (!r) return cns_cli_print_json(json);
  cJSON_Delete(json);
  return cns_cli_fail(r, NULL);
}

/* What the file says is apart: nothing of it is proven. */
static int add_claim(cJSON *json, const struct cns_conviction *claim) {
  cJSON *object = cJSON_AddObjectToObject(json, "claims");
  cJSON_AddNumberToObject(object, "index", claim->index);
  cJSON_AddNumberToObject(object, "round", (double)claim->round);
  cJSON_AddNumberToObject(object, "attempt", claim->attempt);
  cJSON_AddStringToObject(object, "kind", cns_blame_name(claim->blame));
  int r = add_digest(object, "study_digest", &claim->study);
  return r ? r : add_digest(object, "roster_digest", &claim->roster);
}

static int print_refuted(const struct basis *basis, const uint8_t *data, size_t len,
                         const struct cns_problem *why) {
  static const char *const unknown[] = {"hospital", "index", "round", "attempt",
                                        "phase",    "kind",  "other", NULL};
  struct cns_conviction claim;
  cJSON *json = cJSON_CreateObject();
  cJSON_AddBoolToObject(json, "valid", false);
  add_null(json, unknown);
  cJSON_AddStringToObject(json, "reason", why->text);
  int r = 0;
  if (cns_evidence_read(data, len, &claim, NULL) == 0)
    r = add_claim(json, &claim);
  else
    cJSON_AddNullToObject(json, "claims");
  if (!r) r = add_roster(json, basis);
  if (!r) return cns_cli_print_json(json);
  cJSON_Delete(json);
  return cns_cli_fail(r, NULL);
}

static int refute(const struct call *call, const struct basis *basis, const uint8_t *data, size_t len,
                  int error, struct cns_problem *problem) {
  bool judged = error == CNS_ERR_PROOF || error == CNS_ERR_FORMAT || error == CNS_ERR_VERSION;
  if (judged && call->json) {
    int code = print_refuted(basis, data, len, problem);
    if (code != CNS_EXIT_OK) return code;
  }
  cns_problem_prefix(problem, error, "%s", call->file);
  return cns_cli_fail(error, problem);
}

static int verify(const struct call *call) {
  struct cns_problem problem = {0};
  struct basis basis = {0};
  struct cns_conviction conviction;
  uint8_t *data = NULL;
  size_t len = 0;
  int r = cns_file_read(call->file, CNS_EVIDENCE_BYTES_MAX, &data, &len, &problem);
  if (!r) r = open_basis(call, &basis, &problem);
  if (r) {
    free(data);
    return cns_cli_fail(r, &problem);
  }
  r = cns_evidence_judge(&basis.roster, data, len, &conviction, &problem);
  int code = r            ? refute(call, &basis, data, len, r, &problem)
             : call->json ? print_conviction(&basis, &conviction)
                          : print_text(&basis, &conviction);
  basis_deinit(&basis);
  free(data);
  return code;
}

static int run_verify(int argc, char **argv) {
  struct call call = {0};
  int operands = 0;
  const struct cns_option table[] = {
      {"roster", "ROSTER", "roster of that round: its file, or a kit (required)", CNS_OPTION_TEXT,
       &call.roster_path, 0, 0},
      {"authority", "FILE", "file with the authority's key, that the roster must be signed with",
       CNS_OPTION_TEXT, &call.authority_path, 0, 0},
      {"json", NULL, "print JSON", CNS_OPTION_FLAG, &call.json, 0, 0},
      {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {
      VERB " FILE --roster ROSTER [--authority FILE] [--json]",
      "Checks offline whether a file proves that a hospital broke the protocol, and says which,\n"
      "when, and with what. Needs the roster that the round was made under. Of a kit, the roster's\n"
      "signature is checked with the kit's authority.pub; of a roster's file, with --authority, or\n"
      "not at all. Exit code 3: it proves nothing.",
      table, 1, 1};
  int r = cns_cli_parse(&usage, argc, argv, &operands);
  if (r) return cns_cli_parse_exit(r);
  if (!call.roster_path) return cns_cli_usage_error(VERB, "--roster ROSTER is missing");
  call.file = argv[1];
  return verify(&call);
}

int cns_cli_evidence(int argc, char **argv) {
  static const struct cns_verb verbs[] = {
      {"verify", "check evidence against a hospital, offline", run_verify}, {NULL, NULL, NULL}};
  return cns_cli_dispatch("consilium evidence", "What proves that a hospital broke the protocol.", verbs,
                          argc, argv);
}
