/* SPDX-License-Identifier: MIT */
/* The link to the backup, see backup.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>

#include "backup.h"
#include "fault.h"
#include "util.h"

#define RRC_CHUNK	    (1u << 20)
#define RRC_BULK_TIMEOUT_MS 60000

static int hello(struct rrc_link *l, struct rrc_hello *h, int timeout_ms, struct rrc_error *err)
{
	const uint8_t *payload;
	struct rrc_frame f;
	int ret = rrc_link_send(l, RRC_FRAME_HELLO, h, sizeof(*h), 0, 0);

	if (ret)
		return rrc_fail(err, ret, "the backup does not take our greeting: %s",
				strerror(-ret));
	ret = rrc_link_recv_wait(l, &f, &payload, timeout_ms, err);
	if (ret < 0)
		return rrc_wrap(err, "the backup does not greet");
	if (f.type == RRC_FRAME_REFUSE)
		return rrc_fail(err, ECONNREFUSED, "the backup refuses: %.*s", (int)f.raw,
				(const char *)payload);
	ret = rrc_hello_open(&f, payload, h, err);
	return ret ? rrc_wrap(err, "the backup's answer") : 0;
}

int rrc_backup_connect(struct rrc_backup *b, const char *address, const char *name, int passive,
		       int timeout_ms, struct rrc_error *err)
{
	struct rrc_hello h = { .role = RRC_ROLE_LOG, .mode = passive ? 1 : 0 }, mine;
	struct utsname u;
	int ret;

	memset(b, 0, sizeof(*b));
	b->log.fd = b->bulk.fd = -1;
	if (uname(&u) || getrandom(&h.session, sizeof(h.session), 0) != sizeof(h.session))
		return rrc_fail(err, errno, "cannot begin a session: %s", strerror(errno));
	snprintf(h.name, sizeof(h.name), "%.79s", name);
	snprintf(h.kernel, sizeof(h.kernel), "%.71s", u.release);
	mine = h;
	ret = rrc_link_connect(&b->log, address, timeout_ms, err);
	if (!ret)
		ret = hello(&b->log, &h, timeout_ms, err);
	if (!ret && (h.lease_ns == 0 || h.silence_ns <= h.lease_ns))
		ret = rrc_fail(err, EPROTO,
			       "the backup gives a lease that is no shorter than its silence");
	b->lease_ns = h.lease_ns;
	b->silence_ns = h.silence_ns;
	mine.role = RRC_ROLE_BULK;
	if (!ret)
		ret = rrc_link_connect(&b->bulk, address, timeout_ms, err);
	if (!ret)
		ret = hello(&b->bulk, &mine, timeout_ms, err);
	if (ret)
		rrc_backup_close(b);
	return ret;
}

void rrc_backup_close(struct rrc_backup *b)
{
	rrc_link_close(&b->log);
	rrc_link_close(&b->bulk);
}

int rrc_backup_read(struct rrc_backup *b, enum rrc_backup_news *news, struct rrc_error *err)
{
	const uint8_t *payload;
	struct rrc_frame f;
	int ret;

	*news = RRC_BACKUP_NONE;
	while ((ret = rrc_link_recv(&b->log, &f, &payload, err)) > 0) {
		switch (f.type) {
		case RRC_FRAME_ACK:
			b->acked = rrc_max(b->acked, f.pos);
			b->answered = rrc_max(b->answered, f.aux);
			*news = RRC_BACKUP_ACK;
			break;
		case RRC_FRAME_TAKEOVER:
			*news = RRC_BACKUP_TAKEN_OVER;
			return 0;
		case RRC_FRAME_REFUSE:
			return rrc_fail(err, ECONNREFUSED, "the backup refuses: %.*s", (int)f.raw,
					(const char *)payload);
		default:
			return rrc_fail(err, EPROTO, "the backup sent a frame of type %u", f.type);
		}
	}
	return ret;
}

int rrc_backup_beat(struct rrc_backup *b, uint64_t now)
{
	b->sent = now;
	return rrc_link_send(&b->log, RRC_FRAME_BEAT, NULL, 0, 0, now);
}

int rrc_backup_bye(struct rrc_backup *b, int timeout_ms, struct rrc_error *err)
{
	uint64_t end = rrc_now_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * 1000000u;
	int ret = rrc_link_send(&b->log, RRC_FRAME_BYE, NULL, 0, 0, 0);
	const uint8_t *payload;
	struct rrc_frame f;

	if (ret)
		return rrc_fail(err, ret, "the backup is not there any more: %s", strerror(-ret));
	do {
		ret = rrc_link_recv_wait(&b->log, &f, &payload, timeout_ms, err);
		if (ret < 0)
			return rrc_wrap(err, "the backup did not confirm the end of protection");
		if (f.type == RRC_FRAME_TAKEOVER)
			return rrc_fail(err, EBUSY, "the backup has taken over");
	} while (f.type != RRC_FRAME_BYE && rrc_now_ns(CLOCK_MONOTONIC) < end);
	return f.type == RRC_FRAME_BYE ? 0
				       : rrc_fail(err, ETIMEDOUT,
						  "the backup did not confirm the "
						  "end of protection");
}

static int send_data(struct rrc_backup *b, const void *data, size_t len, struct rrc_error *err)
{
	int ret = rrc_link_send(&b->bulk, RRC_FRAME_CKPT_DATA, data, (uint32_t)len, 0, 0);

	if (!ret)
		ret = rrc_link_flush_wait(&b->bulk, RRC_BULK_TIMEOUT_MS);
	if (!b->half)
		rrc_fault(RRC_FAULT_SENT_HALF); /* once in each checkpoint */
	b->half = 1;
	return ret ? rrc_fail(err, ret, "sending a checkpoint: %s", strerror(-ret)) : 0;
}

static int send_file(struct rrc_backup *b, const char *dir, const char *name, uint64_t size,
		     uint8_t *chunk, struct rrc_error *err)
{
	char path[PATH_MAX];
	rrc_autoclose int fd = -1;
	uint64_t done = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return rrc_fail(err, errno, "%s: %s", path, strerror(errno));
	while (done < size) {
		ssize_t n = read(fd, chunk, rrc_min(size - done, (uint64_t)RRC_CHUNK));
		int ret;

		if (n <= 0)
			return rrc_fail(err, n ? errno : EIO, "%s: %s", path,
					n ? strerror(errno) : "shorter than it was");
		ret = send_data(b, chunk, (size_t)n, err);
		if (ret)
			return ret;
		done += (uint64_t)n;
	}
	return 0;
}

static int send_memory(struct rrc_backup *b, const uint8_t *bytes, size_t len,
		       struct rrc_error *err)
{
	int ret = 0;

	for (size_t at = 0; at < len && !ret; at += RRC_CHUNK)
		ret = send_data(b, bytes + at, rrc_min(len - at, (size_t)RRC_CHUNK), err);
	return ret;
}

static int send_files(struct rrc_backup *b, const struct rrc_checkpoint *c, const char *dir,
		      uint64_t *bytes, struct rrc_error *err)
{
	rrc_autofree uint8_t *chunk = malloc(RRC_CHUNK);
	const struct rrc_manifest_file *file;
	size_t iter = 0, len;
	int ret = 0;

	if (!chunk)
		return rrc_fail(err, ENOMEM, "no memory to send a checkpoint");
	while (!ret && (file = rrc_manifest_next(c->manifest, RRC_SECTION_FILE, &iter, &len))) {
		const char *name = (const char *)(file + 1);

		if (c->delta && !strcmp(name, RRC_DELTA_NAME)) {
			const void *delta = rrc_delta_bytes(c->delta, &len);

			ret = send_memory(b, delta, len, err);
		} else {
			ret = send_file(b, dir, name, file->size, chunk, err);
		}
		*bytes += file->size;
	}
	return ret;
}

int rrc_backup_send_checkpoint(struct rrc_backup *b, const struct rrc_checkpoint *c,
			       const char *dir, uint64_t *bytes, struct rrc_error *err)
{
	uint64_t number = rrc_manifest_info(c->manifest)->number;
	const uint8_t *payload;
	size_t len;
	struct rrc_frame f;
	const void *head = rrc_manifest_bytes(c->manifest, &len);
	int ret;

	*bytes = len;
	ret = rrc_link_send(&b->bulk, RRC_FRAME_CKPT_BEGIN, head, (uint32_t)len, 0, number);
	if (ret)
		return rrc_fail(err, ret, "sending a checkpoint: %s", strerror(-ret));
	b->half = 0;
	ret = send_files(b, c, dir, bytes, err);
	if (ret)
		return ret;
	rrc_fault(RRC_FAULT_SENT);
	ret = rrc_link_send(&b->bulk, RRC_FRAME_CKPT_COMMIT, NULL, 0, 0, number);
	if (ret)
		return rrc_fail(err, ret, "sending a checkpoint: %s", strerror(-ret));
	rrc_fault(RRC_FAULT_ASKED);
	ret = rrc_link_recv_wait(&b->bulk, &f, &payload, RRC_BULK_TIMEOUT_MS, err);
	if (ret < 0)
		return rrc_wrap(err, "the backup did not commit checkpoint %llu",
				(unsigned long long)number);
	if (f.type == RRC_FRAME_REFUSE)
		return rrc_fail(err, ENOTSUP, "the backup did not commit checkpoint %llu: %.*s",
				(unsigned long long)number, (int)f.raw, (const char *)payload);
	if (f.type != RRC_FRAME_COMMITTED || f.aux != number)
		return rrc_fail(err, EPROTO,
				"the backup answers a checkpoint in a way that we do not know");
	return 0;
}
