/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gnuplot.h"
#include "cli/verb_dp.h"

static void write_commands(const void *context, FILE *out) {
  const struct cns_dp_plot *plot = context;
  fprintf(out,
          "set terminal svg size 800,560 dynamic background rgb 'white'\n"
          "set title 'Epsilon at delta %g, sampling rate %g'\n"
          "set xlabel 'rounds'\nset ylabel 'epsilon'\nset logscale xy\nset grid\nset key top left\n",
          plot->delta, plot->rate);
  for (size_t i = 0; i < plot->noise_count; i++) {
    fprintf(out, "$data%zu << END\n", i);
    for (size_t k = 0; k < plot->round_count; k++) {
      double epsilon = plot->epsilons[i * plot->round_count + k];
      /* 0 has no place on a logarithmic axis. */
      if (epsilon > 0) fprintf(out, "%.0f %.17g\n", plot->rounds[k], epsilon);
    }
    fprintf(out, "END\n");
  }
  for (size_t i = 0; i < plot->noise_count; i++)
    fprintf(out, "%s$data%zu using 1:2 with linespoints title 'noise multiplier %g'", i ? ", " : "plot ", i,
            plot->noises[i]);
  fprintf(out, "\n");
}

int cns_dp_plot_write(const struct cns_dp_plot *plot, const char *path, struct cns_problem *problem) {
  return cns_gnuplot_draw(write_commands, plot, path, problem);
}
