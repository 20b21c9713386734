/* SPDX-License-Identifier: MIT */
/* What the web servers' load downloads and uploads: bytes that are a function of a seed and their place alone, and their
 * digest. */
#ifndef RRC_TESTS_HTTP_CONTENT_H
#define RRC_TESTS_HTTP_CONTENT_H

#include "load.h"

#include <openssl/evp.h>

#define CHUNK 16384u /* a multiple of 8 */

static void content(uint64_t seed, uint64_t at, size_t len, unsigned char *buf)
{
	uint64_t state, word;
	size_t i;

	for (i = 0; i < len; i += 8) {
		state = seed * 0xd1342543de82ef95ull + (at + i) * 0x9e3779b97f4a7c15ull / 8;
		word = rnd(&state);
		memcpy(buf + i, &word, len - i < 8 ? len - i : 8);
	}
}

static int make_file(const char *path, uint64_t size, uint64_t seed)
{
	unsigned char buf[CHUNK];
	FILE *f = fopen(path, "w");
	uint64_t at;
	size_t n;

	if (!f)
		die("%s: %s", path, strerror(errno));
	for (at = 0; at < size; at += n) {
		n = size - at < CHUNK ? size - at : CHUNK;
		content(seed, at, n, buf);
		if (fwrite(buf, 1, n, f) != n)
			die("%s: %s", path, strerror(errno));
	}
	if (fclose(f))
		die("%s: %s", path, strerror(errno));
	return 0;
}

static void digest(EVP_MD_CTX *md, unsigned char sum[EVP_MAX_MD_SIZE])
{
	unsigned int len;

	memset(sum, 0, EVP_MAX_MD_SIZE);
	EVP_DigestFinal_ex(md, sum, &len);
	EVP_MD_CTX_free(md);
}

static EVP_MD_CTX *new_digest(void)
{
	EVP_MD_CTX *md = must(EVP_MD_CTX_new());

	if (!EVP_DigestInit_ex(md, EVP_sha256(), NULL))
		die("this OpenSSL has no sha256");
	return md;
}

#endif
