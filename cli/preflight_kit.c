/* SPDX-License-Identifier: Apache-2.0 */
/* The kit's folder, its files, and its keys. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/preflight.h"
#include "protocol/pause.h"

#define KEY_MEND "restore the file, or its mode, 0600; if the key is lost, the party has to be enrolled anew"
#define REISSUE "get the kit's file from the consortium's authority again: consilium kit accept"

static void check_mode(struct cns_preflight *p, const char *check, const char *path,
                       const struct stat *info) {
  char mend[512];
  snprintf(mend, sizeof mend, "chmod 700 %s", path);
  if (info->st_mode & 022)
    cns_preflight_bad(p, check, mend, "%s: others than its owner can change what is in this folder", path);
  else if (info->st_mode & 055)
    cns_preflight_warn(p, check, mend, "%s: others than its owner can look into this folder", path);
}

static bool check_folder(struct cns_preflight *p) {
  const char *folder = p->options.folder;
  struct stat info;
  if (stat(folder, &info) != 0) {
    cns_preflight_bad(p, "kit", "give the folder of a coordinator's or a hospital's kit", "%s: %s", folder,
                      strerror(errno));
    return false;
  }
  if (!S_ISDIR(info.st_mode)) {
    cns_preflight_bad(p, "kit", "give the folder of a coordinator's or a hospital's kit", "%s: is no folder",
                      folder);
    return false;
  }
  check_mode(p, "kit", folder, &info);
  if (access(folder, R_OK | X_OK) != 0) {
    cns_preflight_bad(p, "kit", "run this as the user whom the kit belongs to", "%s: %s", folder,
                      strerror(errno));
    return false;
  }
  return true;
}

/* Each file that is missing has a check of its own, which says what it is for. */
static bool check_files(struct cns_preflight *p) {
  static const char *const names[] = {"authority.pub", "config.json", "identity.key", "policy.json",
                                      "roster.json",   "study.json",  "tls.crt",      "tls.key"};
  const size_t count = sizeof names / sizeof names[0];
  size_t here = 0;
  for (size_t k = 0; k < count; k++) {
    char *path = cns_kit_path(p->options.folder, names[k]);
    here += path && access(path, F_OK) == 0;
    free(path);
  }
  if (here == count) cns_preflight_ok(p, "files", "%s has all files of a kit", p->options.folder);
  if (here == 0)
    cns_preflight_bad(p, "kit", "give the folder of a coordinator's or a hospital's kit",
                      "%s: has none of a kit's files", p->options.folder);
  return here > 0;
}

static void check_config(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  int r = cns_kit_config_load(p->options.folder, &p->site.kit.config, &problem);
  if (cns_preflight_take(p, "config", r, &problem,
                         "correct config.json, as consilium kit show or the manual has it"))
    return;
  p->has_config = true;
  const struct cns_kit_config *config = &p->site.kit.config;
  if (config->role == CNS_KIT_HOSPITAL)
    cns_preflight_ok(p, "config", "hospital %u, %s; it dials %s", config->index, config->name,
                     p->options.address ? p->options.address : config->address);
  else
    cns_preflight_ok(p, "config", "coordinator; it listens on %s",
                     p->options.address ? p->options.address : config->address);
}

/* The folder that the daemon makes if it isn't there. */
static void check_state(struct cns_preflight *p) {
  if (!p->has_config) {
    cns_preflight_skip(p, "state", "config.json names it");
    return;
  }
  const char *path = p->site.kit.config.state_path;
  struct stat info;
  if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) {
    cns_preflight_bad(p, "state", "name another path as \"state\" in config.json", "%s: is no folder", path);
  } else if (access(path, F_OK) == 0) {
    if (stat(path, &info) == 0) check_mode(p, "state", path, &info);
    if (access(path, R_OK | W_OK | X_OK) != 0)
      cns_preflight_bad(p, "state", "give it to the user that the daemon runs as: chown",
                        "%s: can't be written to: %s", path, strerror(errno));
    else
      cns_preflight_ok(p, "state", "%s can be written to", path);
  } else {
    char *parent = strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash) slash[slash == parent ? 1 : 0] = '\0';
    const char *above = slash ? parent : ".";
    if (access(above, W_OK | X_OK) != 0)
      cns_preflight_bad(p, "state", "make the folder, mode 700, for the user that the daemon runs as",
                        "%s: is not there, and can't be made: %s: %s", path, above, strerror(errno));
    else
      cns_preflight_ok(p, "state", "%s is not there yet; the daemon makes it", path);
    free(parent);
  }
}

/* Which of the two pairs is in use, the roster says. */
static int find_pair(struct cns_kit *kit, struct cns_problem *problem) {
  struct cns_roster roster = {0};
  struct cns_tls_pin pin = {0};
  if (cns_kit_roster_newest(kit->folder, &roster, NULL) == 0) {
    const struct cns_roster_hospital *self = cns_roster_find(&roster, kit->config.index);
    if (kit->config.role == CNS_KIT_COORDINATOR)
      pin = roster.coordinator_pin;
    else if (self)
      pin = self->pin;
    cns_roster_deinit(&roster);
  }
  return cns_kit_find_certificate(kit->folder, &pin, &kit->tls_key_path, &kit->tls_certificate_path, problem);
}

static bool load_keys(struct cns_preflight *p) {
  struct cns_kit *kit = &p->site.kit;
  struct cns_problem problem = {0};
  char *identity = cns_kit_path(kit->folder, "identity.key");
  int r = identity ? find_pair(kit, &problem) : CNS_ERR_MEMORY;
  if (!r) r = cns_identity_load(identity, &kit->identity, &problem);
  free(identity);
  bool good = cns_preflight_take(p, "keys", r, &problem, KEY_MEND) == 0;
  problem = (struct cns_problem){0};
  if (!kit->tls_certificate_path) return false;
  r = cns_certificate_pin(kit->tls_certificate_path, &kit->pin, &p->certificate_until, &problem);
  bool certificate = cns_preflight_take(p, "certificate", r, &problem, REISSUE) == 0;
  if (!certificate) {
    cns_preflight_skip(p, "keys", "whether tls.key belongs to the certificate");
    return false;
  }
  cns_preflight_expiry(
      p, "certificate", "tls.crt", p->certificate_until,
      "consilium kit renew, and have the consortium's authority renew it (roster renew) before");
  problem = (struct cns_problem){0};
  r = cns_certificate_check_key(kit->tls_key_path, &kit->pin, &problem);
  bool pair = cns_preflight_take(p, "keys", r, &problem, KEY_MEND) == 0;
  return good && pair;
}

void cns_preflight_kit(struct cns_preflight *p) {
  struct cns_problem problem = {0};
  p->site.kit.folder = strdup(p->options.folder);
  if (!p->site.kit.folder || !check_folder(p) || !check_files(p)) return;
  p->is_kit = true;
  check_config(p);
  check_state(p);
  p->has_keys = load_keys(p);
  if (p->has_keys)
    cns_preflight_ok(p, "keys", "identity.key and tls.key are private, and tls.key is that of tls.crt");
  int r = cns_kit_authority_load(p->options.folder, &p->site.kit.authority, &problem);
  p->has_authority =
      cns_preflight_take(p, "authority", r, &problem,
                         "compare the authority's key over the telephone: consilium kit accept") == 0;
}

void cns_preflight_pause(struct cns_preflight *p, const char *whom) {
  struct cns_pause pause;
  struct cns_problem problem = {0};
  char text[CNS_PAUSE_SENTENCE_MAX], mend[512];
  snprintf(mend, sizeof mend, "consilium resume %s", p->options.folder);
  int r = cns_pause_load(p->site.kit.config.state_path, CNS_PAUSE_FILE, &pause, &problem);
  if (cns_preflight_take(p, "pause", r, &problem, mend) || pause.state == CNS_PAUSE_NONE) return;
  cns_pause_describe(&pause, text);
  if (pause.state == CNS_PAUSE_STOPPED)
    cns_preflight_bad(p, "pause", "a new study needs a new name and a new kit", "%s is %s", whom, text);
  else
    cns_preflight_warn(p, "pause", mend, "%s is %s", whom, text);
}
