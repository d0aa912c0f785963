/* SPDX-License-Identifier: Apache-2.0 */
#include "client/judging.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct cns_judge {
  atomic_bool stopped;
};

struct cns_judging {
  uv_work_t request;
  struct cns_hospital *machine;
  struct cns_judge *judge;
  uint8_t *bytes;
  size_t len;
  int result;
  const uint8_t *answer; /* the machine's */
  size_t answer_len;
  struct cns_problem problem;
  bool abandoned;
  cns_judging_done *done;
  void *context;
};

static int sketch_masks(void *context, const struct cns_sketch_key *key, uint32_t k,
                        const struct cns_mask_seed *seeds, size_t count, uint64_t words,
                        uint32_t *ret_sketches) {
  struct cns_judge *judge = context;
  const struct cns_parallel alone = {0}; /* other programs of the hospital run here too */
  if (atomic_load(&judge->stopped)) return CNS_ERR_CANCELLED;
  return cns_sketch_masks(key, k, seeds, count, words, alone, ret_sketches);
}

int cns_judge_new(struct cns_judge **ret_judge) {
  struct cns_judge *judge = calloc(1, sizeof *judge);
  if (!judge) return CNS_ERR_MEMORY;
  *ret_judge = judge;
  return 0;
}

struct cns_judge *cns_judge_free(struct cns_judge *judge) {
  free(judge);
  return NULL;
}

struct cns_sketcher cns_judge_sketcher(struct cns_judge *judge) {
  return (struct cns_sketcher){.masks = sketch_masks, .context = judge};
}

static void run(uv_work_t *request) {
  struct cns_judging *judging = request->data;
  judging->result = cns_hospital_handle(judging->machine, judging->bytes, judging->len, &judging->answer,
                                        &judging->answer_len, &judging->problem);
}

static void after(uv_work_t *request, int status) {
  struct cns_judging *judging = request->data;
  if (status == UV_ECANCELED || judging->abandoned) judging->result = CNS_ERR_CANCELLED;
  if (judging->abandoned) {
    cns_hospital_free(judging->machine);
    cns_judge_free(judging->judge);
    judging->answer = NULL;
    judging->answer_len = 0;
  }
  judging->done(judging->context, judging, judging->result, judging->answer, judging->answer_len,
                &judging->problem);
  cns_wipe(judging->bytes, judging->len); /* the accused's secrets: a liar's, but secrets */
  free(judging->bytes);
  free(judging);
}

int cns_judging_start(uv_loop_t *uv, struct cns_hospital *machine, struct cns_judge *judge,
                      const uint8_t *request, size_t len, cns_judging_done *done, void *context,
                      struct cns_judging **ret_judging) {
  struct cns_judging *judging = calloc(1, sizeof *judging);
  uint8_t *bytes = malloc(len ? len : 1);
  if (!judging || !bytes) {
    free(judging);
    free(bytes);
    return CNS_ERR_MEMORY;
  }
  memcpy(bytes, request, len);
  *judging = (struct cns_judging){
      .machine = machine, .judge = judge, .bytes = bytes, .len = len, .done = done, .context = context};
  judging->request.data = judging;
  if (uv_queue_work(uv, &judging->request, run, after) != 0) {
    free(bytes);
    free(judging);
    return CNS_ERR_LIBRARY;
  }
  *ret_judging = judging;
  return 0;
}

void cns_judging_abandon(struct cns_judging *judging) {
  judging->abandoned = true;
  atomic_store(&judging->judge->stopped, true);
  (void)uv_cancel((uv_req_t *)&judging->request); /* fails, and need not succeed, once it runs */
}
