/* SPDX-License-Identifier: MIT */
/* Between recorder.c and its parts in the container's network, recorder_tc.c and recorder_waiting.c. */
#ifndef RRC_RECORDER_INT_H
#define RRC_RECORDER_INT_H

#include <bpf/libbpf.h>
#include <stdbool.h>

struct rrc_recorder;

/* libbpf prints on its own: silence it around calls; give back what this returned. */
libbpf_print_fn_t rrc_libbpf_silence(bool verbose);
void rrc_libbpf_restore(libbpf_print_fn_t old);

/* Of the iterator rrc_waiting. */
int rrc_recorder_waiting_link(const struct rrc_recorder *rec);

/* The programs for the link. */
void rrc_recorder_link_progs(struct rrc_recorder *rec, int *ingress, int *egress);

#endif
