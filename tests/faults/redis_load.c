// SPDX-License-Identifier: MIT
/*
 * Load for redis by a client that knows what every reply must be. Each connection owns its keys
 * and redis answers a connection in order, so at the moment a request is sent its reply is known
 * exactly.
 */
#include "client_loop.h"
#include "redis_model.h"

int main(int argc, char **argv)
{
	static const struct protocol redis = {
		.name = "redis",
		.port = "6379",
		.mix = "SET,GET,INCR,LPUSH",
		.ops = OPS,
		.weight = { 1, 1, 1, 1 },
		.start = start_model,
		.request = make_request,
		.read = make_read,
		.encode = encode,
		.length = next_reply,
		.check = check_reply,
		.check_final = check_final,
		.unseen = unseen,
	};

	return client_main(&redis, argc, argv);
}
