/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of a ZIP archive, stored or deflated (PKWARE's APPNOTE 6.3, sections
 * 4.3.7, 4.3.12 and 4.3.16; RFC 1951), as NumPy writes them in a .npz file.
 * Only the central directory says what there is. Refused: archives in several
 * parts, encrypted members, other methods, members or archives beyond 4 GiB
 * (ZIP64), lengths that reach outside the file or that deflate can't reach, a
 * wrong checksum, a name that comes twice.
 */
#pragma once

#include "crypto/base.h"

#define CNS_ZIP_MEMBERS_MAX 4096u
#define CNS_ZIP_NAME_MAX 255u
#define CNS_ZIP_MEMBER_MAX ((size_t)1 << 31) /* bytes of a member */

/* Bytes and where (for sentences) must outlive the object. */
struct cns_zip {
  const uint8_t *data;
  size_t len;
  const char *where;
  size_t directory, directory_len; /* of the central directory */
  size_t count;
};

/* Walks through the whole directory. CNS_ERR_FORMAT, CNS_ERR_LIMIT,
 * CNS_ERR_UNSUPPORTED with a sentence. */
CNS_MUST_CHECK int cns_zip_init(struct cns_zip *zip, const uint8_t *data, size_t len, const char *where,
                                struct cns_problem *problem);
/* malloc'd bytes of one member (at least one byte is allocated).
 * CNS_ERR_NOT_FOUND with a sentence that lists what there is; errors as above. */
CNS_MUST_CHECK int cns_zip_extract(const struct cns_zip *zip, const char *name, uint8_t **ret_bytes,
                                   size_t *ret_len, struct cns_problem *problem);
