/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/page.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void put_html(FILE *out, char c) {
  switch (c) {
  case '&':
    fputs("&amp;", out);
    break;
  case '<':
    fputs("&lt;", out);
    break;
  case '>':
    fputs("&gt;", out);
    break;
  case '"':
    fputs("&quot;", out);
    break;
  case '\'':
    fputs("&#39;", out);
    break;
  default:
    fputc(c, out);
  }
}

/* '&', '<' and the rest of these mean something in Markdown wherever they are. */
static void put_markdown(FILE *out, char c) {
  if (strchr("\\`*_[]<>|&#~", c)) fputc('\\', out);
  fputc(c, out);
}

static void put(struct cns_page *page, const char *text) {
  char *clean = strdup(text);
  if (!clean) return; /* the page is short then; whoever asked checks its end */
  cns_text_clean(clean);
  for (const char *c = clean; *c; c++)
    page->html ? put_html(page->out, *c) : put_markdown(page->out, *c);
  free(clean);
}

static void put_format(struct cns_page *page, const char *fmt, va_list args) CNS_PRINTF(2, 0);

static void put_format(struct cns_page *page, const char *fmt, va_list args) {
  char *text = NULL;
  if (vasprintf(&text, fmt, args) < 0) return;
  put(page, text);
  free(text);
}

static const char style[] =
    "body{font:11pt/1.45 Georgia,serif;color:#111;max-width:46em;margin:2em auto;padding:0 1em}"
    "h1{font-size:1.5em;line-height:1.2}h2{font-size:1.12em;margin:1.4em 0 .4em}"
    "table{border-collapse:collapse;width:100%;margin:.5em 0 1em;font-size:.93em}"
    "th,td{border:1px solid #999;padding:.22em .5em;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}thead th{background:#eee}tbody th{width:32%;font-weight:normal;color:#333}"
    "@page{margin:18mm}@media print{body{font-size:9.5pt;margin:0;max-width:none}"
    "h2{break-after:avoid}tr,li{break-inside:avoid}}";

void cns_page_begin(struct cns_page *page, const char *title) {
  if (!page->html) {
    fputs("# ", page->out);
    put(page, title);
    fputs("\n", page->out);
    return;
  }
  fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
        "style-src 'unsafe-inline'\">\n<title>",
        page->out);
  put(page, title);
  fprintf(page->out, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>", style);
  put(page, title);
  fputs("</h1>\n", page->out);
}

void cns_page_end(struct cns_page *page) {
  if (page->html) fputs("</body>\n</html>\n", page->out);
}

/* Text between what begins and what ends it in either form. */
static void wrap(struct cns_page *page, const char *html_begin, const char *html_end, const char *begin,
                 const char *end, const char *fmt, va_list args) CNS_PRINTF(6, 0);

static void wrap(struct cns_page *page, const char *html_begin, const char *html_end, const char *begin,
                 const char *end, const char *fmt, va_list args) {
  fputs(page->html ? html_begin : begin, page->out);
  put_format(page, fmt, args);
  fputs(page->html ? html_end : end, page->out);
}

void cns_page_heading(struct cns_page *page, const char *text) {
  fputs(page->html ? "<h2>" : "\n## ", page->out);
  put(page, text);
  fputs(page->html ? "</h2>\n" : "\n", page->out);
}

void cns_page_paragraph(struct cns_page *page, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  wrap(page, "<p>", "</p>\n", "\n", "\n", fmt, args);
  va_end(args);
}

void cns_page_list(struct cns_page *page, bool begin) {
  fputs(page->html ? (begin ? "<ul>\n" : "</ul>\n") : begin ? "\n" : "", page->out);
}

void cns_page_item(struct cns_page *page, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  wrap(page, "<li>", "</li>\n", "- ", "\n", fmt, args);
  va_end(args);
}

void cns_page_facts(struct cns_page *page, bool begin) {
  fputs(page->html ? (begin ? "<table>\n<tbody>\n" : "</tbody>\n</table>\n")
        : begin    ? "\n| | |\n|---|---|\n"
                   : "",
        page->out);
}

void cns_page_fact(struct cns_page *page, const char *name, const char *fmt, ...) {
  va_list args;
  fputs(page->html ? "<tr><th>" : "| ", page->out);
  put(page, name);
  va_start(args, fmt);
  wrap(page, "</th><td>", "</td></tr>\n", " | ", " |\n", fmt, args);
  va_end(args);
}

void cns_page_table(struct cns_page *page, const char *const *head, size_t count) {
  fputs(page->html ? "<table>\n<thead>\n<tr>" : "\n|", page->out);
  for (size_t k = 0; k < count; k++) {
    fputs(page->html ? "<th>" : " ", page->out);
    put(page, head[k]);
    fputs(page->html ? "</th>" : " |", page->out);
  }
  fputs(page->html ? "</tr>\n</thead>\n<tbody>\n" : "\n|", page->out);
  for (size_t k = 0; k < count && !page->html; k++)
    fputs("---|", page->out);
  if (!page->html) fputs("\n", page->out);
}

void cns_page_row(struct cns_page *page, const char *const *cells, size_t count) {
  fputs(page->html ? "<tr>" : "|", page->out);
  for (size_t k = 0; k < count; k++) {
    fputs(page->html ? "<td>" : " ", page->out);
    put(page, cells[k]);
    fputs(page->html ? "</td>" : " |", page->out);
  }
  fputs(page->html ? "</tr>\n" : "\n", page->out);
}

void cns_page_table_end(struct cns_page *page) {
  if (page->html) fputs("</tbody>\n</table>\n", page->out);
}
