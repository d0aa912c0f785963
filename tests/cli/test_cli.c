/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

struct values {
  const char *text;
  int64_t count;
  double rate;
  bool flag;
  struct cns_option_list drops;
  int operands;
};

/* The words of all calls, because values point into them. Their order changes,
 * their number doesn't. */
static char *pool[500], *originals[500];
static size_t pool_count;

static int free_pool(void **state) {
  for (size_t i = 0; i < pool_count; i++)
    free(originals[i]);
  return 0;
}

/* What the verb wrote to stderr (or stdout for help). */
static char written[4096];

/* Runs the parser over a copy of the words, with an output stream caught. */
static int parse(struct values *values, FILE *stream, int argc, const char *const *words) {
  const struct cns_option table[] = {{"study", "FILE", "a file", CNS_OPTION_TEXT, &values->text, 0, 0},
                                     {"count", "N", "a count", CNS_OPTION_INT, &values->count, 4, 1000},
                                     {"rate", "X", "a rate", CNS_OPTION_NUMBER, &values->rate, 0, 1},
                                     {"json", NULL, "a flag", CNS_OPTION_FLAG, &values->flag, 0, 0},
                                     {"drop", "P:C", "a list", CNS_OPTION_LIST, &values->drops, 0, 0},
                                     {NULL, NULL, NULL, CNS_OPTION_FLAG, NULL, 0, 0}};
  const struct cns_usage usage = {"kit show DIR [--study FILE]", "Shows.", table, 1, 2};
  char **argv = pool + pool_count;
  char path[] = "/tmp/cns-cli-XXXXXX";
  for (int i = 0; i < argc; i++) {
    assert_true(pool_count < sizeof pool / sizeof pool[0]);
    originals[pool_count] = pool[pool_count] = strdup(words[i]);
    pool_count++;
  }
  int file = mkstemp(path);
  assert_true(file >= 0 && unlink(path) == 0);
  fflush(stream);
  int saved = dup(fileno(stream));
  assert_true(saved >= 0 && dup2(file, fileno(stream)) >= 0);
  int r = cns_cli_parse(&usage, argc, argv, &values->operands);
  fflush(stream);
  assert_true(dup2(saved, fileno(stream)) >= 0);
  close(saved);
  ssize_t len = pread(file, written, sizeof written - 1, 0);
  assert_true(len >= 0);
  written[len] = '\0';
  close(file);
  if (r == 0)
    for (int i = 0; i < values->operands; i++)
      assert_string_equal(argv[i + 1], i == 0 ? "first" : "second");
  return r;
}

#define WORDS(...)                                                                                           \
  (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]) {                          \
    __VA_ARGS__                                                                                              \
  }

static void options_and_operands_come_in_any_order(void **state) {
  struct values values = {0};
  assert_int_equal(parse(&values, stderr,
                         WORDS("show", "--study", "a.json", "first", "--count=7", "--json", "second",
                               "--rate", "0.5", "--drop", "keys:1", "--drop=upload:2")),
                   0);
  assert_string_equal(values.text, "a.json");
  assert_int_equal(values.count, 7);
  assert_true(values.rate == 0.5 && values.flag);
  assert_int_equal(values.drops.count, 2);
  assert_string_equal(values.drops.items[1], "upload:2");
  assert_int_equal(values.operands, 2);
  assert_string_equal(written, "");
}

static void two_dashes_end_the_options(void **state) {
  struct values values = {0};
  assert_int_equal(parse(&values, stderr, WORDS("show", "first", "--", "second")), 0);
  assert_int_equal(values.operands, 2);
  assert_int_equal(parse(&values, stderr, WORDS("show", "--study=--x", "first")), 0);
  assert_string_equal(values.text, "--x");
}

static void refuse(const char *sentence, int argc, const char *const *words) {
  struct values values = {0};
  assert_int_equal(parse(&values, stderr, argc, words), CNS_ERR_ARGUMENT);
  assert_int_equal(cns_cli_parse_exit(CNS_ERR_ARGUMENT), CNS_EXIT_USAGE);
  if (!strstr(written, sentence) || !strstr(written, "consilium kit show --help"))
    fail_msg("expected '%s' in '%s'", sentence, written);
}

static void mistakes_are_named(void **state) {
  refuse("unknown option --stdy", WORDS("show", "first", "--stdy", "x"));
  refuse("unknown option --", WORDS("show", "first", "--=x"));
  refuse("unknown option -x", WORDS("show", "first", "-x"));
  refuse("--study needs a value: --study FILE", WORDS("show", "first", "--study"));
  refuse("--study needs a value", WORDS("show", "first", "--study", "--json"));
  refuse("--study is given twice", WORDS("show", "first", "--study", "a", "--study", "b"));
  refuse("--json takes no value", WORDS("show", "first", "--json=1"));
  refuse("--count must be a whole number, not \"4x\"", WORDS("show", "first", "--count", "4x"));
  refuse("--count must be a whole number", WORDS("show", "first", "--count="));
  refuse("--count must be a whole number", WORDS("show", "first", "--count", " 4"));
  refuse("--count must be from 4 to 1000, not 9999999",
         WORDS("show", "first", "--count", "99999999999999999999"));
  refuse("--count must be from 4 to 1000, not 3", WORDS("show", "first", "--count", "3"));
  refuse("--count must be from 4 to 1000, not -5", WORDS("show", "first", "--count", "-5"));
  refuse("--rate must be a number", WORDS("show", "first", "--rate", "fast"));
  refuse("--rate must be a number", WORDS("show", "first", "--rate", "nan"));
  refuse("--rate must be from 0 to 1", WORDS("show", "first", "--rate", "1.5"));
  refuse("an argument is missing", WORDS("show"));
  refuse("\"a?[2Jb?c\" is one argument", WORDS("show", "first", "second", "a\033[2Jb\nc"));
  refuse("\"third\" is one argument too many", WORDS("show", "first", "second", "third"));
}

static void lists_have_an_end(void **state) {
  const char *words[CNS_OPTION_LIST_MAX + 3] = {"show", "first"};
  for (size_t i = 0; i <= CNS_OPTION_LIST_MAX; i++)
    words[i + 2] = "--drop=keys:1";
  refuse("more than 64 times", CNS_OPTION_LIST_MAX + 3, words);
}

static void help_lists_every_option(void **state) {
  struct values values = {0};
  assert_int_equal(parse(&values, stdout, WORDS("show", "--json", "--help")), CNS_CLI_DONE);
  assert_int_equal(cns_cli_parse_exit(CNS_CLI_DONE), 0);
  static const char *const said[] = {"Usage: consilium kit show DIR", "--study FILE", "--count N", "--json",
                                     "--help"};
  for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
    assert_non_null(strstr(written, said[i]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(options_and_operands_come_in_any_order),
      cmocka_unit_test(two_dashes_end_the_options),
      cmocka_unit_test(mistakes_are_named),
      cmocka_unit_test(lists_have_an_end),
      cmocka_unit_test(help_lists_every_option),
  };
  return cmocka_run_group_tests(tests, NULL, free_pool);
}
