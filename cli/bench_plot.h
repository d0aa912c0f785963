/* SPDX-License-Identifier: Apache-2.0 */
/* Internal to the bench's pictures. */
#pragma once

#include "cli/bench.h"

struct cns_bench_picture {
  const struct cns_bench_report *report;
  bool png;
  size_t cell; /* one of the group, or of the experiment, that is drawn */
  uint16_t pre;
};

/* Okabe and Ito's colours, which people with colour blindness tell apart; black is the last. */
#define CNS_BENCH_COLOURS 8
const char *cns_bench_colour(size_t index);
/* A text for gnuplot in double quotes, without its enhanced mode's special characters. */
void cns_bench_quoted(FILE *out, const char *text);
/* Terminal of that size in pixels, font, grid. */
void cns_bench_begin(const struct cns_bench_picture *picture, unsigned width, unsigned height, FILE *out);

/* What cns_gnuplot_draw calls. */
void cns_bench_plot_heat(const void *picture, FILE *out);
void cns_bench_plot_rounds(const void *picture, FILE *out);
void cns_bench_plot_detection(const void *picture, FILE *out);
void cns_bench_plot_influence(const void *picture, FILE *out);
