/* SPDX-License-Identifier: Apache-2.0 */
#include "dp/lattice.h"

#include <math.h>
#include <stdlib.h>

/* Where most of the mass lies within one cell (rarely sampled, few units seen),
 * a lattice point in its middle loses least: the merged loss of that cell. */
static double choose_origin(const struct cns_loss *loss, double step, double left, double right) {
  double centre = cns_loss_at(loss, 0);
  if (loss->replace) return 0; /* symmetric */
  for (int i = 0; i < 2; i++) {
    double from = fmax(left, cns_loss_point(loss, centre - step / 2));
    double to = fmin(right, cns_loss_point(loss, centre + step / 2));
    struct cns_loss_mass mass = cns_loss_integrate(loss, from, to);
    if (!(mass.q > 0 && mass.p > 0)) break;
    centre = cns_loss_at(loss, from) + mass.rise;
  }
  return centre - step * floor(centre / step);
}

int cns_cells_init(struct cns_cells *ret_cells, const struct cns_loss *loss, double step, double reach) {
  double shift = 1 / loss->sigma;
  double left = -reach - (loss->replace ? shift : 0), right = reach + shift;
  struct cns_cells cells = {.step = step, .origin = choose_origin(loss, step, left, right)};
  double lowest = floor((cns_loss_at(loss, left) - cells.origin) / step) - 1;
  double cell_count = ceil((cns_loss_at(loss, right) - cells.origin) / step) + 1 - lowest;
  if (!(cell_count <= (double)CNS_CELLS_MAX)) return CNS_ERR_LIMIT;
  cells.first = (int64_t)lowest;
  cells.count = (size_t)cell_count;
  cells.p = calloc(6 * cells.count, sizeof *cells.p);
  if (!cells.p) return CNS_ERR_MEMORY;
  cells.q = cells.p + 2 * cells.count;
  cells.rise = cells.q + 2 * cells.count;
  /* Both components beyond: each below the tail of the normal (Chernoff), which is
     never called 0. */
  cells.outside = exp(-reach * reach / 2) + 1e-305;
  cells.error = cns_loss_error(loss, reach + shift);
  double from = left;
  for (size_t k = 0; k < 2 * cells.count; k++) {
    double edge = cells.origin + step * ((double)cells.first + (double)k / 2);
    double to = fmin(right, fmax(left, cns_loss_point(loss, edge + step / 2)));
    if (!(from < to)) continue;
    struct cns_loss_mass mass = cns_loss_integrate(loss, from, to);
    double clamped = from == left ? fmax(0, cns_loss_at(loss, left) - edge) : 0;
    cells.p[k] = mass.p;
    cells.q[k] = mass.q;
    cells.rise[k] = fmin(step / 2, fmax(0, mass.rise + clamped));
    from = to;
  }
  *ret_cells = cells;
  return 0;
}

void cns_cells_deinit(struct cns_cells *cells) {
  free(cells->p);
  *cells = (struct cns_cells){0};
}

struct atom {
  double mass, above; /* its loss above the lower lattice point of its cell: 0..step */
};

/* In rising order of the loss, `number` < 2 * count. */
static struct atom atom_at(const struct cns_cells *cells, bool backward, size_t number) {
  size_t k = backward ? 2 * cells->count - 1 - number : number;
  double above = (k & 1 ? cells->step / 2 : 0) + cells->rise[k];
  if (backward) return (struct atom){cells->q[k], cells->step - above};
  return (struct atom){cells->p[k], above};
}

static void split_upper(const struct cns_cells *cells, bool backward, double *upper) {
  double whole = -expm1(-cells->step);
  for (size_t n = 0; n < 2 * cells->count; n++) {
    struct atom atom = atom_at(cells, backward, n);
    double up = fmin(atom.mass, atom.mass * (-expm1(-atom.above) / whole));
    upper[n / 2] += atom.mass - up;
    upper[n / 2 + 1] += up;
  }
}

/* A cell's two atoms: what an atom brings to the lower point (its P above
 * e^point Q), and what it needs from there to be merged into the upper one. */
struct cell {
  double mass[2], gain[2], need[2];
};

static struct cell cell_at(const struct cns_cells *cells, bool backward, size_t number) {
  struct cell cell;
  for (size_t i = 0; i < 2; i++) {
    struct atom atom = atom_at(cells, backward, 2 * number + i);
    cell.mass[i] = atom.mass;
    cell.gain[i] = atom.mass * -expm1(-atom.above);
    cell.need[i] = atom.mass * expm1(cells->step - atom.above);
  }
  return cell;
}

/* `down`: how much of the cell goes down, the lower atom first: 0..2. */
static double part(const double values[2], double down) {
  return down < 1 ? values[0] * down : values[0] + values[1] * (down - 1);
}

static double part_inverse(const double values[2], double wanted) {
  if (wanted <= values[0]) return values[0] > 0 ? wanted / values[0] : 0;
  double beyond = wanted - values[0];
  return beyond < values[1] ? 1 + beyond / values[1] : 2;
}

static double need_up(const struct cell *cell, double down) {
  return cell->need[0] + cell->need[1] - part(cell->need, down);
}

/*
 * From left to right: the part of each cell that goes up is paid by the part of
 * the next one that goes down to the same point. Chained without loss the cuts
 * of neighbours would swing against each other; they are held between 1/2 and
 * 7/4, where half a cell is 1.
 */
static void merge_lower(const struct cns_cells *cells, bool backward, double *lower) {
  struct cell last = {0};
  double last_down = 2;
  for (size_t c = 0; c <= cells->count; c++) {
    struct cell cell = c < cells->count ? cell_at(cells, backward, c) : (struct cell){0};
    double need = need_up(&last, last_down), down = c == 0 ? 1 : part_inverse(cell.gain, need);
    down = fmin(1.9, fmax(0.25, down));
    double payable = part(cell.gain, down);
    if (need > payable && c > 0) {
      /* What goes up must be paid whole: more of the last cell goes down. */
      double total = last.need[0] + last.need[1];
      last_down = payable > 0 ? fmax(last_down, part_inverse(last.need, total - payable)) : 2;
      /* Rounding of the difference: rather a bit less. */
      while (last_down < 2 && need_up(&last, last_down) > payable)
        last_down = fmin(2, last_down + 1e-9);
    }
    if (c > 0) {
      double kept = part(last.mass, last_down);
      lower[c - 1] += kept;
      lower[c] += fmax(0, last.mass[0] + last.mass[1] - kept);
    }
    last = cell;
    last_down = down;
  }
}

int cns_lattice_init(struct cns_lattice *ret_lattice, const struct cns_cells *cells, bool backward) {
  size_t count = cells->count + 1;
  double low = cells->origin + cells->step * (double)cells->first;
  double high = low + cells->step * (double)cells->count;
  struct cns_lattice lattice = {
      .origin = backward ? -high : low,
      .count = count,
      .upper = calloc(2 * count, sizeof(double)),
      .infinite = cells->outside,
      .largest = fmax(fabs(low), fabs(high)),
  };
  if (!lattice.upper) return CNS_ERR_MEMORY;
  lattice.lower = lattice.upper + count;
  split_upper(cells, backward, lattice.upper);
  merge_lower(cells, backward, lattice.lower);
  for (size_t i = 0; i < count; i++) {
    lattice.upper[i] *= 1 + cells->error;
    lattice.lower[i] *= 1 - cells->error;
  }
  /* What lies beyond the lower end has less loss than the third point. */
  lattice.upper[2] += cells->outside;
  *ret_lattice = lattice;
  return 0;
}

void cns_lattice_deinit(struct cns_lattice *lattice) {
  free(lattice->upper);
  *lattice = (struct cns_lattice){0};
}
