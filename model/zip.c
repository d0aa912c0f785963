/* SPDX-License-Identifier: Apache-2.0 */
#include "model/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "crypto/bytes.h"

#define END_SIGNATURE 0x06054b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define LOCAL_SIGNATURE 0x04034b50u
#define END_BYTES 22u
#define CENTRAL_BYTES 46u
#define LOCAL_BYTES 30u
#define COMMENT_MAX 65535u
#define ZIP64 0xffffffffu
#define STORED 0u
#define DEFLATED 8u
/* A deflated byte stands for at most 1032 (zlib's technical notes, "Maximum Compression Factor"). */
#define EXPANSION_MAX 1032u

struct member {
  const char *name;
  size_t name_len;
  unsigned flags, method;
  uint32_t checksum, packed, size, offset;
  size_t next; /* of the directory's next entry, from its begin */
};

/* The last signature behind which exactly the comment follows that it announces. */
static bool find_end(const uint8_t *data, size_t len, size_t *ret_at) {
  if (len < END_BYTES) return false;
  for (size_t back = END_BYTES; back <= len && back <= END_BYTES + COMMENT_MAX; back++) {
    const uint8_t *at = data + len - back;
    if (cns_load_le32(at) != END_SIGNATURE || cns_load_le16(at + 20) != back - END_BYTES) continue;
    *ret_at = len - back;
    return true;
  }
  return false;
}

static int broken(const struct cns_zip *zip, const char *what, struct cns_problem *problem) {
  return cns_problem_set(problem, CNS_ERR_FORMAT, "%s: is a broken ZIP archive: %s", zip->where, what);
}

static int read_member(const struct cns_zip *zip, size_t at, struct member *ret_member,
                       struct cns_problem *problem) {
  const uint8_t *entry = zip->data + zip->directory + at;
  size_t left = zip->directory_len - at;
  if (left < CENTRAL_BYTES || cns_load_le32(entry) != CENTRAL_SIGNATURE)
    return broken(zip, "its directory ends too early", problem);
  size_t name_len = cns_load_le16(entry + 28);
  size_t whole = CENTRAL_BYTES + name_len + cns_load_le16(entry + 30) + cns_load_le16(entry + 32);
  if (whole > left) return broken(zip, "an entry reaches beyond its directory", problem);
  if (name_len == 0 || name_len > CNS_ZIP_NAME_MAX || memchr(entry + CENTRAL_BYTES, 0, name_len))
    return broken(zip, "a member's name is empty, longer than 255 bytes or holds a zero byte", problem);
  *ret_member = (struct member){.name = (const char *)entry + CENTRAL_BYTES,
                                .name_len = name_len,
                                .flags = cns_load_le16(entry + 8),
                                .method = cns_load_le16(entry + 10),
                                .checksum = cns_load_le32(entry + 16),
                                .packed = cns_load_le32(entry + 20),
                                .size = cns_load_le32(entry + 24),
                                .offset = cns_load_le32(entry + 42),
                                .next = at + whole};
  return 0;
}

static int check_directory(const struct cns_zip *zip, struct cns_problem *problem) {
  struct member member, other;
  size_t at = 0;
  for (size_t i = 0; i < zip->count; i++, at = member.next) {
    int r = read_member(zip, at, &member, problem);
    for (size_t j = 0, before = 0; r == 0 && j < i; j++, before = other.next) {
      r = read_member(zip, before, &other, problem);
      if (r == 0 && other.name_len == member.name_len &&
          memcmp(other.name, member.name, member.name_len) == 0)
        r = broken(zip, "it holds two members of one name", problem);
    }
    if (r < 0) return r;
  }
  return at == zip->directory_len ? 0 : broken(zip, "bytes follow its directory's last entry", problem);
}

int cns_zip_init(struct cns_zip *zip, const uint8_t *data, size_t len, const char *where,
                 struct cns_problem *problem) {
  struct cns_zip found = {.data = data, .len = len, .where = where};
  size_t end;
  if (!find_end(data, len, &end))
    return cns_problem_set(problem, CNS_ERR_FORMAT,
                           "%s: is no ZIP archive, or its end is missing (numpy.savez writes one)", where);
  const uint8_t *record = data + end;
  size_t here = cns_load_le16(record + 8), size = cns_load_le32(record + 12),
         offset = cns_load_le32(record + 16);
  found.count = cns_load_le16(record + 10);
  if (size == ZIP64 || offset == ZIP64 || found.count == 0xffff)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: is an archive beyond 4 GiB (ZIP64), which is not read", where);
  if (cns_load_le16(record + 4) != 0 || cns_load_le16(record + 6) != 0 || here != found.count)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: is one part of an archive in several", where);
  if (found.count > CNS_ZIP_MEMBERS_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: holds %zu members; at most %u are read", where,
                           found.count, CNS_ZIP_MEMBERS_MAX);
  if (offset > end || size > end - offset)
    return broken(&found, "its directory lies outside the file", problem);
  found.directory = offset;
  found.directory_len = size;
  int r = check_directory(&found, problem);
  if (r == 0) *zip = found;
  return r;
}

/* Names come from strangers' files: what can't be read becomes '?'. */
static int not_found(const struct cns_zip *zip, const char *name, struct cns_problem *problem) {
  char list[240] = "";
  struct member member;
  size_t used = 0, at = 0;
  for (size_t i = 0; i < zip->count && used + 4 < sizeof list; i++, at = member.next) {
    int r = read_member(zip, at, &member, problem);
    if (r < 0) return r;
    int wrote =
        snprintf(list + used, sizeof list - used, "%s%.*s", i ? ", " : "", (int)member.name_len, member.name);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
  cns_text_clean(list);
  return cns_problem_set(problem, CNS_ERR_NOT_FOUND, "%s: holds no member '%s'; there are: %s", zip->where,
                         name, list);
}

static int find_member(const struct cns_zip *zip, const char *name, struct member *ret_member,
                       struct cns_problem *problem) {
  struct member member;
  size_t at = 0, len = strlen(name);
  for (size_t i = 0; i < zip->count; i++, at = member.next) {
    int r = read_member(zip, at, &member, problem);
    if (r < 0) return r;
    if (member.name_len != len || memcmp(member.name, name, len) != 0) continue;
    *ret_member = member;
    return 0;
  }
  return not_found(zip, name, problem);
}

/* Where a member's bytes begin: behind its local header, whose name and extra
 * field have lengths of their own. */
static int find_bytes(const struct cns_zip *zip, const struct member *member, const uint8_t **ret_bytes,
                      struct cns_problem *problem) {
  if (member->offset > zip->directory || zip->directory - member->offset < LOCAL_BYTES ||
      cns_load_le32(zip->data + member->offset) != LOCAL_SIGNATURE)
    return broken(zip, "a member is not where the directory says", problem);
  const uint8_t *local = zip->data + member->offset;
  size_t head = LOCAL_BYTES + (size_t)cns_load_le16(local + 26) + cns_load_le16(local + 28),
         left = zip->directory - member->offset;
  if (head > left || member->packed > left - head)
    return broken(zip, "a member reaches into the directory", problem);
  *ret_bytes = local + head;
  return 0;
}

static int check_member(const struct cns_zip *zip, const struct member *member, const char *name,
                        struct cns_problem *problem) {
  if (member->flags & 1)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED, "%s: member '%s' is encrypted", zip->where, name);
  if (member->method != STORED && member->method != DEFLATED)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: member '%s' is packed by method %u; stored and deflated ones are read",
                           zip->where, name, member->method);
  if (member->size == ZIP64 || member->packed == ZIP64 || member->offset == ZIP64)
    return cns_problem_set(problem, CNS_ERR_UNSUPPORTED,
                           "%s: member '%s' is beyond 4 GiB (ZIP64), which is not read", zip->where, name);
  if (member->size > CNS_ZIP_MEMBER_MAX)
    return cns_problem_set(problem, CNS_ERR_LIMIT, "%s: member '%s' has %u bytes; at most %zu are read",
                           zip->where, name, member->size, CNS_ZIP_MEMBER_MAX);
  if (member->method == STORED ? member->size != member->packed
                               : member->size / EXPANSION_MAX > member->packed)
    return broken(zip, "a member can't have the size that the directory says", problem);
  return 0;
}

static bool inflate_exactly(const uint8_t *packed, size_t packed_len, uint8_t *out, size_t len) {
  z_stream stream = {.next_in = (Bytef *)(uintptr_t)packed,
                     .avail_in = (uInt)packed_len,
                     .next_out = out,
                     .avail_out = (uInt)len};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return false;
  bool good = inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_out == 0 && stream.avail_in == 0;
  inflateEnd(&stream);
  return good;
}

int cns_zip_extract(const struct cns_zip *zip, const char *name, uint8_t **ret_bytes, size_t *ret_len,
                    struct cns_problem *problem) {
  struct member member = {0};
  const uint8_t *packed = NULL;
  int r = find_member(zip, name, &member, problem);
  if (r == 0) r = check_member(zip, &member, name, problem);
  if (r == 0) r = find_bytes(zip, &member, &packed, problem);
  if (r < 0) return r;
  uint8_t *bytes = malloc((size_t)member.size + 1);
  if (!bytes) return cns_problem_set(problem, CNS_ERR_MEMORY, "%s: out of memory", zip->where);
  if (member.method == STORED)
    memcpy(bytes, packed, member.size);
  else if (!inflate_exactly(packed, member.packed, bytes, member.size))
    r = broken(zip, "a member doesn't unpack to the size that the directory says", problem);
  if (r == 0 && crc32(0, bytes, member.size) != member.checksum)
    r = broken(zip, "a member's checksum is wrong", problem);
  if (r < 0) {
    free(bytes);
    return r;
  }
  *ret_bytes = bytes;
  *ret_len = member.size;
  return 0;
}
