/* SPDX-License-Identifier: Apache-2.0 */
/* Which way a hospital's connection to the coordinator takes: straight, or through a proxy that
 * its kit, its environment or the command line names. */
#pragma once

#include "net/proxy.h"
#include "store/kit.h"

/*
 * option: of the command line; NULL: what config says; "none"; "environment"; or a URL without a
 * password, for which user and password file of config are used if it has them.
 * address: the coordinator's. ret_proxy->host is empty if there is no proxy, which is always so where the
 * address doesn't leave the machine by its scheme (ipc://, tcp://). Wipe *ret_proxy after use.
 * Errors, each with a sentence: CNS_ERR_ARGUMENT (a URL, user or password that can't be
 * used), CNS_ERR_PERMISSION (the password's file can be read by others), those of cns_file_read.
 */
CNS_MUST_CHECK int cns_way_out(const struct cns_kit_config *config, const char *option, const char *address,
                               struct cns_proxy *ret_proxy, struct cns_problem *problem);
/* An option as cns_way_out takes it, before there is a kit: CNS_ERR_ARGUMENT with a sentence. */
CNS_MUST_CHECK int cns_way_out_check(const char *option, struct cns_problem *problem);
