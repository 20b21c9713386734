/* SPDX-License-Identifier: MIT */
/* The backup's checkpoint keeping: files in, checked, committed whole or not at all. See session.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "delta.h"
#include "fault.h"
#include "log.h"
#include "reclog.h"
#include "recording.h"
#include "root.h"
#include "reborn.h"
#include "session.h"
#include "util.h"
#include "warming.h"

#define RRC_BULK_WAIT_MS (-1)

/* A checkpoint that is coming in. */
struct incoming {
	struct rrc_session *s;
	struct rrc_manifest *manifest;
	char dir[PATH_MAX];
	size_t iter;
	const struct rrc_manifest_file *file; /* the one that is being written */
	int fd;
	uint64_t done;
	XXH3_state_t *sum;
};

static int next_file(struct incoming *in, struct rrc_error *err)
{
	char path[2 * PATH_MAX];
	size_t len;

	if (in->fd >= 0)
		close(in->fd);
	in->fd = -1;
	in->done = 0;
	in->file = rrc_manifest_next(in->manifest, RRC_SECTION_FILE, &in->iter, &len);
	if (!in->file)
		return 0;
	/* The name was checked with the manifest: it stays below the directory. */
	snprintf(path, sizeof(path), "%s/%s", in->dir, (const char *)(in->file + 1));
	for (char *p = path + strlen(in->dir) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(path, 0700);
		*p = '/';
	}
	in->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (in->fd < 0)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	XXH3_64bits_reset(in->sum);
	return 0;
}

/* Closes files that are whole (empty ones at once) and opens the next. */
static int settle(struct incoming *in, struct rrc_error *err)
{
	while (in->file && in->done == in->file->size) {
		int ret;

		if (XXH3_64bits_digest(in->sum) != in->file->sum)
			return rrc_fail(err, EBADMSG, "%s arrived damaged",
					(const char *)(in->file + 1));
		ret = next_file(in, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int begin(struct incoming *in, const struct rrc_frame *f, const uint8_t *payload,
		 struct rrc_error *err)
{
	int ret;

	rrc_manifest_free(in->manifest);
	in->manifest = rrc_manifest_load(payload, f->raw, err);
	if (!in->manifest)
		return err->code;
	if (rrc_manifest_info(in->manifest)->number != f->aux ||
	    rrc_recording_path(in->s->dir, f->aux, in->dir, sizeof(in->dir)))
		return rrc_fail(err, EBADMSG, "a checkpoint with two numbers");
	/* Rule 3: what is there stays until the new one is whole, so that one has another directory. */
	if (f->aux <= in->s->committed)
		return rrc_fail(err, EBADMSG, "checkpoint %llu is here already",
				(unsigned long long)f->aux);
	rrc_root_remove(in->dir);
	if (mkdir(in->dir, 0700))
		return rrc_fail(err, errno, "%s: %s", in->dir, strerror(errno));
	in->iter = 0;
	ret = next_file(in, err);
	return ret ? ret : settle(in, err);
}

static int data(struct incoming *in, const struct rrc_frame *f, const uint8_t *payload,
		struct rrc_error *err)
{
	uint64_t at = 0;

	while (at < f->raw) {
		uint64_t n;

		if (!in->file)
			return rrc_fail(err, EBADMSG, "more bytes than the manifest names");
		n = rrc_min(f->raw - at, in->file->size - in->done);
		for (uint64_t w = 0; w < n;) {
			ssize_t k = write(in->fd, payload + at + w, n - w);

			if (k < 0 && errno != EINTR)
				return rrc_fail(err, errno, "cannot keep the checkpoint: %s",
						strerror(errno));
			w += k < 0 ? 0 : (uint64_t)k;
		}
		XXH3_64bits_update(in->sum, payload + at, n);
		in->done += n;
		at += n;
		if (settle(in, err))
			return err->code;
	}
	return 0;
}

/* The network place of the container, ready before it is needed. */
static int prepare_net(struct rrc_session *s, const struct rrc_manifest *m, struct rrc_error *err)
{
	const char *text = rrc_manifest_text(m, RRC_SECTION_NETCFG);
	int ret;

	if (s->net_ready || !text[0])
		return 0;
	ret = rrc_netcfg_parse(text, strlen(text), &s->cfg, err);
	if (ret)
		return ret;
	s->netns = rrc_netns_new(err);
	if (s->netns < 0)
		return s->netns;
	snprintf(s->hostif, sizeof(s->hostif), "rrc%08x",
		 (unsigned int)XXH3_64bits(s->name, strlen(s->name)));
	rrc_netcfg_unmake(s->hostif, NULL); /* left behind by a daemon that was killed */
	ret = rrc_netcfg_make(s->netns, &s->cfg, s->hostif, err);
	if (!ret)
		ret = rrc_announce_open(&s->announcer, s->netns, &s->cfg, err);
	s->net_ready = !ret;
	s->reborn = rrc_reborn_load(NULL); /* NULL where the kernel cannot: the takeover says so */
	return ret;
}

/* The connections' state moves from the old cut to the new one: wholly or not at all (rule 3), so what can be wrong
 * with a record is looked for first. */
static int check_fold(const struct rrc_epoch_log *log, struct rrc_error *err)
{
	const struct rrc_rec *rec;
	size_t off = 0;
	int ret = 0;

	while (!ret && off < log->len && (rec = rrc_reclog_next(log->buf, log->len, &off, err)))
		ret = rrc_conns_check(rec, err);
	return ret ? ret : err->code;
}

/* Only for want of memory it ends halfway; then nobody knows the connections any more. */
static int fold(struct rrc_session *s, const struct rrc_epoch_log *log, struct rrc_error *err)
{
	const struct rrc_rec *rec;
	size_t off = 0;
	int ret = 0;

	while (!ret && off < log->len && (rec = rrc_reclog_next(log->buf, log->len, &off, err)))
		ret = rrc_conns_apply(s->conns, rec, err);
	s->conns_lost = ret != 0;
	return ret;
}

static struct rrc_conns *read_conns(const char *dir, struct rrc_error *err)
{
	char path[PATH_MAX + 8];
	rrc_autofclose FILE *f = NULL;
	rrc_autofree uint8_t *buf = NULL;
	struct stat st;

	snprintf(path, sizeof(path), "%s/conns", dir);
	f = fopen(path, "re");
	if (!f || fstat(fileno(f), &st)) {
		rrc_fail(err, errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	buf = malloc((size_t)st.st_size + 1);
	if (!buf || fread(buf, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		rrc_fail(err, EIO, "%s: cannot be read", path);
		return NULL;
	}
	return rrc_conns_load(buf, (size_t)st.st_size, err);
}

/* Frames before the cut: copied heads, so that the log can grow meanwhile; payloads stay where they are. */
static int frames_before(struct rrc_session *s, uint64_t cut, struct rrc_kept **copy, size_t *n)
{
	int ret = -EBADMSG;

	*n = 0;
	pthread_mutex_lock(&s->lock);
	while (*n < s->nkept && s->kept[*n].head.pos < cut)
		(*n)++;
	if (*n < s->nkept && s->kept[*n].head.pos == cut) {
		*copy = malloc((*n + 1) * sizeof(**copy));
		ret = *copy ? 0 : -ENOMEM;
		if (*copy)
			memcpy(*copy, s->kept, *n * sizeof(**copy));
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static void forget_frames(struct rrc_session *s, size_t n)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		s->bytes -= s->kept[i].head.stored;
		free(s->kept[i].payload);
	}
	memmove(s->kept, s->kept + n, (s->nkept - n) * sizeof(*s->kept));
	s->nkept -= n;
	pthread_mutex_unlock(&s->lock);
}

/* The file `delta` of a checkpoint that came after `after`; checked. */
static int load_delta(const char *dir, uint64_t after, uint64_t number, uint8_t **buf, size_t *len,
		      struct rrc_error *err)
{
	char path[PATH_MAX + 8];
	rrc_autoclose int fd = -1;
	struct stat st;
	int ret;

	snprintf(path, sizeof(path), "%s/" RRC_DELTA_NAME, dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	*len = (size_t)st.st_size;
	*buf = malloc(*len + 1);
	if (!*buf || pread(fd, *buf, *len, 0) != st.st_size)
		return rrc_fail(err, EIO, "%s: cannot be read", path);
	ret = rrc_delta_check(*buf, *len, err);
	if (!ret &&
	    (rrc_delta_head(*buf)->after != after || rrc_delta_head(*buf)->number != number))
		ret = rrc_fail(err, EBADMSG, "a delta that is not of the newest checkpoint");
	return ret;
}

/* What the log and the connections become when the checkpoint is the newest. */
struct change {
	struct rrc_kept *kept; /* frames before its cut */
	size_t n;
	struct rrc_conns *fresh; /* NULL: the old ones move on by `log` */
	struct rrc_epoch_log log;
};

static void change_free(struct change *c)
{
	free(c->kept);
	rrc_conns_free(c->fresh);
	rrc_epoch_log_free(&c->log);
}

/* Whatever can be wrong is found here, before anything of the old checkpoint is touched. */
static int prepare_change(struct incoming *in, struct change *c, struct rrc_error *err)
{
	const struct rrc_manifest_info *info = rrc_manifest_info(in->manifest);
	char conns[PATH_MAX + 8];
	int ret = frames_before(in->s, info->cut_pos, &c->kept, &c->n);

	if (ret)
		return rrc_fail(err, ret, "checkpoint %llu has its cut where the log has none",
				(unsigned long long)info->number);
	snprintf(conns, sizeof(conns), "%s/conns", in->dir);
	if (!access(conns, F_OK)) {
		c->fresh = read_conns(in->dir, err);
		return c->fresh ? 0 : err->code;
	}
	if (in->s->conns_lost)
		return rrc_fail(err, ENODATA, "the table of connections was lost");
	for (size_t i = 0; i < c->n && !ret; i++)
		ret = rrc_epoch_log_add(&c->log, &c->kept[i].head, c->kept[i].payload, err);
	return ret ? ret : check_fold(&c->log, err);
}

/* From here on a failover starts from this checkpoint. */
static int make_newest(struct incoming *in, struct change *c, struct rrc_error *err)
{
	struct rrc_session *s = in->s;

	if (c->fresh) {
		rrc_conns_free(s->conns);
		s->conns = c->fresh;
		s->conns_lost = false;
		c->fresh = NULL;
	} else {
		int ret = fold(s, &c->log, err);

		if (ret)
			return ret;
	}
	forget_frames(s, c->n);
	rrc_manifest_free(s->manifest);
	s->manifest = in->manifest;
	in->manifest = NULL;
	__atomic_store_n(&s->committed, rrc_manifest_info(s->manifest)->number, __ATOMIC_RELAXED);
	return 0;
}

/* A whole checkpoint: what was before it is of no use any more. */
static int replace_base(struct incoming *in, struct change *c, struct rrc_error *err)
{
	struct rrc_session *s = in->s;
	struct rrc_manifest *base = rrc_manifest_load_dir(in->dir, err);
	struct rrc_copy *copy = base ? rrc_copy_new() : NULL;
	char layer[PATH_MAX], old[PATH_MAX];
	int ret = copy ? 0 : base ? rrc_fail(err, ENOMEM, "no memory") : err->code;

	snprintf(layer, sizeof(layer), "%s/layer", s->dir);
	snprintf(old, sizeof(old), "%s", s->ckpt);
	/* It is made of files, and stands on a layer, that change now. */
	rrc_warming_wait(s);
	/* A failover may have waited for it as well: then all of it is its. */
	if (!ret && s->ended)
		ret = rrc_fail(err, ESHUTDOWN, "the log has ended");
	if (!ret) {
		rrc_warm_free(s->warm);
		s->warm = NULL;
	}
	if (!ret && rrc_manifest_info(in->manifest)->flags & RRC_MANIFEST_OWN_ROOT)
		ret = rrc_root_apply(in->dir, layer, err);
	if (!ret)
		ret = make_newest(in, c, err);
	if (ret) {
		rrc_manifest_free(base);
		rrc_copy_free(copy);
		return ret;
	}
	rrc_manifest_free(s->base);
	rrc_copy_free(s->copy);
	s->base = base;
	s->copy = copy;
	snprintf(s->ckpt, sizeof(s->ckpt), "%s", in->dir);
	if (old[0])
		rrc_root_remove(old);
	return 0;
}

/* While the warm copy is being restored only what needs no calls is taken (rule 3: one that goes another way is to be
 * found while the checkpoint before is there), and it is brought on later; anything else waits for it. */
static int prepare_epoch(struct rrc_session *s, struct change *c, const void *delta, size_t len,
			 struct rrc_copy_epoch **epoch, struct rrc_error *err)
{
	*epoch = rrc_copy_prepare(s->copy, c->log.buf, c->log.len, delta, len, err);
	if (s->warming && (!*epoch || rrc_copy_epoch_calls(*epoch))) {
		rrc_copy_drop(*epoch);
		rrc_warming_wait(s);
		memset(err, 0, sizeof(*err));
		*epoch = rrc_copy_prepare(s->copy, c->log.buf, c->log.len, delta, len, err);
	}
	if (*epoch && s->ended) {
		rrc_copy_drop(*epoch);
		*epoch = NULL;
		return rrc_fail(err, ESHUTDOWN, "the log has ended");
	}
	return *epoch ? 0 : err->code;
}

/* The checkpoint before moves on. Whatever fails leaves that one as it was, at worst without its warm copy. */
static int move_on(struct incoming *in, struct change *c, struct rrc_error *err)
{
	struct rrc_session *s = in->s;
	rrc_autofree uint8_t *delta = NULL;
	struct rrc_copy_epoch *epoch = NULL;
	bool moved = false;
	size_t len;
	int ret = load_delta(in->dir, s->committed, rrc_manifest_info(in->manifest)->number, &delta,
			     &len, err);

	if (!ret && !s->base)
		ret = rrc_fail(err, EBADMSG, "a delta, and no checkpoint that it is of");
	if (!ret && rrc_copy_full(s->copy))
		ret = rrc_fail(err, ENOSPC, "so much has changed that a whole checkpoint is due");
	if (!ret)
		ret = prepare_epoch(s, c, delta, len, &epoch, err);
	if (!ret && s->warm) {
		moved = true;
		ret = rrc_warm_advance(s->warm, epoch, err);
	}
	rrc_fault(RRC_FAULT_ADVANCED);
	if (!ret)
		ret = make_newest(in, c, err);
	/* Rule 3: the copy is of the newest checkpoint, or of the one before, as everything else. */
	if (ret)
		rrc_copy_drop(epoch);
	else
		rrc_copy_take(s->copy, epoch);
	/* One that is where it was may be a failover's by now. */
	if (ret && moved) {
		rrc_warm_free(s->warm);
		s->warm = NULL;
	}
	rrc_root_remove(in->dir);
	return ret;
}

static int commit(struct incoming *in, const struct rrc_frame *f, struct rrc_error *err)
{
	struct rrc_session *s = in->s;
	struct change c = { 0 };
	int delta, ret;

	if (!in->manifest || in->file || rrc_manifest_info(in->manifest)->number != f->aux)
		return rrc_fail(err, EBADMSG, "a checkpoint that is not whole");
	delta = !!(rrc_manifest_info(in->manifest)->flags & RRC_MANIFEST_DELTA);
	ret = delta ? 0 : rrc_manifest_save_dir(in->manifest, in->dir, err);
	if (!ret)
		ret = prepare_net(s, in->manifest, err);
	if (ret)
		return ret;
	rrc_fault(RRC_FAULT_WHOLE);
	pthread_mutex_lock(&s->commit);
	/* With the failover waiting at the lock: it finds the old checkpoint or the new one. */
	if (s->ended)
		ret = rrc_fail(err, ESHUTDOWN, "the log has ended");
	if (!ret)
		ret = prepare_change(in, &c, err);
	if (!ret)
		ret = (delta ? move_on : replace_base)(in, &c, err);
	pthread_mutex_unlock(&s->commit);
	change_free(&c);
	return ret;
}

/* The newest one, and what it costs this host. */
static void tell_commit(const struct rrc_session *s)
{
	struct rrc_copy_size size = rrc_copy_size(s->copy);

	rrc_event("committed",
		  "\"epoch\":%llu,\"warm\":%s,\"copy_pages\":%zu,\"copy_calls\":%zu,"
		  "\"copy_bytes\":%zu,\"log_bytes\":%llu",
		  (unsigned long long)s->committed, s->warm ? "true" : "false", size.pages,
		  size.calls, size.bytes, (unsigned long long)s->bytes);
}

/* A checkpoint that came whole and is not kept: the newest one is the one before, the other end hears why, and
 * may send another. */
static int refuse(struct incoming *in, struct rrc_link *bulk, struct rrc_error *err)
{
	rrc_log(RRC_LOG_WARN, "%s: %s", in->s->name, err->msg);
	rrc_manifest_free(in->manifest);
	in->manifest = NULL;
	in->file = NULL;
	if (in->fd >= 0)
		close(in->fd);
	in->fd = -1;
	if (rrc_link_send(bulk, RRC_FRAME_REFUSE, err->msg, (uint32_t)strlen(err->msg), 0, 0) ||
	    rrc_link_flush_wait(bulk, 1000))
		return rrc_fail(err, ECONNRESET, "the link broke");
	memset(err, 0, sizeof(*err));
	return 0;
}

static int one_frame(struct incoming *in, struct rrc_link *bulk, struct rrc_error *err)
{
	const uint8_t *payload;
	struct rrc_frame f;
	int ret = rrc_link_recv_wait(bulk, &f, &payload, RRC_BULK_WAIT_MS, err);

	if (ret < 0)
		return ret;
	switch (f.type) {
	case RRC_FRAME_CKPT_BEGIN:
		return begin(in, &f, payload, err);
	case RRC_FRAME_CKPT_DATA:
		return in->manifest ? data(in, &f, payload, err)
				    : rrc_fail(err, EPROTO, "bytes of no checkpoint");
	case RRC_FRAME_CKPT_COMMIT:
		ret = commit(in, &f, err);
		if (ret)
			return in->s->ended ? ret : refuse(in, bulk, err);
		tell_commit(in->s);
		rrc_fault(RRC_FAULT_COMMITTED);
		ret = rrc_link_send(bulk, RRC_FRAME_COMMITTED, NULL, 0, 0, f.aux);
		rrc_fault(RRC_FAULT_ANSWERED);
		if (!ret)
			rrc_warming_start(in->s);
		return ret;
	default:
		return rrc_fail(err, EPROTO, "a frame of type %u on the bulk connection", f.type);
	}
}

void rrc_session_serve_bulk(struct rrc_session *s, struct rrc_link *bulk)
{
	struct incoming in = { .s = s, .fd = -1, .sum = XXH3_createState() };
	struct rrc_error err = { 0 };

	while (in.sum && !one_frame(&in, bulk, &err))
		;
	pthread_mutex_lock(&s->commit);
	rrc_warming_wait(s);
	pthread_mutex_unlock(&s->commit);
	/* Whatever was wrong, the newest checkpoint is the one before: the other end hears why. */
	if (err.code && err.code != -ECONNRESET) {
		rrc_log(RRC_LOG_WARN, "%s: %s", s->name, err.msg);
		rrc_link_send(bulk, RRC_FRAME_REFUSE, err.msg, (uint32_t)strlen(err.msg), 0, 0);
		rrc_link_flush_wait(bulk, 1000);
	}
	if (in.fd >= 0)
		close(in.fd);
	rrc_manifest_free(in.manifest);
	XXH3_freeState(in.sum);
}
