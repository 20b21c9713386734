/* SPDX-License-Identifier: MIT */
/* What the racing server and its checked client agree on: the chain of all answers of a slot. */
#ifndef RRC_TESTS_RACE_H
#define RRC_TESTS_RACE_H

#include <stdint.h>

#define RACE_SLOTS 4096

static inline uint64_t race_chain(uint64_t chain, uint64_t value)
{
	uint64_t z = (chain ^ value) + 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	return z ^ (z >> 31);
}

#endif
