// SPDX-License-Identifier: MIT
/*
 * The backup's keeping, over its real connections: a checkpoint becomes the newest whole or not at
 * all, the log is acknowledged as far as it has no gap, and what is wrong leaves the old one alone.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "conn.h"
#include "help.h"
#include "log.h"
#include "session.h"
#include "syscalls.h"
#include "util.h"

#define FIRST_CUT 4096u

struct backup {
	char *dir; /* holds the state directory and whatever must not be touched */
	char state[HELP_PATH];
	struct rrc_daemon_opts o;
	struct rrc_session *s;
	struct rrc_link log, bulk; /* the primary's ends */
	struct rrc_link served; /* the backup's end of bulk */
	pthread_t log_thread, bulk_thread;
	int ended; /* the log thread was joined */
	struct rrc_error log_err;
	int log_ret;
	uint64_t pos;
};

static void *serve_log(void *arg)
{
	struct backup *b = arg;

	b->log_ret = rrc_session_serve_log(b->s, &b->log_err);
	return NULL;
}

static void *serve_bulk(void *arg)
{
	struct backup *b = arg;

	rrc_session_serve_bulk(b->s, &b->served);
	rrc_link_close(&b->served);
	return NULL;
}

static void join_links(struct rrc_link *ours, struct rrc_link *theirs)
{
	int p[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
	rrc_link_init(ours, p[0]);
	rrc_link_init(theirs, p[1]);
}

static void start(struct backup *b, unsigned int silence_ms)
{
	struct rrc_hello h = { .role = RRC_ROLE_LOG, .session = 7, .name = "web" };
	struct rrc_error err = { 0 };

	memset(b, 0, sizeof(*b));
	rrc_log_setup("test", RRC_LOG_ERROR, 0);
	b->dir = help_dir();
	snprintf(b->state, sizeof(b->state), "%s/state", b->dir);
	mkdir(b->state, 0700);
	b->o = (struct rrc_daemon_opts){ .state = b->state, .silence_ms = silence_ms };
	b->s = rrc_session_new(&b->o, &h, &err);
	cr_assert(b->s, "%s", err.msg);
	join_links(&b->log, &b->s->log);
	b->pos = FIRST_CUT;
	cr_assert_eq(pthread_create(&b->log_thread, NULL, serve_log, b), 0);
}

static void log_ends(struct backup *b)
{
	pthread_join(b->log_thread, NULL);
	b->ended = 1;
}

static void finish(struct backup *b)
{
	rrc_link_close(&b->log);
	if (!b->ended)
		pthread_join(b->log_thread, NULL);
	rrc_session_free(b->s);
	help_remove(b->dir);
	free(b->dir);
}

/* A frame with a cut and a death; returns the position of the cut. */
static uint64_t send_log(struct backup *b, int with_cut)
{
	struct help_log l = { .len = 0 };
	uint64_t at = b->pos;

	if (with_cut)
		help_rec(&l, RRC_REC_CUT, 0);
	help_rec(&l, RRC_REC_DEATH, 5);
	cr_assert_eq(
		rrc_link_send(&b->log, RRC_FRAME_LOG, l.bytes, (uint32_t)l.len, b->pos, b->pos), 0);
	b->pos += l.len;
	return at;
}

/* Waits for a frame of this type (and position, unless that is 0); acknowledgements of less may come before. */
static void expect(struct rrc_link *l, enum rrc_frame_type type, uint64_t pos)
{
	struct rrc_error err = { 0 };
	const uint8_t *payload;
	struct rrc_frame f;

	do {
		cr_assert_eq(rrc_link_recv_wait(l, &f, &payload, 5000, &err), 1, "%s", err.msg);
		cr_assert_eq(f.type, type, "type %u: %.*s", f.type, (int)f.stored,
			     (const char *)payload);
	} while (type == RRC_FRAME_ACK && f.pos < pos);
	cr_assert(!pos || f.pos == pos);
}

/* Sends log up to a cut and waits until it is acknowledged. */
static uint64_t cut(struct backup *b)
{
	uint64_t at = send_log(b, 1);

	expect(&b->log, RRC_FRAME_ACK, b->pos);
	return at;
}

/* ---- checkpoints ---- */

struct file {
	const char *name, *bytes;
	size_t len; /* 0: a string */
};

struct ckpt {
	uint64_t number, cut_pos;
	uint32_t flags;
	struct file files[4];
	/* what is wrong with it */
	int flip, cut_short, too_long, packed;
	uint64_t begin_as, commit_as; /* 0: its number */
};

static size_t file_len(const struct file *f)
{
	return f->len ? f->len : strlen(f->bytes);
}

static struct rrc_manifest *manifest_of(const struct ckpt *c)
{
	struct rrc_manifest_info info = { .number = c->number,
					  .cut_pos = c->cut_pos,
					  .flags = c->flags };
	struct rrc_manifest *m = rrc_manifest_new(&info);

	for (size_t i = 0; c->files[i].name; i++) {
		struct rrc_manifest_file f = {
			.size = file_len(&c->files[i]),
			.sum = XXH3_64bits(c->files[i].bytes, file_len(&c->files[i])),
		};

		cr_assert_eq(rrc_manifest_add(m, RRC_SECTION_FILE, &f, sizeof(f), c->files[i].name,
					      strlen(c->files[i].name)),
			     0);
	}
	return m;
}

static void send_packed(struct rrc_link *l, const void *bytes, uint32_t len, uint64_t aux)
{
	uint8_t *buf = malloc(sizeof(struct rrc_frame) + len);
	struct rrc_frame f;

	/* It says that it opens to far more than is there. */
	rrc_frame_seal(&f, RRC_FRAME_CKPT_BEGIN, RRC_FRAME_ZSTD, bytes, len, RRC_FRAME_MAX, 0, aux);
	memcpy(buf, &f, sizeof(f));
	memcpy(buf + sizeof(f), bytes, len);
	rrc_link_send_raw(l, buf, sizeof(f) + len);
	free(buf);
}

static void send_files(struct backup *b, const struct ckpt *c)
{
	char buf[8192];
	size_t n = 0;

	for (size_t i = 0; c->files[i].name; i++) {
		cr_assert(n + file_len(&c->files[i]) < sizeof(buf) - 1);
		memcpy(buf + n, c->files[i].bytes, file_len(&c->files[i]));
		n += file_len(&c->files[i]);
	}
	buf[0] ^= (char)c->flip;
	buf[n] = 0;
	n = n - (size_t)c->cut_short + (size_t)c->too_long;
	/* In two parts that know nothing of where a file ends. */
	rrc_link_send(&b->bulk, RRC_FRAME_CKPT_DATA, buf, (uint32_t)(n / 3), 0, 0);
	rrc_link_send(&b->bulk, RRC_FRAME_CKPT_DATA, buf + n / 3, (uint32_t)(n - n / 3), 0, 0);
}

static void send_on(struct backup *b, const struct ckpt *c, enum rrc_frame_type answer)
{
	struct rrc_manifest *m = manifest_of(c);
	uint64_t as = c->begin_as ? c->begin_as : c->number;
	const void *bytes;
	size_t len;

	bytes = rrc_manifest_bytes(m, &len);
	if (c->packed)
		send_packed(&b->bulk, bytes, (uint32_t)len, as);
	else
		rrc_link_send(&b->bulk, RRC_FRAME_CKPT_BEGIN, bytes, (uint32_t)len, 0, as);
	rrc_manifest_free(m);
	if (!c->packed) {
		send_files(b, c);
		rrc_link_send(&b->bulk, RRC_FRAME_CKPT_COMMIT, NULL, 0, 0,
			      c->commit_as ? c->commit_as : as);
	}
	expect(&b->bulk, answer, 0);
}

static void bulk_begin(struct backup *b)
{
	join_links(&b->bulk, &b->served);
	cr_assert_eq(pthread_create(&b->bulk_thread, NULL, serve_bulk, b), 0);
}

static void bulk_end(struct backup *b)
{
	rrc_link_close(&b->bulk);
	pthread_join(b->bulk_thread, NULL);
}

/* On a bulk connection of its own. */
static void send_ckpt(struct backup *b, const struct ckpt *c, enum rrc_frame_type answer)
{
	bulk_begin(b);
	send_on(b, c, answer);
	bulk_end(b);
}

static void first(struct backup *b)
{
	struct ckpt c = { .number = 1, .files = { { "img/a", "hello", 0 }, { "empty", "", 0 } } };

	c.cut_pos = cut(b);
	send_ckpt(b, &c, RRC_FRAME_COMMITTED);
}

/* The first checkpoint is as it was, and a failover would start from it. */
static void first_is_whole(struct backup *b, const char *when)
{
	struct rrc_error err = { 0 };
	char *text;

	cr_assert_eq(b->s->committed, 1u, "%s", when);
	cr_assert_eq(rrc_manifest_info(b->s->manifest)->number, 1u);
	cr_assert_str_eq(b->s->ckpt, help_path("%s/web/ckpt-000001", b->state));
	cr_assert_eq(rrc_manifest_verify_dir(b->s->manifest, b->s->ckpt, &err), 0, "%s: %s", when,
		     err.msg);
	text = help_read(help_path("%s/img/a", b->s->ckpt), NULL);
	cr_assert_str_eq(text, "hello");
	free(text);
	cr_assert_eq(b->s->kept[0].head.pos, FIRST_CUT, "%s: its log is not there", when);
}

Test(store, a_checkpoint_becomes_the_newest, .timeout = 30)
{
	struct ckpt second = { .number = 2, .files = { { "img/b", "world", 0 } } };
	struct backup b;

	start(&b, 10000);
	first(&b);
	first_is_whole(&b, "after the first");
	send_log(&b, 0);
	second.cut_pos = cut(&b);
	send_ckpt(&b, &second, RRC_FRAME_COMMITTED);
	cr_assert_eq(b.s->committed, 2u);
	cr_assert_str_eq(b.s->ckpt, help_path("%s/web/ckpt-000002", b.state));
	cr_assert(access(help_path("%s/web/ckpt-000001", b.state), F_OK), "the old one is gone");
	cr_assert_eq(b.s->nkept, 1u);
	cr_assert_eq(b.s->kept[0].head.pos, second.cut_pos);
	finish(&b);
}

Test(store, what_is_wrong_leaves_the_old_one, .timeout = 60)
{
	static const struct {
		const char *what;
		struct ckpt c;
	} bad[] = {
		{ "a flipped bit", { .number = 2, .flip = 1 } },
		{ "a byte too few", { .number = 2, .cut_short = 1 } },
		{ "a byte too many", { .number = 2, .too_long = 1 } },
		{ "another number", { .number = 2, .begin_as = 3 } },
		{ "another number at the end", { .number = 2, .commit_as = 3 } },
		{ "the number of the newest", { .number = 1, .flip = 1 } },
		{ "an old number", { .number = 0, .flip = 1 } },
		{ "a cut that the log has not", { .number = 2, .cut_pos = 1 } },
		{ "a packed manifest", { .number = 2, .packed = 1 } },
		{ "a name outside", { .number = 2, .files = { { "../../out", "x", 0 } } } },
		{ "a name from the root",
		  { .number = 2, .files = { { "/tmp/rrc-out", "x", 0 } } } },
		{ "a name twice", { .number = 2, .files = { { "a", "x", 0 }, { "a", "y", 0 } } } },
		{ "a file as a directory",
		  { .number = 2, .files = { { "a", "x", 0 }, { "a/b", "y", 0 } } } },
		{ "no table of connections", { .number = 2, .files = { { "conns", "x", 0 } } } },
	};
	struct backup b;

	start(&b, 10000);
	first(&b);
	for (size_t i = 0; i < RRC_ARRAY_SIZE(bad); i++) {
		struct ckpt c = bad[i].c;
		uint64_t at = cut(&b);

		if (!c.cut_pos)
			c.cut_pos = at;
		if (!c.files[0].name)
			c.files[0] = (struct file){ "img/a", "other", 0 };
		send_ckpt(&b, &c, RRC_FRAME_REFUSE);
		first_is_whole(&b, bad[i].what);
	}
	cr_assert(access(help_path("%s/out", b.dir), F_OK) && access("/tmp/rrc-out", F_OK));
	finish(&b);
}

/* A delta that the backup does not want, and the whole one that comes instead. */
Test(store, after_a_refusal_another_may_come, .timeout = 30)
{
	struct ckpt delta = { .number = 2,
			      .flags = RRC_MANIFEST_DELTA,
			      .files = { { "delta", "not one", 0 } } };
	struct ckpt whole = { .number = 3, .files = { { "img/b", "world", 0 } } };
	struct ckpt half = { .number = 4, .cut_short = 1, .files = { { "img/c", "x", 0 } } };
	struct backup b;

	start(&b, 10000);
	first(&b);
	bulk_begin(&b);
	delta.cut_pos = cut(&b);
	send_on(&b, &delta, RRC_FRAME_REFUSE);
	first_is_whole(&b, "after a refused delta");
	whole.cut_pos = cut(&b);
	send_on(&b, &whole, RRC_FRAME_COMMITTED);
	half.cut_pos = cut(&b);
	send_on(&b, &half, RRC_FRAME_REFUSE);
	half.number = 5;
	half.cut_short = 0;
	send_on(&b, &half, RRC_FRAME_COMMITTED);
	bulk_end(&b);
	cr_assert_eq(b.s->committed, 5u);
	finish(&b);
}

/* The layer of files belongs to the newest checkpoint: one that is refused must not have changed it. */
Test(store, a_refused_checkpoint_changes_no_files, .timeout = 30)
{
	struct ckpt c = { .number = 1, .flags = RRC_MANIFEST_OWN_ROOT };
	struct backup b;
	char *tar, *text;
	size_t len;

	start(&b, 10000);
	help_sh(b.dir, "mkdir src && echo -n old >src/f && tar -C src -cf 1.tar f &&"
		       " echo -n new >src/f && tar -C src -cf 2.tar f");
	tar = help_read(help_path("%s/1.tar", b.dir), &len);
	c.files[0] = (struct file){ "fs.tar", tar, 2048 };
	c.cut_pos = cut(&b);
	send_ckpt(&b, &c, RRC_FRAME_COMMITTED);
	free(tar);
	tar = help_read(help_path("%s/2.tar", b.dir), &len);
	c = (struct ckpt){ .number = 2, .flags = RRC_MANIFEST_OWN_ROOT, .cut_pos = cut(&b) };
	c.files[0] = (struct file){ "fs.tar", tar, 2048 };
	c.files[1] = (struct file){ "conns", "damaged", 0 };
	send_ckpt(&b, &c, RRC_FRAME_REFUSE);
	text = help_read(help_path("%s/web/layer/f", b.state), NULL);
	cr_assert_str_eq(text, "old");
	free(text);
	c.cut_pos = 1;
	c.files[1].name = NULL;
	send_ckpt(&b, &c, RRC_FRAME_REFUSE);
	text = help_read(help_path("%s/web/layer/f", b.state), NULL);
	cr_assert_str_eq(text, "old");
	free(text);
	c.cut_pos = cut(&b);
	send_ckpt(&b, &c, RRC_FRAME_COMMITTED);
	text = help_read(help_path("%s/web/layer/f", b.state), NULL);
	cr_assert_str_eq(text, "new");
	free(text);
	free(tar);
	finish(&b);
}

Test(store, a_saved_table_of_connections_is_taken, .timeout = 30)
{
	struct rrc_rec_conn birth = {
		.cookie = 77, .family = AF_INET, .lport = 1, .rport = 2, .state = 1
	};
	struct rrc_conns *conns = rrc_conns_new();
	struct ckpt c = { .number = 1 };
	struct backup b;
	uint8_t *bytes;
	size_t len;

	cr_assert_eq(rrc_conns_add(conns, &birth, "ab", 2, "", 0, NULL), 0);
	cr_assert_eq(rrc_conns_save(conns, &bytes, &len, NULL), 0);
	rrc_conns_free(conns);
	start(&b, 10000);
	c.cut_pos = cut(&b);
	c.files[0] = (struct file){ "conns", (const char *)bytes, len };
	send_ckpt(&b, &c, RRC_FRAME_COMMITTED);
	cr_assert(rrc_conns_get(b.s->conns, 77));
	free(bytes);
	finish(&b);
}

/* A record that nobody can take in, behind one that was: the connections stay where the checkpoint is. */
Test(store, a_damaged_record_moves_no_connection, .timeout = 30)
{
	struct rrc_rec_conn birth = {
		.cookie = 77, .family = AF_INET, .lport = 1, .rport = 2, .state = 1
	};
	struct rrc_conns *conns = rrc_conns_new();
	struct ckpt c = { .number = 1 };
	struct help_log l = { .len = 0 };
	struct backup b;
	struct rrc_rec *r;
	uint8_t *bytes;
	size_t len;

	cr_assert_eq(rrc_conns_add(conns, &birth, "abcd", 4, "", 0, NULL), 0);
	cr_assert_eq(rrc_conns_save(conns, &bytes, &len, NULL), 0);
	rrc_conns_free(conns);
	start(&b, 10000);
	c.cut_pos = cut(&b);
	c.files[0] = (struct file){ "conns", (const char *)bytes, len };
	send_ckpt(&b, &c, RRC_FRAME_COMMITTED);
	for (int i = 0; i < 2; i++) {
		r = help_rec(&l, RRC_REC_SYSCALL, 1);
		r->nr = RRC_NR_read;
		r->fdkind = RRC_FD_TCP;
		r->obj = 77;
		r->ret = i ? 1ll << 40 : 3;
	}
	cr_assert_eq(rrc_link_send(&b.log, RRC_FRAME_LOG, l.bytes, (uint32_t)l.len, b.pos, b.pos),
		     0);
	b.pos += l.len;
	c = (struct ckpt){ .number = 2, .files = { { "img/a", "other", 0 } } };
	c.cut_pos = cut(&b);
	send_ckpt(&b, &c, RRC_FRAME_REFUSE);
	cr_assert_eq(b.s->committed, 1u);
	cr_assert_eq(b.s->kept[0].head.pos, FIRST_CUT, "its log is not there");
	cr_assert_eq(rrc_conns_get(b.s->conns, 77)->s.read, 0u, "a connection has moved on");
	free(bytes);
	finish(&b);
}

Test(session, a_gap_is_not_acknowledged, .timeout = 30)
{
	struct rrc_error err = { 0 };
	const uint8_t *payload;
	struct rrc_frame f;
	struct backup b;

	start(&b, 10000);
	first(&b);
	cut(&b);
	b.pos += 8;
	send_log(&b, 0);
	log_ends(&b);
	cr_assert_eq(b.log_ret, 1, "what came before is taken over");
	cr_assert(strstr(b.log_err.msg, "gap"), "%s", b.log_err.msg);
	cr_assert_eq(rrc_link_recv(&b.log, &f, &payload, &err), 0, "a gap was acknowledged");
	cr_assert_eq(b.s->end_pos, b.pos - 8 - sizeof(struct rrc_rec));
	finish(&b);
}

Test(session, ends_by_good_bye_or_by_silence, .timeout = 30)
{
	struct backup b;

	/* Before there is a checkpoint nothing can be taken over, whatever happens. */
	start(&b, 10000);
	cut(&b);
	rrc_link_close(&b.log);
	log_ends(&b);
	cr_assert_lt(b.log_ret, 0);
	finish(&b);

	start(&b, 10000);
	first(&b);
	rrc_link_send(&b.log, RRC_FRAME_BYE, NULL, 0, b.pos, 0);
	expect(&b.log, RRC_FRAME_BYE, b.pos);
	log_ends(&b);
	cr_assert_eq(b.log_ret, 0);
	finish(&b);

	start(&b, 200);
	first(&b);
	log_ends(&b);
	cr_assert_eq(b.log_ret, 1);
	cr_assert_eq(b.log_err.code, -ETIMEDOUT, "%s", b.log_err.msg);
	cr_assert_geq(rrc_now_ns(CLOCK_MONOTONIC) - b.s->heard, 200000000u);
	cr_assert_lt(b.s->lease_ns, b.s->silence_ns);
	finish(&b);
}

Test(session, a_checkpoint_after_the_end_is_refused, .timeout = 30)
{
	struct ckpt c = { .number = 2, .files = { { "img/a", "other", 0 } } };
	struct backup b;

	start(&b, 10000);
	first(&b);
	c.cut_pos = cut(&b);
	rrc_link_close(&b.log);
	log_ends(&b);
	cr_assert_eq(b.log_ret, 1);
	send_ckpt(&b, &c, RRC_FRAME_REFUSE);
	first_is_whole(&b, "after the end");
	finish(&b);
}
