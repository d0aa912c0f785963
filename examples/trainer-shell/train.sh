#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Trains a hospital's part of a round with a POSIX shell, od and awk: a logistic regression on text
# files, one a patient, in a folder that only this script understands. See README.md; the task is
# described in docs/trainers.md.
set -eu

# A string or a number of the task. It is written one member a line.
field() {
  sed -n "s/^ *\"$1\": \"\\{0,1\\}\\([^\"]*[^\",]\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p" "$CONSILIUM_TASK" | head -n 1
}
global=$(field global)
update=$(field update)
metrics=$(field metrics)
data=$(field data)

# A safetensors file is the length of its header, the header, and the numbers. The tensors lie in the
# order of their names: first "bias", then "weight".
header=$(od -An -tu8 -N8 "$global" | tr -d ' ')
tail -c "+$((header + 9))" "$global" | od -An -v -tf4 | tr -s ' ' '\n' | grep . >"$TMPDIR/model"
cat "$data"/*.txt >"$TMPDIR/rows"

# Lines of rows: the outcome, 0 or 1, and as many numbers as there are weights.
awk -v epochs="$(field local_epochs)" -v rate="$(field learning_rate)" -v metrics="$metrics" '
  BEGIN { numbers = rows = 0 }
  FILENAME == ARGV[1] { received[numbers++] = $1; next }
  NF == numbers { y[rows] = $1; for (f = 1; f < numbers; f++) x[rows, f] = $(f + 1); rows++; next }
  { print "a row has another number of columns" | "cat >&2"; failed = 1; exit 1 }

  # The four bytes of a 32-bit float, as escapes for printf.
  function bytes(v,  sign, exponent, fraction) {
    sign = v < 0; if (sign) v = -v
    if (v < 1.2e-38) return "\\000\\000\\000\\000"
    exponent = 127
    while (v >= 2) { v /= 2; exponent++ }
    while (v < 1) { v *= 2; exponent-- }
    fraction = int((v - 1) * 8388608 + 0.5)
    if (fraction == 8388608) { fraction = 0; exponent++ }
    return sprintf("\\%03o\\%03o\\%03o\\%03o", fraction % 256, int(fraction / 256) % 256,
                   int(fraction / 65536) + (exponent % 2) * 128, sign * 128 + int(exponent / 2))
  }

  END {
    if (failed || rows == 0) exit 1
    for (f = 0; f < numbers; f++) w[f] = received[f]
    for (epoch = 0; epoch < epochs; epoch++) {
      loss = 0
      for (f = 0; f < numbers; f++) gradient[f] = 0
      for (r = 0; r < rows; r++) {
        score = w[0]
        for (f = 1; f < numbers; f++) score += w[f] * x[r, f]
        p = 1 / (1 + exp(-score))
        loss -= log(y[r] ? p : 1 - p)
        gradient[0] += p - y[r]
        for (f = 1; f < numbers; f++) gradient[f] += (p - y[r]) * x[r, f]
      }
      for (f = 0; f < numbers; f++) w[f] -= rate * gradient[f] / rows
      if (epoch == 0) first = loss / rows
    }
    for (f = 0; f < numbers; f++) print bytes(w[f] - received[f])
    printf "{\"examples\": %d, \"first_loss\": %.9g, \"last_loss\": %.9g}\n", rows, first, loss / rows > metrics
  }' "$TMPDIR/model" "$TMPDIR/rows" >"$TMPDIR/change"

# The same header, and what training has changed.
head -c "$((header + 8))" "$global" >"$update"
while IFS= read -r number; do
  # shellcheck disable=SC2059 # the escapes are the point
  printf "$number"
done <"$TMPDIR/change" >>"$update"
echo "trained on $(wc -l <"$TMPDIR/rows") rows"
