/* SPDX-License-Identifier: Apache-2.0 */
/* examples/breast-cancer and benchmarks/robust, built into the program (cli/embed.py), so
 * that the demo and the bench need no other file. */
#pragma once

#include <stddef.h>

extern const unsigned char cns_demo_data_study[];
extern const size_t cns_demo_data_study_bytes;
extern const unsigned char cns_demo_data_table[];
extern const size_t cns_demo_data_table_bytes;
extern const unsigned char cns_bench_quick[];
extern const size_t cns_bench_quick_bytes;
extern const unsigned char cns_bench_night[];
extern const size_t cns_bench_night_bytes;
