/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor R of a round: everything that both sides must agree on before
 * a key is drawn. docs/protocol.md, "Numbers". Its digest binds every message,
 * key and mask of the round, so a descriptor tailored to one hospital only
 * gives masks that don't cancel.
 */
#pragma once

#include "crypto/cursor.h"
#include "protocol/policy.h"

enum cns_phase {
  CNS_PHASE_NONE = 0,
  CNS_PHASE_KEYS = 1,
  CNS_PHASE_SHARES = 2,
  CNS_PHASE_READY = 3,
  CNS_PHASE_UPLOAD = 4,
  CNS_PHASE_AUDIT = 5, /* only at an audit level above none */
  CNS_PHASE_AGREE = 6,
  CNS_PHASE_UNMASK = 7,
  CNS_PHASE_RESULT = 8,
  CNS_PHASE_ABANDON = 9,
  CNS_PHASE_DISPUTE = 10, /* between audit and agree; closed empty unless two sketches contradict */
  CNS_PHASE_FORFEIT = 11, /* after unmask, only if somebody is proven to have lied in the audit */
};
#define CNS_PHASE_COUNT 12
/* Place in the course of a round, whatever the number: 1 keys, ... 6 dispute, 7
 * agree, 8 unmask, 9 forfeit, 10 result. */
unsigned cns_phase_order(enum cns_phase phase);

/* "keys", "shares", ... */
const char *cns_phase_name(enum cns_phase phase);

/* Elements of the update; 2^28 parameters are 1 GiB. */
#define CNS_DIM_MAX ((uint64_t)1 << 28)
#define CNS_METRICS_DIM_MAX ((uint32_t)1 << 20)
#define CNS_DESCRIPTOR_BYTES_MAX (512 + CNS_HOSPITALS_MAX * 6)
#define CNS_DEADLINE_MS_MAX (24u * 3600u * 1000u)

struct cns_member {
  uint16_t index;  /* roster index */
  uint32_t weight; /* public, >= 1 */
};

struct cns_descriptor {
  struct cns_digest study;  /* H(consortium, study name): rounds count within it */
  uint64_t round;           /* from 1 */
  uint32_t attempt;         /* from 1 */
  struct cns_digest parent; /* model that the updates start from */
  struct cns_digest plan;   /* signed study document */
  struct cns_digest roster;
  struct cns_digest policy;
  uint64_t dim;         /* d, elements of the update; the last ones are the extra numbers, if there are
                           any (cns_mechanism_extras) */
  uint32_t metrics_dim; /* elements of the metrics vector behind it, 0 if off */
  double clip_norm;
  int8_t scale_log2; /* the grid's step is 2^-scale_log2 */
  uint8_t bits;      /* reserved: 32 */
  uint8_t audit_level;
  uint8_t unit;            /* cns_privacy_unit */
  uint8_t noise_placement; /* cns_noise_placement */
  double noise_multiplier; /* 0 without noise */
  double sampling_rate;    /* 0 without noise, 1 in unit hospital */
  uint32_t sketch;
  uint16_t colluders;
  uint16_t threshold;
  uint16_t minimum_included;
  uint32_t deadline_ms[CNS_PHASE_COUNT];
  struct cns_digest nonce_commitment; /* of the coordinator's audit nonce: cns_nonce_commit */
  uint16_t member_count;              /* n, the cohort */
  struct cns_member *members;         /* sorted by index */
  double indicator_share;             /* of an adaptive clip norm (dp/adaptive_clip.h); 0: fixed */
  double metrics_share;               /* of noised metrics (dp/noised_metrics.h); 0: none */
};

/* H("consilium/1 study name", consortium, name). */
void cns_study_digest(const char *consortium, const char *name, struct cns_digest *ret_digest);

void cns_descriptor_deinit(struct cns_descriptor *descriptor);
CNS_MUST_CHECK int cns_descriptor_copy(const struct cns_descriptor *from, struct cns_descriptor *ret_copy);
void cns_descriptor_write(struct cns_writer *writer, const struct cns_descriptor *descriptor);
/* Shape only (sorted unique members, non-zero weights, finite clip, sizes in
 * their limits); CNS_ERR_FORMAT otherwise. Allocates members. */
CNS_MUST_CHECK int cns_descriptor_read(const uint8_t *data, size_t len,
                                       struct cns_descriptor *ret_descriptor);
CNS_MUST_CHECK int cns_descriptor_digest(const struct cns_descriptor *descriptor,
                                         struct cns_digest *ret_digest);
/* Position of a roster index in members, or -1. */
int cns_descriptor_position(const struct cns_descriptor *descriptor, uint16_t index);
/* Words of one masked vector: dim + metrics_dim. */
uint64_t cns_descriptor_words(const struct cns_descriptor *descriptor);

/* A hospital's own minimums, whatever it is told. */
struct cns_floor {
  uint16_t cohort;
  uint16_t threshold;
  uint16_t included;
};

/* What a descriptor must agree with, as one hospital knows it. */
struct cns_expectation {
  const struct cns_roster *roster;
  const struct cns_policy *policy;
  struct cns_digest study, plan, parent;
  uint64_t dim;
  uint64_t params; /* of the model, which an audit's limits go by, since an update says no more: with SCAFFOLD
                      half of dim; 0: dim */
  uint32_t metrics_dim;
  double clip_norm;                       /* the study's; an adaptive one follows from the last manifest */
  double indicator_share;                 /* the study's; 0: the clip norm is fixed */
  double metrics_share;                   /* the study's; 0: no noised metrics */
  double noise_multiplier, sampling_rate; /* the study's */
  uint64_t round;                         /* exactly this one */
  /* Highest (round, attempt) signed before; both zero at first. */
  uint64_t last_round;
  uint32_t last_attempt;
  uint16_t index;      /* own; 0 for the coordinator's check of itself */
  uint32_t own_weight; /* checked when index != 0 */
  /* With an audit in the policy: numbers A*x that this hospital has revealed in
   * this study so far, refunded or not; and whether it took part in phase upload
   * of an audited attempt on this parent. */
  uint64_t sketch_spent;
  bool audited_parent;
  struct cns_floor floor;
};

/*
 * Every rule that a descriptor must meet: digests, growing (round, attempt),
 * members in the roster and not revoked, n >= max(minimum cohort, 4, 3c+1,
 * floor), c the policy's, t = floor((n+c)/2)+1 and >= floor, included minimum
 * >= max(c+2, policy, floor), clip, weights, scale (the finest that can't
 * wrap, no other), noise placement; audit level, with dim >= 32k and >= 4096,
 * k the policy's, the hospital's sketch budget, and answers that fit a frame.
 * CNS_ERR_REFUSED (or _UNSUPPORTED) with a sentence that names the rule and the
 * numbers.
 */
CNS_MUST_CHECK int cns_descriptor_check(const struct cns_descriptor *descriptor,
                                        const struct cns_expectation *expectation,
                                        struct cns_problem *problem);

/* The mechanism of the round over the whole cohort (dp/mechanism.h). weights: room
 * for one a member; the mechanism points to it. */
void cns_descriptor_mechanism(const struct cns_descriptor *descriptor, uint32_t *weights,
                              struct cns_mechanism *ret_mechanism);
/* The same, with sensitivity, noise and ranges; weights as above. CNS_ERR_RANGE with a
 * sentence if a sum could wrap. */
CNS_MUST_CHECK int cns_descriptor_compute(const struct cns_descriptor *descriptor, uint32_t *weights,
                                          struct cns_mechanism *ret_mechanism,
                                          struct cns_mechanism_numbers *ret_numbers,
                                          struct cns_problem *problem);
/* Sensitivity, noise and ranges; CNS_ERR_RANGE with a sentence if a sum could wrap. */
CNS_MUST_CHECK int cns_descriptor_numbers(const struct cns_descriptor *descriptor,
                                          struct cns_mechanism_numbers *ret_numbers,
                                          struct cns_problem *problem);
/* B of member k, in steps: the norm that its vector, with its noise, is within. */
CNS_MUST_CHECK int cns_descriptor_bound(const struct cns_descriptor *descriptor, size_t k,
                                        uint64_t *ret_bound);
/* Sets the finest step that passes, all else given. */
CNS_MUST_CHECK int cns_descriptor_choose_scale(struct cns_descriptor *descriptor,
                                               struct cns_problem *problem);
