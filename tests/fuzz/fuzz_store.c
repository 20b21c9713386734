// SPDX-License-Identifier: MIT
/*
 * What a primary sends a backup: log frames on one connection, a checkpoint on the other, made of what
 * the input says. Whatever it is, nothing appears outside of the session's directory, and what was
 * committed is whole.
 */
#include <errno.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "fuzz.h"
#include "log.h"
#include "session.h"
#include "util.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

static char top[64], state[96];

static void tidy(void)
{
	remove_all(top);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	rrc_log_setup("fuzz", RRC_LOG_ERROR, 0);
	/* In memory where there is such a place: a run makes and removes many files. */
	snprintf(top, sizeof(top), "%s/rrc-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	must(mkdtemp(top) != NULL);
	snprintf(state, sizeof(state), "%s/state", top);
	must(!mkdir(state, 0700));
	atexit(tidy);
	return 0;
}

static struct rrc_link connected(int *far)
{
	struct rrc_link l;
	int p[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
	rrc_link_init(&l, p[0]);
	*far = p[1];
	return l;
}

static void put(int fd, uint8_t type, const void *payload, size_t len, uint64_t pos, uint64_t aux)
{
	struct rrc_frame f;

	rrc_frame_seal(&f, type, 0, payload, (uint32_t)len, (uint32_t)len, pos, aux);
	must(send(fd, &f, sizeof(f), 0) == sizeof(f) && send(fd, payload, len, 0) == (ssize_t)len);
}

/* Two records, the first one a cut most of the time. */
static void put_log(int fd, struct input *in, uint64_t *pos)
{
	struct rrc_rec r[2] = { { .size = sizeof(*r), .kind = RRC_REC_CUT },
				{ .size = sizeof(*r), .kind = RRC_REC_DEATH, .tid = 1, .pid = 1 } };
	uint32_t odd = take_num(in, 8);

	if (!odd)
		r[take_num(in, 2)].kind = (uint8_t)take_num(in, 256);
	if (odd == 1)
		*pos += take_num(in, 64);
	put(fd, RRC_FRAME_LOG, r, sizeof(r), *pos, 1);
	*pos += sizeof(r);
}

/* Manifest and bytes; names of all kinds, since the reader must check them. */
static void put_ckpt(int fd, struct input *in)
{
	struct rrc_manifest_info info = { .number = take_num(in, 4),
					  .cut_pos = 208 * take_num(in, 4) };
	uint32_t nfiles = take_num(in, 5), odd = take_num(in, 4);
	uint8_t bytes[4096], *end = bytes;
	struct rrc_manifest *m;
	const void *text;
	size_t len;

	info.flags = take_num(in, 16) ? 0 : RRC_MANIFEST_OWN_ROOT; /* tar takes long */
	m = rrc_manifest_new(&info);
	must(m != NULL);
	for (uint32_t i = 0; i < nfiles; i++) {
		static const char *const known[] = { "conns", "img/a", "fs.tar", "fs.deleted",
						     "manifest" };
		uint32_t k = take_num(in, 8);
		size_t nname = k < 5 ? strlen(known[k]) : take_num(in, 40), n = take_num(in, 256);
		const void *name = k < 5 ? (const void *)known[k] : take_bytes(in, &nname);
		struct rrc_manifest_file f = { 0 };

		memcpy(end, take_bytes(in, &n), n);
		f.size = n;
		f.sum = XXH3_64bits(end, n);
		end += n;
		must(!rrc_manifest_add(m, RRC_SECTION_FILE, &f, sizeof(f), name, nname));
	}
	text = rrc_manifest_bytes(m, &len);
	put(fd, RRC_FRAME_CKPT_BEGIN, text, len, 0, info.number);
	rrc_manifest_free(m);
	if (odd == 1 && end > bytes)
		bytes[take_num(in, (uint32_t)(end - bytes))] ^= 1;
	if (odd == 2)
		end += take_num(in, 16);
	put(fd, RRC_FRAME_CKPT_DATA, bytes, (size_t)(end - bytes), 0, 0);
	put(fd, RRC_FRAME_CKPT_COMMIT, "", 0, 0, info.number);
}

/* Anything in any order. */
static void put_any(int fd, struct input *in)
{
	uint8_t type = (uint8_t)take_num(in, RRC_FRAME_TYPES + 1);
	size_t n = take_num(in, 512);
	const uint8_t *p = take_bytes(in, &n);

	put(fd, type, p, n, take_num(in, 1024), take_num(in, 4));
}

static void check(struct rrc_session *s)
{
	struct rrc_error err = { 0 };
	struct stat st;

	must(count_names(top) == 3 && count_names(state) <= 3);
	must(!s->committed ||
	     (s->manifest && rrc_manifest_info(s->manifest)->number == s->committed));
	if (!s->manifest)
		return;
	/* What it names is there; a file called "manifest" is the manifest's own. */
	if (rrc_manifest_verify_dir(s->manifest, s->ckpt, &err))
		must(strstr(err.msg, "/manifest is damaged") != NULL);
	must(!stat(s->ckpt, &st) && s->nkept && s->conns);
	must(s->kept[0].head.pos == rrc_manifest_info(s->manifest)->cut_pos);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rrc_daemon_opts o = { .state = state, .silence_ms = 1000 };
	struct rrc_hello h = { .session = 1, .name = "c" };
	struct input in = { data, size < 4096 ? size : 4096 };
	struct rrc_session *s = rrc_session_new(&o, &h, NULL);
	int log, bulk;
	uint64_t pos = 208;

	must(s != NULL);
	s->net_ready = 1; /* no network place is made for it */
	s->log = connected(&log);
	while (in.len) {
		struct rrc_link l = connected(&bulk);
		uint32_t what = take_num(&in, 4);
		struct rrc_error err = { 0 };

		for (uint32_t n = take_num(&in, 4); n; n--)
			put_log(log, &in, &pos);
		/* One look at the log; the end of it comes only once. */
		put(log, RRC_FRAME_BYE, "", 0, 0, 0);
		rrc_session_serve_log(s, &err);
		s->ended = 0;
		if (err.code)
			break;
		if (what)
			put_ckpt(bulk, &in);
		else
			put_any(bulk, &in);
		shutdown(bulk, SHUT_WR);
		rrc_session_serve_bulk(s, &l);
		rrc_link_close(&l);
		close(bulk);
		bulk = -1;
		check(s);
	}
	check(s);
	s->net_ready = 0;
	rrc_session_free(s);
	close(log);
	if (bulk >= 0)
		close(bulk);
	return 0;
}
