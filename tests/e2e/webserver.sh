#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# lighttpd and nginx, also with several workers and after a reload: 50 MB downloads by sendfile and
# 50 MB uploads are on their way when the host dies; all arrive whole and once. RRC_WEB_FAILOVERS:
# how often.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_WEB_FAILOVERS:-1}
need_rrc
need_commands lighttpd
[[ -e /usr/lib/lighttpd/mod_webdav.so ]] || skip_all "lighttpd-mod-webdav is not installed"

campaign_case "lighttpd: downloads and uploads of 50 MB, primary dies $n times" --server lighttpd \
	--fail primary --runs "$n" --seed 1
campaign_case "lighttpd with two workers, $n times" --server lighttpd-workers --fail primary \
	--runs "$n" --seed 1001
if command -v nginx >/dev/null; then
	campaign_case "nginx with two workers, $n times" --server nginx --fail primary \
		--runs "$n" --seed 2001
	# The new workers are given descriptors in messages, a barrier; bytes move on behind it.
	campaign_case "nginx that was told to reload, $n times" --server nginx-reload --fail primary \
		--runs "$n" --seed 2 --point load
else
	skip "nginx is not installed"
fi
