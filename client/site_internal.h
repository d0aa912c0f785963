/* SPDX-License-Identifier: Apache-2.0 */
/* Between the site's files. */
#pragma once

#include "client/site.h"

/* Ledger and owner of an open site with its table; what earlier runs had only reserved is cancelled. */
CNS_MUST_CHECK int cns_site_open_ledger(struct cns_site *site, struct cns_problem *problem);
