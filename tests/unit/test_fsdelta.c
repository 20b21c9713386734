// SPDX-License-Identifier: MIT
/*
 * Changes of files between two checkpoints: what the primary takes, put over what the backup has,
 * gives the primary's files. Round after round, so that what is missed once is seen.
 */
#include "fsdelta.h"
#include "help.h"
#include "root.h"

struct pair {
	char *dir;
	struct rrc_fsdelta *d;
	struct rrc_error err;
};

static void begin(struct pair *p)
{
	memset(p, 0, sizeof(*p));
	p->dir = help_dir();
	help_sh(p->dir, "mkdir layer copy");
	p->d = rrc_fsdelta_new(help_path("%s/layer", p->dir));
	cr_assert(p->d);
}

static void end(struct pair *p)
{
	rrc_fsdelta_free(p->d);
	help_remove(p->dir);
	free(p->dir);
}

/* Takes the changes into a fresh directory; returns how many. */
static int take(struct pair *p)
{
	int n;

	help_sh(p->dir, "rm -rf ckpt && mkdir ckpt");
	n = rrc_fsdelta_take(p->d, help_path("%s/ckpt", p->dir), &p->err);
	cr_assert_geq(n, 0, "%s", p->err.msg);
	return n;
}

static void carry(struct pair *p, const char *change)
{
	help_sh(help_path("%s/layer", p->dir), change);
	take(p);
	cr_assert_eq(rrc_root_apply(help_path("%s/ckpt", p->dir), help_path("%s/copy", p->dir),
				    &p->err),
		     0, "%s", p->err.msg);
	help_sh(p->dir,
		"for d in layer copy; do (cd $d && find . ! -type s -printf '%P %y %m %U %G %s %l\\n' |"
		" sed 's/ d \\([0-9 ]*\\) [0-9]* $/ d \\1/' | sort; find . -type f -print0 | sort -z |"
		" xargs -r0 sha256sum) >$d.list; done; diff layer.list copy.list");
}

Test(fsdelta, the_copy_follows, .timeout = 60)
{
	struct pair p;

	begin(&p);
	carry(&p, "mkdir -p a/b && echo 1 >a/f && echo 2 >a/b/g && ln -s b a/l && chmod 600 a/f");
	carry(&p, "true");
	carry(&p, "echo 3 >>a/f");
	carry(&p, "mv a/f a/h && chown 7:8 a/b/g && chmod 711 a/b");
	carry(&p, "rm -r a/b && echo now a file >a/b");
	carry(&p, "rm a/l && mkdir a/l && echo >a/l/x");
	carry(&p, "rm -r a/l && ln -s /etc a/l");
	carry(&p, "mkfifo fifo && touch -- 'a name with spaces' '-T' \"$(printf 'line\\nend')\"");
	carry(&p, "truncate -s 3000000 sparse && rm -- -T");
	/* as many as make the table grow, and then shrink */
	carry(&p, "mkdir many && cd many && seq 3000 | xargs touch");
	carry(&p, "rm -f many/*0 many/1*");
	carry(&p, "rm -rf many && echo 4 >a/f");
	/* names as long as the system allows */
	carry(&p,
	      "n=$(printf %0200d 0) && d=$n/$n/$n/$n/$n/$n/$n/$n && mkdir -p $d && echo 5 >$d/f");
	carry(&p, "find . -name f -path '*0*' -delete");
	carry(&p, "rm -r 0*");
	end(&p);
}

Test(fsdelta, nothing_changed_writes_nothing)
{
	struct pair p;

	begin(&p);
	help_sh(help_path("%s/layer", p.dir), "echo 1 >f");
	cr_assert_eq(take(&p), 1);
	cr_assert_eq(take(&p), 0);
	help_sh(p.dir, "test -z \"$(ls -A ckpt)\"");
	/* For another backup it is all new. */
	rrc_fsdelta_reset(p.d);
	cr_assert_eq(take(&p), 1);
	end(&p);
}

Test(fsdelta, same_size_and_time_is_a_change_all_the_same)
{
	struct pair p;

	begin(&p);
	carry(&p, "echo 1 >f && touch -d 2020-01-01 f");
	carry(&p, "echo 2 >f && touch -d 2020-01-01 f");
	end(&p);
}

Test(fsdelta, sockets_are_left_to_who_binds_them)
{
	struct pair p;

	begin(&p);
	help_sh(help_path("%s/layer", p.dir),
		"echo 1 >f && perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0);"
		" bind(S, sockaddr_un(\"s\")) or die'");
	cr_assert_eq(take(&p), 2);
	help_sh(p.dir, "test \"$(tar -tf ckpt/fs.tar)\" = f");
	end(&p);
}

Test(fsdelta, a_layer_that_is_not_there)
{
	struct rrc_fsdelta *d = rrc_fsdelta_new("/nowhere/at/all");
	struct rrc_error err = { 0 };

	cr_assert_lt(rrc_fsdelta_take(d, "/tmp", &err), 0);
	cr_assert(strstr(err.msg, "/nowhere/at/all"), "%s", err.msg);
	rrc_fsdelta_free(d);
}
