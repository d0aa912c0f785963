/* SPDX-License-Identifier: Apache-2.0 */
/* What a hospital has before it speaks to anybody: kit, study, its table in
 * two parts, and its record of what it signed and spent. */
#pragma once

#include "client/trainer.h"
#include "model/table.h"
#include "protocol/consent.h"
#include "store/carry.h"
#include "store/charge.h"
#include "store/hospital_store.h"
#include "store/kit.h"

struct cns_site {
  struct cns_kit kit;
  struct cns_plan plan;
  struct cns_digest study;            /* cns_study_digest */
  struct cns_table train, validation; /* empty in a study without a table */
  struct cns_trainer_setup trainer;   /* without a command: the built-in one */
  uint32_t patients;
  /* The data's privacy ledger, which studies on the same data share; NULL without noise. */
  struct cns_ledger *ledger;
  struct cns_identity *ledger_identity; /* its owner: of the data, not of a kit */
  struct cns_digest data_set;           /* whose patients they are */
  char *report;                         /* of the table, text of a few lines */
  struct cns_hospital_store *store;
};

/* Errors of cns_kit_load, cns_plan_parse, cns_table_read and
 * cns_hospital_store_open; CNS_ERR_REFUSED if study and policy disagree, if
 * roster or policy are older than seen before, or if the policy is looser than the one
 * accepted last and the authority hasn't signed it too. Zero or unset before. */
CNS_MUST_CHECK int cns_site_open(const char *kit_folder, struct cns_site *ret_site,
                                 struct cns_problem *problem);
/* The same with site->ledger NULL, since it is lost or an old one; the new one is opened (and begun, with its
 * key) by cns_site_open_carried, for what the coordinator states to be taken in. CNS_ERR_REFUSED: the
 * statement ends before the last round in the hospital's own record; or the ledger there has the key of the
 * lost one. */
CNS_MUST_CHECK int cns_site_open_without_ledger(const char *kit_folder, struct cns_site *ret_site,
                                                struct cns_problem *problem);
CNS_MUST_CHECK int cns_site_open_carried(struct cns_site *site, const struct cns_carry *carry,
                                         struct cns_problem *problem);
/* Without the table: enough to withdraw a consent. The policy needn't be one to accept. */
CNS_MUST_CHECK int cns_site_open_record(const char *kit_folder, struct cns_site *ret_site,
                                        struct cns_problem *problem);
/* For another process while the agent runs: without the table, and the record
 * for reading only; NULL where there is none yet. Nothing is checked but the kit. */
CNS_MUST_CHECK int cns_site_open_readonly(const char *kit_folder, struct cns_site *ret_site,
                                          struct cns_problem *problem);
void cns_site_deinit(struct cns_site *site); /* also fine on a zeroed struct; wipes the tables */

/* Of a site whose kit, plan and study are there: its record, for reading only. CNS_ERR_NOT_FOUND
 * if there is none yet. */
CNS_MUST_CHECK int cns_site_read_record(struct cns_site *site, struct cns_problem *problem);
/* Of a site whose kit and plan are there: who trains, and the table, or that there are data where the
 * study has none. Errors of cns_kit_check_trainer, cns_trainer_check and cns_table_read. */
CNS_MUST_CHECK int cns_site_read_table(struct cns_site *site, struct cns_problem *problem);
/* The two halves of it, so that what is wrong with either can be said. */
CNS_MUST_CHECK int cns_site_check_trainer(struct cns_site *site, struct cns_problem *problem);
CNS_MUST_CHECK int cns_site_read_data(struct cns_site *site, struct cns_problem *problem);

/* The consent kept, if it fits study, table and hospital as they are;
 * CNS_ERR_REFUSED, with what to do, if there is none or it doesn't. ret_document
 * is malloc'd. */
CNS_MUST_CHECK int cns_site_consent(const struct cns_site *site, struct cns_consent *ret_consent,
                                    uint8_t **ret_document, size_t *ret_len, struct cns_problem *problem);

/* Path of the data's ledger, malloc'd: the kit's, or beside the table that the kit names or
 * links to; its owner's key lies beside it, with ".key" behind it. */
char *cns_site_ledger_path(const struct cns_site *site);
/* The policy's limits and the data set's. ret_limits: room for CNS_LEDGER_LIMITS_MAX. */
size_t cns_site_limits(const struct cns_site *site, struct cns_ledger_limit *ret_limits);
/* What each ledger of a hospital is opened as (cns_ledger_open). */
void cns_site_ledger_subject(struct cns_digest *ret_subject);

/* malloc'd "<state>/<name>"; name NULL: the state folder's own path. */
char *cns_site_path(const struct cns_site *site, const char *name);
