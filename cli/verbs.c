/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

const struct cns_verb cns_verbs[] = {
    {"demo", "run a whole federation on this machine, on the breast-cancer data", cns_cli_demo},
    {"init", "make a federation: authority, officer, coordinator and a kit for each hospital", cns_cli_init},
    {"consent", "consent to a study as a hospital, or take that back", cns_cli_consent},
    {"preflight", "check, before a start, what a hospital or a coordinator needs", cns_cli_preflight},
    {"hospital", "run a hospital's agent", cns_cli_hospital},
    {"kit", "enrol a hospital whose keys never leave it; look at a kit", cns_cli_kit},
    {"roster", "add, renew, replace or revoke a hospital while rounds run; show a roster", cns_cli_roster},
    {"policy", "show, make or sign the privacy officers' policy", cns_cli_policy},
    {"quarantine", "see which hospitals are out after a flag, and let one in again", cns_cli_quarantine},
    {"coordinator", "run the coordinator of a federation", cns_cli_coordinator},
    {"pause", "begin no further round until `resume`, as coordinator or as a hospital", cns_cli_pause},
    {"resume", "go on after a pause", cns_cli_resume},
    {"stop", "end a study for good", cns_cli_stop},
    {"model", "take a model in, give it out, look at it, predict with it", cns_cli_model},
    {"budget", "what was spent in privacy, and what is left; a statement for a dossier", cns_cli_budget},
    {"status", "what a coordinator or a hospital has done so far", cns_cli_status},
    {"evidence", "check what proves that a hospital broke the protocol", cns_cli_evidence},
    {"dp", "what rounds with noise cost in privacy, and how much noise is needed", cns_cli_dp},
    {"simulate", "run whole rounds in one process and check the sum", cns_cli_simulate},
    {"robust", "aggregate updates by a rule that withstands bad ones; attack it; flag outliers",
     cns_cli_robust},
    {"bench", "what robust rules do on data and under attacks", cns_cli_bench},
    {NULL, NULL, NULL},
};
