/* SPDX-License-Identifier: MIT */
/* /proc/PID/maps, see mappings.h. Read while a container stands still, so without stdio and scanf. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "locklog.h"
#include "mappings.h"
#include "util.h"

int rrc_mappings_open(struct rrc_mappings *m, pid_t pid, struct rrc_error *err)
{
	char path[64];

	memset(m, 0, sizeof(*m));
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	m->fd = open(path, O_RDONLY | O_CLOEXEC);
	return m->fd < 0 ? rrc_fail(err, errno, "%s: %s", path, strerror(errno)) : 0;
}

void rrc_mappings_close(struct rrc_mappings *m)
{
	if (m->fd > 0)
		close(m->fd);
	free(m->map);
	free(m->text);
	memset(m, 0, sizeof(*m));
}

/* The whole file, ended by a NUL. */
static int read_text(struct rrc_mappings *m)
{
	size_t len = 0;
	ssize_t n;

	if (lseek(m->fd, 0, SEEK_SET))
		return -errno;
	do {
		if (m->text_size - len < 8192) {
			size_t size = m->text_size ? m->text_size * 2 : 65536;
			char *bigger = realloc(m->text, size);

			if (!bigger)
				return -ENOMEM;
			m->text = bigger;
			m->text_size = size;
		}
		n = read(m->fd, m->text + len, m->text_size - len - 1);
		if (n < 0)
			return -errno;
		len += (size_t)n;
	} while (n);
	m->text[len] = 0;
	return len ? 0 : -ESRCH;
}

static const char *hex(const char *s, uint64_t *v)
{
	for (*v = 0;; s++) {
		if (*s >= '0' && *s <= '9')
			*v = *v << 4 | (uint64_t)(*s - '0');
		else if (*s >= 'a' && *s <= 'f')
			*v = *v << 4 | (uint64_t)(*s - 'a' + 10);
		else
			return s;
	}
}

static const char *field(const char *s)
{
	while (*s && *s != ' ' && *s != '\n')
		s++;
	while (*s == ' ')
		s++;
	return s;
}

/* "start-end rwxp offset major:minor inode   name". NULL: it is none. */
static const char *parse(const char *s, struct rrc_mapping *m)
{
	static const char *const kernels[] = { "[vdso]", "[vvar", "[vsyscall]", "[uprobes]" };
	size_t len;

	*m = (struct rrc_mapping){ 0 };
	s = hex(s, &m->start);
	if (*s++ != '-')
		return NULL;
	s = hex(s, &m->end);
	if (*s++ != ' ' || strnlen(s, 5) < 5)
		return NULL;
	m->prot = (uint8_t)((s[0] == 'r' ? PROT_READ : 0) | (s[1] == 'w' ? PROT_WRITE : 0) |
			    (s[2] == 'x' ? PROT_EXEC : 0));
	m->shared = s[3] == 's';
	hex(field(s), &m->offset);
	for (int i = 0; i < 3; i++)
		s = field(s);
	while (*s >= '0' && *s <= '9')
		m->inode = m->inode * 10 + (uint64_t)(*s++ - '0');
	s = field(s);
	len = strcspn(s, "\n");
	memcpy(m->name, s, rrc_min(len, sizeof(m->name) - 1));
	for (size_t i = 0; i < RRC_ARRAY_SIZE(kernels); i++)
		m->kernels |= !strncmp(m->name, kernels[i], strlen(kernels[i]));
	m->stack = !strcmp(m->name, "[stack]");
	m->heap = !strcmp(m->name, "[heap]");
	m->locklog = m->shared && !strncmp(m->name, "/memfd:" RRC_LL_NAME " ",
					   strlen("/memfd:" RRC_LL_NAME " "));
	return s + len + (s[len] == '\n');
}

int rrc_mappings_read(struct rrc_mappings *m, struct rrc_error *err)
{
	int ret = read_text(m);
	const char *s = m->text;

	if (ret)
		return rrc_fail(err, ret, "mappings: %s", strerror(-ret));
	for (m->n = 0; *s; m->n++) {
		if (m->n == m->size) {
			size_t size = m->size ? m->size * 2 : 128;
			void *bigger = realloc(m->map, size * sizeof(*m->map));

			if (!bigger)
				return rrc_fail(err, ENOMEM, "no memory for mappings");
			m->map = bigger;
			m->size = size;
		}
		s = parse(s, &m->map[m->n]);
		if (!s)
			return rrc_fail(err, EPROTO, "mappings: a line that we do not know");
	}
	return 0;
}

const struct rrc_mapping *rrc_mappings_at(const struct rrc_mappings *m, uint64_t addr)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (m->map[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < m->n && m->map[low].start <= addr ? &m->map[low] : NULL;
}
