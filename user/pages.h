/* SPDX-License-Identifier: MIT */
/* Copies of a process's pages by address, the newest of each. Memory is kept for the next time. */
#ifndef RRC_PAGES_H
#define RRC_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define RRC_PAGE      4096u
#define RRC_PAGES_RUN 1024u /* pages that room can be had for at once */

struct rrc_pages;

struct rrc_pages *rrc_pages_new(void);
void rrc_pages_free(struct rrc_pages *p);

/* Room for n pages, at most RRC_PAGES_RUN, side by side; NULL: no memory. */
uint8_t *rrc_pages_room(struct rrc_pages *p, size_t n);

/* These bytes, in the room given last, are the page at addr now. */
int rrc_pages_put(struct rrc_pages *p, uint64_t addr, const uint8_t *data);

/* Forgets what lies in [start, end). */
void rrc_pages_drop(struct rrc_pages *p, uint64_t start, uint64_t end);

/* All that are there: arrays of the store's own, valid until it changes. Returns their number. */
size_t rrc_pages_all(struct rrc_pages *p, const uint64_t **addr, const uint8_t *const **data);

/* Empty again. */
void rrc_pages_clear(struct rrc_pages *p);

#endif
