/* SPDX-License-Identifier: MIT */
/* Pages of a process as the receiver has them, so that of the next ones only what differs is sent. Any of them may be
 * missing: then the page is sent whole. */
#ifndef RRC_SENT_H
#define RRC_SENT_H

#include <stddef.h>
#include <stdint.h>

struct rrc_sent;

/* *budget: so many pages more may be kept; shared with others of its kind. */
struct rrc_sent *rrc_sent_new(size_t *budget);
void rrc_sent_free(struct rrc_sent *s);

/* The page at addr, to be compared with and brought up to date; NULL: it is not kept. */
uint8_t *rrc_sent_at(const struct rrc_sent *s, uint64_t addr);

/* Keeps another one, if there is room: it is sent whole this time. */
void rrc_sent_add(struct rrc_sent *s, uint64_t addr, const uint8_t *page);

/* The receiver may not have what lies in [start, end) any more. */
void rrc_sent_drop(struct rrc_sent *s, uint64_t start, uint64_t end);

#endif
