/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "model/model_view.h"
#include "model/modelfile.h"
#include "model/network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct cns_plan plan;
static float params[64];

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  plan = parsed(toy_study);
  return cns_network_init(&plan, 5, params);
}

static int teardown(void **state) {
  cns_plan_deinit(&plan);
  return 0;
}

static void our_files_are_read_in_place(void **state) {
  struct cns_model_view view = {0};
  uint8_t *data, *head;
  size_t len, head_len;
  assert_int_equal(cns_model_serialize(&plan, params, NULL, 0, &data, &len, NULL), 0);
  assert_int_equal(cns_model_view(&plan, data, len, "m", &view, NULL), 0);
  assert_null(view.copy);
  assert_memory_equal(view.params, params, plan.dim * sizeof *params);
  assert_int_equal(cns_model_head(&plan, &head, &head_len, NULL), 0);
  assert_ptr_equal(view.params, data + head_len);
  assert_int_equal(head_len + plan.dim * sizeof *params, len);
  assert_int_equal(head_len % 8, 0);
  assert_memory_equal(head, data, head_len);
  cns_model_view_deinit(&view);
  cns_model_view_deinit(&view);
  free(head);
  free(data);
}

/* The plan's tensors in the other order, and as F16. */
static uint8_t *foreign_file(enum cns_dtype dtype, size_t *ret_len) {
  struct cns_safetensors_tensor tensors[16];
  size_t count = cns_plan_tensor_count(&plan), head_len;
  uint64_t data_len;
  uint8_t *head;
  for (size_t t = 0; t < count; t++) {
    struct cns_plan_tensor from = cns_plan_tensor(&plan, count - 1 - t);
    tensors[t] =
        (struct cns_safetensors_tensor){.shape_count = from.shape_count, .count = from.count, .dtype = dtype};
    memcpy(tensors[t].shape, from.shape, sizeof from.shape);
    memcpy(tensors[t].name, from.name, strlen(from.name) + 1);
  }
  assert_int_equal(cns_safetensors_header(tensors, count, NULL, 0, &head, &head_len, &data_len, NULL), 0);
  uint8_t *data = calloc(1, head_len + data_len), *at = data + head_len;
  memcpy(data, head, head_len);
  free(head);
  for (size_t t = 0; t < count && dtype == CNS_DTYPE_F32; t++) {
    struct cns_plan_tensor from = cns_plan_tensor(&plan, count - 1 - t);
    memcpy(at, params + from.offset, from.count * sizeof *params);
    at += from.count * sizeof *params;
  }
  *ret_len = head_len + data_len;
  return data;
}

static void other_layouts_are_copied(void **state) {
  struct cns_model_view view = {0};
  size_t len;
  uint8_t *data = foreign_file(CNS_DTYPE_F32, &len);
  assert_int_equal(cns_model_view(&plan, data, len, "m", &view, NULL), 0);
  assert_ptr_equal(view.params, view.copy);
  assert_memory_equal(view.params, params, plan.dim * sizeof *params);
  cns_model_view_deinit(&view);
  free(data);
  data = foreign_file(CNS_DTYPE_F16, &len);
  assert_int_equal(cns_model_view(&plan, data, len, "m", &view, NULL), 0);
  assert_non_null(view.copy);
  for (size_t k = 0; k < plan.dim; k++)
    assert_true(view.params[k] == 0);
  cns_model_view_deinit(&view);
  free(data);
}

static void what_is_no_model_of_the_plan_is_refused(void **state) {
  struct cns_plan wider = changed_plan("[4, 5]", "[4, 6]");
  struct cns_model_view view = {0};
  struct cns_problem problem = {{0}};
  float bad[64], zeros[128] = {0};
  uint8_t *data;
  size_t len;
  assert_int_equal(cns_model_serialize(&wider, zeros, NULL, 0, &data, &len, NULL), 0);
  assert_int_equal(cns_model_view(&plan, data, len, "m", &view, &problem), CNS_ERR_FORMAT);
  free(data);
  for (size_t k = 0; k < plan.dim; k += plan.dim - 1) {
    memcpy(bad, params, sizeof bad);
    bad[k] = k ? NAN : INFINITY;
    assert_int_equal(cns_model_serialize(&plan, bad, NULL, 0, &data, &len, NULL), 0);
    assert_int_equal(cns_model_view(&plan, data, len, "m", &view, &problem), CNS_ERR_RANGE);
    assert_non_null(strstr(problem.text, "not finite"));
    free(data);
  }
  assert_int_equal(cns_model_serialize(&plan, params, NULL, 0, &data, &len, NULL), 0);
  for (size_t cut = 0; cut < len; cut += 7)
    assert_true(cns_model_view(&plan, data, cut, "m", &view, &problem) < 0);
  assert_null(view.params);
  free(data);
  cns_plan_deinit(&wider);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(our_files_are_read_in_place),
      cmocka_unit_test(other_layouts_are_copied),
      cmocka_unit_test(what_is_no_model_of_the_plan_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
