/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page for a dossier: Markdown (CommonMark and its tables), or one HTML file
 * that needs nothing else and runs nothing. All texts are plain; what would be
 * markup in either is escaped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "crypto/base.h"

struct cns_page {
  FILE *out;
  bool html;
};

void cns_page_begin(struct cns_page *page, const char *title);
void cns_page_end(struct cns_page *page);
void cns_page_heading(struct cns_page *page, const char *text);
void cns_page_paragraph(struct cns_page *page, const char *fmt, ...) CNS_PRINTF(2, 3);
/* Begin, items, end. */
void cns_page_list(struct cns_page *page, bool begin);
void cns_page_item(struct cns_page *page, const char *fmt, ...) CNS_PRINTF(2, 3);
/* A table of facts: begin, lines of a name and a value, end. */
void cns_page_facts(struct cns_page *page, bool begin);
void cns_page_fact(struct cns_page *page, const char *name, const char *fmt, ...) CNS_PRINTF(3, 4);
/* A table: its head, rows of as many cells, end. */
void cns_page_table(struct cns_page *page, const char *const *head, size_t count);
void cns_page_row(struct cns_page *page, const char *const *cells, size_t count);
void cns_page_table_end(struct cns_page *page);
