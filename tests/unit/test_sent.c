/* SPDX-License-Identifier: MIT */
/* Pages kept as they were sent: the last of each, none that was dropped, and no more than the budget allows. */
#include "help.h"
#include "pages.h"
#include "sent.h"

#define MANY 5000u /* more than the first table has places for */

static const uint8_t *page_of(unsigned int i)
{
	static uint8_t page[RRC_PAGE];

	memset(page, (int)(i % 251), sizeof(page));
	return page;
}

static uint64_t at(unsigned int i)
{
	return (i + 1ull) * RRC_PAGE;
}

Test(sent, what_was_sent_last)
{
	size_t budget = MANY;
	struct rrc_sent *s = rrc_sent_new(&budget);

	cr_assert_null(rrc_sent_at(s, at(1)));
	for (unsigned int i = 0; i < MANY + 10; i++)
		rrc_sent_add(s, at(i), page_of(i));
	cr_assert_eq(budget, 0u);
	for (unsigned int i = 0; i < MANY; i++)
		cr_assert_eq(*rrc_sent_at(s, at(i)), i % 251, "%u", i);
	cr_assert_null(rrc_sent_at(s, at(MANY)), "more than there is room for");
	rrc_sent_add(s, at(7), page_of(8));
	cr_assert_eq(*rrc_sent_at(s, at(7)), 8);
	rrc_sent_free(s);
	cr_assert_eq(budget, MANY);
}

Test(sent, what_was_dropped_comes_again)
{
	size_t budget = MANY;
	struct rrc_sent *s = rrc_sent_new(&budget);

	for (unsigned int i = 0; i < 10; i++)
		rrc_sent_add(s, at(i), page_of(i));
	rrc_sent_drop(s, at(2), at(4));
	rrc_sent_drop(s, at(8) + 5, at(8) + 6);
	rrc_sent_drop(s, at(100), at(200));
	for (unsigned int i = 0; i < 10; i++)
		cr_assert_eq(!rrc_sent_at(s, at(i)), i == 2 || i == 3 || i == 8, "%u", i);
	rrc_sent_add(s, at(150), page_of(3));
	cr_assert_eq(*rrc_sent_at(s, at(150)), 3);
	rrc_sent_add(s, at(2), page_of(77));
	cr_assert_eq(*rrc_sent_at(s, at(2)), 77);
	cr_assert_eq(budget, MANY - 11);
	/* All there is: more than there are places for. */
	rrc_sent_drop(s, 0, 1ull << 47);
	for (unsigned int i = 0; i < 10; i++)
		cr_assert_null(rrc_sent_at(s, at(i)));
	rrc_sent_free(s);
}
