/* SPDX-License-Identifier: Apache-2.0 */
/* Without libFuzzer: every file of a folder is given to the target once. */
#pragma once

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#ifndef CNS_FUZZ

/* max: bytes of a file that are read, but one. */
static int fuzz_run_file(const char *path, size_t max) {
  uint8_t *buffer = malloc(max + 1);
  FILE *file = fopen(path, "rb");
  if (!file || !buffer) {
    perror(path);
    if (file) fclose(file);
    free(buffer);
    return 1;
  }
  size_t len = fread(buffer, 1, max + 1, file);
  fclose(file);
  uint8_t *exact = malloc(len ? len : 1); /* so that a read beyond is seen */
  if (exact) {
    memcpy(exact, buffer, len);
    LLVMFuzzerTestOneInput(exact, len);
  }
  free(buffer);
  free(exact);
  return exact ? 0 : 1;
}

static int fuzz_run_folder(const char *folder, size_t max) {
  DIR *directory = opendir(folder);
  size_t files = 0;
  int failed = directory ? 0 : 1;
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    char path[4096];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) continue;
    failed |= fuzz_run_file(path, max);
    files++;
  }
  if (directory) closedir(directory);
  printf("%zu files\n", files);
  return failed || files == 0;
}

#endif
