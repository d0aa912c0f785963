/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/url.h"

#define OPTIONS_MAX 64

struct parse {
  const struct cns_usage *usage;
  char verb[64]; /* the words of the synopsis before the first argument */
  bool given[OPTIONS_MAX];
};

/* "kit approve REQUEST --federation DIR" begins with the verb "kit approve". */
static void verb_of(const char *synopsis, char out[static 64]) {
  size_t len = strspn(synopsis, "abcdefghijklmnopqrstuvwxyz- ");
  const char *dash = strstr(synopsis, " -");
  if (dash && (size_t)(dash - synopsis) < len) len = (size_t)(dash - synopsis);
  while (len > 0 && synopsis[len - 1] == ' ')
    len--;
  snprintf(out, 64, "%.*s", (int)(len < 63 ? len : 63), synopsis);
}

static int complain(const char *verb, const char *fmt, va_list args) CNS_PRINTF(2, 0);

/* Arguments may hold anything, and come from others' scripts. */
static int complain(const char *verb, const char *fmt, va_list args) {
  char sentence[1024];
  vsnprintf(sentence, sizeof sentence, fmt, args);
  cns_text_clean(sentence);
  fprintf(stderr, "consilium %s: %s\nTry: consilium %s --help\n", verb, sentence, verb);
  return CNS_EXIT_USAGE;
}

int cns_cli_usage_error(const char *verb, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int code = complain(verb, fmt, args);
  va_end(args);
  return code;
}

static int refuse(const struct parse *parse, const char *fmt, ...) CNS_PRINTF(2, 3);

static int refuse(const struct parse *parse, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  complain(parse->verb, fmt, args);
  va_end(args);
  return CNS_ERR_ARGUMENT;
}

static int set_int(const struct parse *parse, const struct cns_option *option, const char *text) {
  char *end = NULL;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  bool digits = *text && strspn(text + (*text == '-'), "0123456789") == strlen(text + (*text == '-'));
  if (!digits || *end) return refuse(parse, "--%s must be a whole number, not \"%s\"", option->name, text);
  if (errno || (double)value < option->min || (double)value > option->max)
    return refuse(parse, "--%s must be from %.0f to %.0f, not %.40s", option->name, option->min, option->max,
                  text);
  *(int64_t *)option->value = value;
  return 0;
}

static int set_number(const struct parse *parse, const struct cns_option *option, const char *text) {
  char *end = NULL;
  double value = strtod(text, &end);
  if (!*text || *end || !isfinite(value))
    return refuse(parse, "--%s must be a number, not \"%s\"", option->name, text);
  if (value < option->min || value > option->max)
    return refuse(parse, "--%s must be from %g to %g, not %s", option->name, option->min, option->max, text);
  *(double *)option->value = value;
  return 0;
}

static int set_option(struct parse *parse, const struct cns_option *option, const char *text) {
  size_t index = (size_t)(option - parse->usage->options);
  if (parse->given[index] && option->kind != CNS_OPTION_LIST)
    return refuse(parse, "--%s is given twice", option->name);
  parse->given[index] = true;
  if (option->kind == CNS_OPTION_FLAG) {
    *(bool *)option->value = true;
  } else if (option->kind == CNS_OPTION_TEXT) {
    *(const char **)option->value = text;
  } else if (option->kind == CNS_OPTION_LIST) {
    struct cns_option_list *list = option->value;
    if (list->count == CNS_OPTION_LIST_MAX)
      return refuse(parse, "--%s is given more than %d times", option->name, CNS_OPTION_LIST_MAX);
    list->items[list->count++] = text;
  } else {
    return option->kind == CNS_OPTION_INT ? set_int(parse, option, text) : set_number(parse, option, text);
  }
  return 0;
}

static const struct cns_option *find_option(const struct cns_usage *usage, const char *name, size_t len) {
  for (const struct cns_option *option = usage->options; option->name; option++)
    if (strlen(option->name) == len && memcmp(option->name, name, len) == 0) return option;
  return NULL;
}

/* argv[*at] is "--name" or "--name=value"; moves *at on to a value it takes. */
static int parse_option(struct parse *parse, int argc, char **argv, int *at) {
  const char *name = argv[*at] + 2, *equals = strchr(name, '=');
  size_t len = equals ? (size_t)(equals - name) : strlen(name);
  const struct cns_option *option = find_option(parse->usage, name, len);
  if (!option) return refuse(parse, "unknown option --%.*s", (int)(len < 40 ? len : 40), name);
  if (option->kind == CNS_OPTION_FLAG) {
    if (equals) return refuse(parse, "--%s takes no value", option->name);
    return set_option(parse, option, NULL);
  }
  if (equals) return set_option(parse, option, equals + 1);
  if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0)
    return refuse(parse, "--%s needs a value: --%s %s", option->name, option->name, option->argument);
  return set_option(parse, option, argv[++*at]);
}

static int check_operands(const struct parse *parse, int count, char **argv) {
  const struct cns_usage *usage = parse->usage;
  if (count < usage->operands_min)
    return refuse(parse, "an argument is missing; usage: consilium %s", usage->synopsis);
  if (count > usage->operands_max)
    return refuse(parse, "\"%.80s\" is one argument too many; usage: consilium %s",
                  argv[usage->operands_max + 1], usage->synopsis);
  return 0;
}

int cns_cli_parse(const struct cns_usage *usage, int argc, char **argv, int *ret_operands) {
  struct parse parse = {.usage = usage};
  int operands = 0;
  bool options_end = false;
  verb_of(usage->synopsis, parse.verb);
  for (int i = 1; i < argc; i++) {
    if (!options_end && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
      cns_cli_help(usage, stdout);
      return CNS_CLI_DONE;
    }
    if (!options_end && strcmp(argv[i], "--") == 0) {
      options_end = true;
    } else if (!options_end && strncmp(argv[i], "--", 2) == 0) {
      int r = parse_option(&parse, argc, argv, &i);
      if (r) return r;
    } else if (!options_end && argv[i][0] == '-' && argv[i][1] != '\0') {
      return refuse(&parse, "unknown option %.40s (options have two dashes)", argv[i]);
    } else {
      argv[++operands] = argv[i];
    }
  }
  int r = check_operands(&parse, operands, argv);
  if (r) return r;
  *ret_operands = operands;
  return 0;
}

int cns_cli_parse_exit(int result) {
  return result == CNS_CLI_DONE ? cns_cli_finish(CNS_EXIT_OK) : CNS_EXIT_USAGE;
}

void cns_cli_help(const struct cns_usage *usage, FILE *out) {
  fprintf(out, "Usage: consilium %s\n\n%s\n\nOptions:\n", usage->synopsis, usage->summary);
  for (const struct cns_option *option = usage->options; option->name; option++) {
    char left[80];
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    fprintf(out, "  %-26s %s\n", left, option->help);
  }
  fprintf(out, "  %-26s %s\n", "--help", "print this text");
}

static int exit_code(int error) {
  switch (error) {
  case CNS_OK:
    return CNS_EXIT_OK;
  case CNS_ERR_SIGNATURE:
  case CNS_ERR_PROOF:
  case CNS_ERR_REFUSED:
  case CNS_ERR_CANCELLED: /* a person said no */
    return CNS_EXIT_REFUSED;
  case CNS_ERR_IO:
  case CNS_ERR_DISK_FULL:
  case CNS_ERR_NOT_FOUND:
  case CNS_ERR_EXISTS:
  case CNS_ERR_PERMISSION:
  case CNS_ERR_CLOSED:
  case CNS_ERR_TIMEOUT:
    return CNS_EXIT_IO;
  case CNS_ERR_BUDGET:
    return CNS_EXIT_BUDGET;
  case CNS_ERR_STOPPED:
    return CNS_EXIT_STOPPED;
  default:
    return CNS_EXIT_FAILED;
  }
}

int cns_cli_fail(int error, const struct cns_problem *problem) {
  fflush(stdout);
  if (problem && problem->text[0]) {
    struct cns_problem clean = *problem; /* it may name what came from others */
    cns_text_clean(clean.text);
    fprintf(stderr, "consilium: %s\n", clean.text);
  } else
    fprintf(stderr, "consilium: failed (%s)\n", cns_error_name(error));
  return exit_code(error);
}

FILE *cns_cli_beside(const char *path) {
  struct stat file, output;
  bool same = stat(path, &file) == 0 && fstat(STDOUT_FILENO, &output) == 0 && file.st_dev == output.st_dev &&
              file.st_ino == output.st_ino;
  return same ? stderr : stdout;
}

int cns_cli_finish(int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  fprintf(stderr, "consilium: the output can't be written: %s\n", strerror(errno));
  return CNS_EXIT_IO;
}

int cns_cli_print_json(cJSON *json) {
  char *text = json ? cJSON_Print(json) : NULL;
  cJSON_Delete(json);
  if (!text) return cns_cli_fail(CNS_ERR_MEMORY, NULL);
  printf("%s\n", text);
  cJSON_free(text);
  return cns_cli_finish(CNS_EXIT_OK);
}

int cns_cli_check_url(const char *verb, const char *option, const char *url, bool listening) {
  struct cns_problem problem = {0};
  struct cns_url parsed;
  if (!url || cns_url_parse(url, listening, &parsed, &problem) == 0) return 0;
  return cns_cli_usage_error(verb, "%s: %s", option, problem.text);
}

int cns_cli_confirm(const char *question) {
  char answer[16] = "";
  if (!isatty(STDIN_FILENO)) return CNS_ERR_STATE;
  printf("%s Type \"yes\": ", question);
  fflush(stdout);
  if (!fgets(answer, sizeof answer, stdin)) return CNS_ERR_CANCELLED;
  return strcmp(answer, "yes\n") == 0 ? 0 : CNS_ERR_CANCELLED;
}

static void list_verbs(const char *of, const char *about, const struct cns_verb *verbs, FILE *out) {
  fprintf(out, "Usage: %s VERB [ARGUMENT]...\n\n%s\n\nVerbs:\n", of, about);
  for (; verbs->name; verbs++)
    fprintf(out, "  %-12s %s\n", verbs->name, verbs->summary);
  fprintf(out, "\n%s VERB --help explains one verb.\n", of);
}

int cns_cli_dispatch(const char *of, const char *about, const struct cns_verb *verbs, int argc, char **argv) {
  if (argc < 2) {
    list_verbs(of, about, verbs, stderr);
    return CNS_EXIT_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    list_verbs(of, about, verbs, stdout);
    return cns_cli_finish(CNS_EXIT_OK);
  }
  for (const struct cns_verb *verb = verbs; verb->name; verb++)
    if (strcmp(verb->name, argv[1]) == 0) return verb->run(argc - 1, argv + 1);
  char unknown[41];
  snprintf(unknown, sizeof unknown, "%s", argv[1]);
  cns_text_clean(unknown);
  fprintf(stderr, "%s: unknown verb \"%s\"\nTry: %s --help\n", of, unknown, of);
  return CNS_EXIT_USAGE;
}
