/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sum of all uploads, kept while they come: when the round ends, only masks and
 * uploads that don't count are left to be taken off, and nothing is read back but those.
 * It is a shortcut: the files have everything, and are read where it isn't there.
 */
#include <stdlib.h>

#include "coordinator/server_internal.h"

static uint64_t words_of(const struct cns_server *s) {
  return cns_descriptor_words(&cns_coordinator_round(s->machine)->descriptor);
}

void cns_running_drop(struct cns_server *s) {
  free(s->running.sum);
  s->running = (struct cns_running){0};
}

void cns_running_spoil(struct cns_server *s) {
  cns_running_drop(s);
  s->running.spoilt = true;
}

void cns_running_forget(struct cns_server *s, size_t position) {
  if (s->uploads[position].added > 0) cns_running_spoil(s);
  s->uploads[position].added = 0;
}

void cns_running_add(struct cns_server *s, size_t position, uint64_t chunk, const uint32_t *words,
                     size_t count) {
  struct cns_running *running = &s->running;
  if (!running->spoilt && !running->sum) {
    running->sum = calloc((size_t)words_of(s), sizeof *running->sum);
    running->spoilt = !running->sum;
  }
  if (running->spoilt) return;
  uint32_t *sum = running->sum + chunk * CNS_CHUNK_WORDS;
  for (size_t w = 0; w < count; w++)
    sum[w] += words[w];
  s->uploads[position].added = chunk + 1;
}

uint64_t cns_running_words(const struct cns_server *s, size_t position) {
  uint64_t words = words_of(s), added = s->uploads[position].added * CNS_CHUNK_WORDS;
  return added < words ? added : words;
}
