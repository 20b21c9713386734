#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# lighttpd: 50 MB downloads by sendfile and 50 MB uploads are on their way when the host dies; all
# arrive whole and once. RRC_WEB_FAILOVERS: how often.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_WEB_FAILOVERS:-1}
need_rrc
need_commands lighttpd
[[ -e /usr/lib/lighttpd/mod_webdav.so ]] || skip_all "lighttpd-mod-webdav is not installed"

campaign_case "downloads and uploads of 50 MB, primary dies $n times" --server lighttpd \
	--fail primary --runs "$n" --seed 1
