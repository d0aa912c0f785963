/* SPDX-License-Identifier: Apache-2.0 */
/* What rounds need of the machine: room on the disk, memory, and what the system lets a process have. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/preflight.h"
#include "coordinator/server.h"

/* Records, journal, ledger, logs. */
#define BESIDE_BYTES (64u << 20)
#define MODELS_KEPT 10
/* A hospital has the parent model, its own copy that it trains, and the update; a coordinator the model, the
 * sum, and the model's file. */
#define MODELS_IN_MEMORY 3
/* Keys and shares of a round are kept from being swapped out. */
#define LOCKED_BYTES (1u << 20)
/* As in coordinator/server_internal.h: journal, models, listener, strangers. */
#define FILES_BESIDE 128

static double mib(uint64_t bytes) {
  return (double)bytes / (1024.0 * 1024.0);
}

static bool free_bytes(const char *path, uint64_t *ret_bytes) {
  struct statvfs disk;
  char *at = strdup(path);
  /* What isn't there yet is made in the folder above. */
  while (at && access(at, F_OK) != 0 && strrchr(at, '/') > at)
    *strrchr(at, '/') = '\0';
  bool good = at && statvfs(at, &disk) == 0;
  free(at);
  if (good) *ret_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
  return good;
}

static void check_disk(struct cns_preflight *p, uint64_t round_bytes, uint64_t later_bytes) {
  const char *path = p->site.kit.config.state_path;
  uint64_t bytes = 0;
  if (!free_bytes(path, &bytes)) {
    cns_preflight_warn(p, "disk", "", "%s: how much room there is can't be told: %s", path, strerror(errno));
    return;
  }
  if (bytes < round_bytes)
    cns_preflight_bad(p, "disk", "make room, or name another disk's folder as \"state\" in config.json",
                      "%s: %.0f MiB are free, and a round needs %.0f", path, mib(bytes), mib(round_bytes));
  else if (bytes < later_bytes)
    cns_preflight_warn(
        p, "disk", "make room before it is short",
        "%s: %.0f MiB are free, enough for a round; with the models of the last %d, %.0f are needed", path,
        mib(bytes), MODELS_KEPT, mib(later_bytes));
  else
    cns_preflight_ok(p, "disk", "%s: %.0f MiB are free, and %.0f are needed", path, mib(bytes),
                     mib(later_bytes));
}

/* A line of /proc/meminfo, in bytes; false where there is none. */
static bool memory_line(const char *name, uint64_t *ret_bytes) {
  FILE *file = fopen("/proc/meminfo", "re");
  char line[256];
  bool found = false;
  size_t len = strlen(name);
  while (file && !found && fgets(line, sizeof line, file)) {
    if (strncmp(line, name, len) != 0 || line[len] != ':') continue;
    *ret_bytes = strtoull(line + len + 1, NULL, 10) * 1024;
    found = true;
  }
  if (file) fclose(file);
  return found;
}

static void check_memory(struct cns_preflight *p, uint64_t needed) {
  uint64_t available = 0, swap = 0;
  struct rlimit limit;
  if (!memory_line("MemAvailable", &available))
    cns_preflight_warn(p, "memory", "", "how much is available can't be told");
  else if (available < needed)
    cns_preflight_bad(p, "memory", "close other programs, or use a machine with more memory",
                      "%.0f MiB are available, and a round of this study needs %.0f", mib(available),
                      mib(needed));
  else
    cns_preflight_ok(p, "memory", "%.0f MiB are available, and %.0f are needed", mib(available), mib(needed));
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < LOCKED_BYTES &&
      (!memory_line("SwapTotal", &swap) || swap > 0))
    cns_preflight_warn(p, "memory",
                       "allow more (ulimit -l, or LimitMEMLOCK= of the service), or encrypt the swap",
                       "this process may lock %" PRIu64
                       " KiB of memory, so that keys and shares of a round may be written to swap space",
                       (uint64_t)limit.rlim_cur / 1024);
}

static void check_files(struct cns_preflight *p, uint64_t needed) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  if (limit.rlim_max < needed)
    cns_preflight_bad(p, "limits", "allow more (ulimit -Hn, or LimitNOFILE= of the service)",
                      "a process may open %" PRIu64 " files and streams here, and this one needs %" PRIu64,
                      (uint64_t)limit.rlim_max, needed);
  else
    cns_preflight_ok(p, "limits", "files and streams: %" PRIu64 " needed, %" PRIu64 " allowed", needed,
                     (uint64_t)limit.rlim_max);
}

void cns_preflight_room(struct cns_preflight *p) {
  bool coordinator = p->site.kit.config.role == CNS_KIT_COORDINATOR;
  if (!p->has_study || (coordinator && !p->has_roster)) {
    cns_preflight_skip(p, "disk",
                       "the study says how large the model is, the roster how many hospitals send it");
    cns_preflight_skip(p, "memory", "the study says how large the model is");
    return;
  }
  const struct cns_plan *plan = &p->site.plan;
  uint64_t model = (uint64_t)cns_plan_dim(plan) * sizeof(float), table = 0, active = 1;
  uint64_t upload = 4 * ((uint64_t)cns_plan_update_dim(plan) + cns_plan_metrics_dim(plan));
  if (coordinator) active = cns_roster_active_count(&p->site.kit.roster);
  if (p->has_data)
    table = (p->site.train.rows + p->site.validation.rows) * p->site.plan.feature_count * sizeof(float);
  uint64_t round_bytes = coordinator ? active * upload + 2 * model + CNS_SERVER_DISK_MARGIN_BYTES : 2 * model;
  /* The model and the update, in files, and what must stay free beside what the command writes. */
  if (!coordinator && p->site.kit.config.trainer.command)
    round_bytes += 2 * model + p->site.kit.config.trainer.free_bytes;
  check_disk(p, round_bytes + BESIDE_BYTES, round_bytes + MODELS_KEPT * model + BESIDE_BYTES);
  /* With control variates an update is longer than the model. */
  check_memory(p, MODELS_IN_MEMORY * (upload > model ? upload : model) + table + BESIDE_BYTES);
  check_files(p, coordinator ? FILES_BESIDE + 2 * active : 64);
}
