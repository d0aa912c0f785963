/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model that rounds start from: a file of the registry, mapped. From there its
 * parameters are read and its bytes are sent; the next one is written in place, into a
 * draft beside it. No model is ever in the daemon's own memory.
 */
#include "coordinator/server_internal.h"
#include "store/study_model.h"

void cns_server_drop_model(struct cns_server *s) {
  cns_model_view_deinit(&s->view);
  s->model_map = cns_model_map_free(s->model_map);
  s->params = NULL;
  s->model_bytes = NULL;
  s->model_len = 0;
}

int cns_server_take_model(struct cns_server *s, struct cns_model_map *map, const struct cns_digest *digest,
                          const char *where, struct cns_problem *problem) {
  struct cns_model_view view = {0};
  size_t len;
  const uint8_t *bytes = cns_model_map_bytes(map, &len);
  int r = cns_model_view(&s->plan, bytes, len, where, &view, problem);
  if (r < 0) return r;
  cns_server_drop_model(s);
  s->model_map = map;
  s->view = view;
  s->params = view.params;
  s->model_bytes = bytes;
  s->model_len = len;
  s->model = *digest;
  return 0;
}

int cns_server_first_model(struct cns_server *s, struct cns_problem *problem) {
  struct cns_model_map *map = NULL;
  struct cns_digest digest;
  int r = cns_study_model_initial(s->registry, &s->plan, s->kit.folder, &digest, &map, problem);
  if (r == 0) r = cns_server_take_model(s, map, &digest, "the study's initial model", problem);
  if (r < 0) cns_model_map_free(map);
  return r;
}

int cns_server_sweep_models(struct cns_server *s, struct cns_problem *problem) {
  const struct cns_digest keep[] = {s->initial, s->model};
  return cns_registry_sweep(s->registry, keep, 2, problem);
}
