/* SPDX-License-Identifier: MIT */
/*
 * The warm copy is restored beside everything else: meanwhile checkpoints are committed that only have pages and
 * registers, and the copy is brought on by them when it stands.
 */
#ifndef RRC_WARMING_H
#define RRC_WARMING_H

struct rrc_session;

/* Begins, unless there is a copy, or none is wanted. From the thread that commits. */
void rrc_warming_start(struct rrc_session *s);

/* Until there is a copy, or it has failed. s->commit is held, and let go of meanwhile. */
void rrc_warming_wait(struct rrc_session *s);

#endif
