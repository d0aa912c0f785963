/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"
#include "model/table.h"

static struct cns_plan plan;

static int setup(void **state) {
  if (cns_init() != 0) return -1;
  plan = parsed(toy_study);
  return 0;
}

static int teardown(void **state) {
  cns_plan_deinit(&plan);
  return 0;
}

static void rows_are_read(void **state) {
  static const char text[] = "pid,comment,grade,blood pressure,marker,age\n"
                             "A,x,low,150,0,60\n"
                             "B,\"a, b\",high,,NA,30\n" /* both imputed */
                             "A,,mid,300,-2,0\n"        /* both clipped */
                             "C,,low,100,0,\n"          /* dropped: no age */
                             "D,,,100,0,50\n"           /* dropped: no label */
                             "E,,mid,100,0.25,120\n";
  struct cns_table table;
  struct cns_table_report report;
  struct cns_problem problem = {{0}};
  assert_int_equal(
      cns_table_parse(&plan, text, sizeof text - 1, "t.csv", CNS_TABLE_TRAINING, &table, &report, &problem),
      0);
  assert_int_equal(table.rows, 4);
  assert_int_equal(table.patients, 3);
  static const float x[] = {0, 0, 0, -0.5f, 0.5f, -0.3f, -1, -1, 1, 1, 0.25f, -0.5f};
  static const uint16_t label[] = {0, 2, 1, 1};
  static const uint32_t patient[] = {0, 1, 0, 2}, source[] = {1, 2, 3, 6};
  for (size_t i = 0; i < 12; i++)
    assert_true(table.x[i] - x[i] < 1e-6f && x[i] - table.x[i] < 1e-6f);
  assert_memory_equal(table.label, label, sizeof label);
  assert_memory_equal(table.patient, patient, sizeof patient);
  assert_memory_equal(table.source, source, sizeof source);
  assert_int_equal(report.rows_read, 6);
  assert_int_equal(report.dropped_missing, 1);
  assert_int_equal(report.dropped_unlabelled, 1);
  assert_int_equal(report.imputed_of[1], 1);
  assert_int_equal(report.imputed_of[2], 1);
  assert_int_equal(report.clipped_of[1], 1);
  assert_int_equal(report.clipped_of[2], 1);
  assert_int_equal(report.missing_of[0], 1);
  assert_int_equal(report.rows_of_class[1], 2);
  assert_false(report.one_class);
  char *lines;
  assert_int_equal(cns_table_report_text(&plan, &report, &lines), 0);
  assert_non_null(strstr(lines, "4 rows of 3 patients used, of 6 read"));
  assert_non_null(strstr(lines, "low 1, mid 2, high 1"));
  free(lines);
  cns_table_report_deinit(&report);
  cns_table_deinit(&table);
}

/* What a person gets to read, and that no cell's value is in it. */
static const struct {
  const char *text, *word;
} bad_tables[] = {
    {"", "empty"},
    {"\xEF\xBB\xBF", "empty"},
    {"pid,grade,age,marker,blood pressure\n", "no usable row"},
    {"pid,grade,age,marker,blood pressure\nA,low,,0,100\n", "no usable row"},
    {"pid,grade,Age,marker,blood pressure\nA,low,9,0,100\n", "\"age\", and there is none; similar: \"Age\""},
    {"pid,grade,age,markers,blood pressure\nA,low,9,0,100\n", "similar: \"markers\""},
    {"pid,grade,age,marker,blood_presure\nA,low,9,0,100\n", "similar: \"blood_presure\""},
    {"grade,age,marker,blood pressure\nlow,9,0,100\n", "\"pid\", and there is none"},
    {"pid;grade;age;marker;blood pressure\nA;low;9;0;100\n", "commas"},
    {"pid,grade,age,marker,blood pressure,age\nA,low,9,0,100,9\n", "\"age\" occurs twice"},
    {"pid,grade,age,marker,blood pressure\nA,low,9,0\n", "line 2 (data row 1): 4 fields"},
    {"pid,grade,age,marker,blood pressure\nA,low,9,0,100,SECRET\n", "6 fields, but the header has 5"},
    {"pid,grade,age,marker,blood pressure\nA,low,9,0,1\nB,low,SECRET,0,100\n",
     "line 3 (data row 2), column \"age\": not a number"},
    {"pid,grade,age,marker,blood pressure\nA,low,9,\"0,5\",100\n", "a point, not a comma"},
    {"pid,grade,age,marker,blood pressure\nA,SECRET,9,0,100\n",
     "line 2 (data row 1), column \"grade\": the label"},
    {"pid,grade,age,marker,blood pressure\n,low,9,0,100\n", "no patient identifier"},
    {"pid,grade,age,marker,blood pressure\nA,low,inf,0,100\n", "not a number"},
    {"pid,grade,age,marker,blood pressure\nA,low,1e999,0,100\n", "a number that is too large"},
    {"pid,grade,age,marker,blood pressure\nA\xff,low,9,0,100\n", "isn't UTF-8"},
};

static void bad_tables_are_refused(void **state) {
  for (size_t i = 0; i < LENGTH_OF(bad_tables); i++) {
    struct cns_table table;
    struct cns_problem problem = {{0}};
    const char *text = bad_tables[i].text;
    int r = cns_table_parse(&plan, text, strlen(text), "t.csv", CNS_TABLE_TRAINING, &table, NULL, &problem);
    if (r != CNS_ERR_FORMAT || !strstr(problem.text, bad_tables[i].word))
      print_error("%d %s\n", r, problem.text);
    assert_int_equal(r, CNS_ERR_FORMAT);
    assert_non_null(strstr(problem.text, "t.csv"));
    assert_non_null(strstr(problem.text, bad_tables[i].word));
    assert_null(strstr(problem.text, "SECRET"));
  }
}

static void one_class_is_said(void **state) {
  static const char text[] = "pid,grade,age,marker,blood pressure\nA,low,9,0,100\nB,low,9,0,100\n";
  struct cns_table table;
  struct cns_table_report report;
  char *lines;
  assert_int_equal(
      cns_table_parse(&plan, text, sizeof text - 1, "t", CNS_TABLE_TRAINING, &table, &report, NULL), 0);
  assert_true(report.one_class);
  assert_int_equal(cns_table_report_text(&plan, &report, &lines), 0);
  assert_non_null(strstr(lines, "only one class"));
  free(lines);
  cns_table_report_deinit(&report);
  cns_table_deinit(&table);
}

static void prediction_needs_no_label(void **state) {
  static const char text[] = "age,marker,blood pressure\n9,0,100\n,0,100\n8,,\n";
  struct cns_table table;
  assert_int_equal(
      cns_table_parse(&plan, text, sizeof text - 1, "t", CNS_TABLE_PREDICTION, &table, NULL, NULL), 0);
  assert_int_equal(table.rows, 2);
  assert_int_equal(table.source[1], 3);
  assert_int_equal(table.label[0], CNS_TABLE_NO_LABEL);
  cns_table_deinit(&table);
}

static void missing_file_is_said(void **state) {
  struct cns_table table;
  struct cns_problem problem = {{0}};
  assert_int_equal(cns_table_read(&plan, "/nonexistent/x.csv", CNS_TABLE_TRAINING, &table, NULL, &problem),
                   CNS_ERR_NOT_FOUND);
  assert_non_null(strstr(problem.text, "/nonexistent/x.csv"));
}

/* `patients` patients with 1 to 3 rows each, shuffled by a stride. */
static struct cns_table many_rows(size_t patients) {
  size_t capacity = 64 + patients * 3 * 40, at;
  char *text = malloc(capacity);
  assert_non_null(text);
  at = (size_t)snprintf(text, capacity, "pid,grade,age,marker,blood pressure\n");
  for (size_t pass = 0; pass < 3; pass++)
    for (size_t p = 0; p < patients; p++)
      if (p % 3 >= pass)
        at += (size_t)snprintf(text + at, capacity - at, "P%zu,%s,%zu,0,100\n", p, p % 2 ? "low" : "mid",
                               p % 100);
  struct cns_table table;
  assert_int_equal(cns_table_parse(&plan, text, at, "t", CNS_TABLE_TRAINING, &table, NULL, NULL), 0);
  free(text);
  assert_int_equal(table.patients, patients);
  return table;
}

static bool has_patient(const struct cns_table *table, const struct cns_digest *key) {
  for (size_t p = 0; p < table->patients; p++)
    if (cns_digest_equal(&table->patient_keys[p], key)) return true;
  return false;
}

static void split_keeps_patients_together(void **state) {
  struct cns_table table = many_rows(500), train, validation, other, again;
  assert_int_equal(cns_table_split(&table, 42, 3, 0.2, &train, &validation), 0);
  assert_int_equal(validation.patients, 100);
  assert_int_equal(train.patients, 400);
  assert_int_equal(train.rows + validation.rows, table.rows);
  for (size_t p = 0; p < validation.patients; p++)
    assert_false(has_patient(&train, &validation.patient_keys[p]));
  for (size_t i = 0; i < validation.rows; i++)
    assert_true(validation.patient[i] < validation.patients);
  /* The same again from the same seed, another one from another hospital. */
  assert_int_equal(cns_table_split(&table, 42, 3, 0.2, &other, &again), 0);
  assert_memory_equal(again.source, validation.source, validation.rows * sizeof *again.source);
  cns_table_deinit(&other);
  cns_table_deinit(&again);
  assert_int_equal(cns_table_split(&table, 42, 4, 0.2, &other, &again), 0);
  size_t common = 0;
  for (size_t p = 0; p < again.patients; p++)
    common += has_patient(&validation, &again.patient_keys[p]);
  assert_true(common < 50);
  cns_table_deinit(&other);
  cns_table_deinit(&again);
  cns_table_deinit(&train);
  cns_table_deinit(&validation);
  cns_table_deinit(&table);
}

static void small_splits_leave_something_to_train_on(void **state) {
  static const struct {
    size_t patients;
    double share;
    size_t held;
  } cases[] = {{1, 0.5, 1}, {1, 0.2, 0}, {2, 0.01, 1}, {5, 0, 0}, {5, 0.2, 1}, {3, 0.5, 2}};
  for (size_t i = 0; i < LENGTH_OF(cases); i++) {
    struct cns_table table = many_rows(cases[i].patients), train, validation;
    assert_int_equal(cns_table_split(&table, 1, 1, cases[i].share, &train, &validation), 0);
    size_t held = cases[i].patients == 1 ? 0 : cases[i].held;
    assert_int_equal(validation.patients, held);
    assert_int_equal(train.patients, cases[i].patients - held);
    cns_table_deinit(&train);
    cns_table_deinit(&validation);
    cns_table_deinit(&table);
  }
  struct cns_table table = many_rows(3), train, validation;
  assert_int_equal(cns_table_split(&table, 1, 1, 0.7, &train, &validation), CNS_ERR_ARGUMENT);
  cns_table_deinit(&table);
}

static void damaged_bytes_are_survived(void **state) {
  static const char text[] = "pid,grade,age,marker,blood pressure\nA,low,9,0,100\n\"B\",mid,,0.5,\n";
  char copy[sizeof text];
  struct cns_table table;
  for (size_t len = 0; len < sizeof text; len++)
    if (cns_table_parse(&plan, text, len, "t", CNS_TABLE_TRAINING, &table, NULL, NULL) == 0)
      cns_table_deinit(&table);
  for (size_t at = 0; at < sizeof text - 1; at++)
    for (int bit = 0; bit < 8; bit++) {
      memcpy(copy, text, sizeof text);
      copy[at] = (char)(copy[at] ^ (1 << bit));
      if (cns_table_parse(&plan, copy, sizeof text - 1, "t", CNS_TABLE_TRAINING, &table, NULL, NULL) == 0)
        cns_table_deinit(&table);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_read),
      cmocka_unit_test(bad_tables_are_refused),
      cmocka_unit_test(one_class_is_said),
      cmocka_unit_test(prediction_needs_no_label),
      cmocka_unit_test(missing_file_is_said),
      cmocka_unit_test(split_keeps_patients_together),
      cmocka_unit_test(small_splits_leave_something_to_train_on),
      cmocka_unit_test(damaged_bytes_are_survived),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
