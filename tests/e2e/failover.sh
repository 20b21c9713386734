#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# redis under load from 20 connections, its host dies or is cut off, at random points and during a
# checkpoint: nothing lost, nothing contradicted, nothing reset. RRC_FAILOVERS: how often each.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_FAILOVERS:-2}
need_rrc
need_commands redis-server

campaign_case "primary dies, $n times" --server redis --fail primary --runs "$n" --seed 1
campaign_case "primary's link is cut, $n times" --server redis --fail link --runs "$n" --seed 1001
campaign_case "primary dies during a checkpoint, $n times" --server redis --fail primary \
	--runs "$n" --seed 2001 --point checkpoint
campaign_case "primary dies while a child saves, $n times" --server redis-bgsave --fail primary \
	--runs "$n" --seed 3001
