/* SPDX-License-Identifier: MIT */
/* Inside of the engine: its threads and processes, and what its files call of each other. */
#ifndef RRC_TRACEE_H
#define RRC_TRACEE_H

#include <sched.h>
#include <signal.h>
#include <sys/user.h>

#include "engine.h"
#include "syscalls.h"

#define RRC_NO_REC	UINT32_MAX
#define RRC_TRACEE_HASH 1024

enum tracee_state {
	TR_RUN, /* on its way to a call */
	TR_CALL, /* stands before a call, its record's turn has not come */
	TR_BUSY, /* makes its call for real */
	TR_DONE, /* has made it for real; its record's turn has not come */
	TR_LOCAL, /* makes a call for real that is not in the log */
	TR_NEW, /* born, not stopped yet */
	TR_HELD, /* stopped between two calls so that it comes later (nudge.h) */
	TR_LATER, /* the same: others were earlier on the primary (later.h) */
	TR_PAUSED, /* stopped by us in its own code, after the end of the log */
	TR_EXITING, /* is dying */
	TR_DEAD,
};

/* What kind of stop it is in, as far as that matters for going on. */
enum stop_kind {
	ST_NONE, /* between calls */
	ST_EMU, /* an entry that the kernel skips in any case (PTRACE_SYSEMU) */
	ST_ENTRY, /* an entry that may be made for real (PTRACE_SYSCALL) */
	ST_EXIT, /* behind a real call */
	ST_POSTED, /* in no ptrace stop: our code in it waits before a call that fits its next record */
};

/* Signals that the kernel or a replayed kill(2) made and nobody has seen delivered. */
struct pending_signal {
	int made; /* by the kernel in replay, minus recorded deliveries that we sent ourselves */
	bool sent; /* by a replayed kill; sent again meanwhile, it is still one */
	pid_t tid; /* for this thread alone; 0: for the process */
	siginfo_t info;
};

struct tproc {
	pid_t pid; /* as seen from here */
	uint32_t ns_pid;
	int pidfd;
	unsigned int threads;
	bool exiting; /* a thread of it ended the group */
	bool fresh; /* a program executed in this replay: its lock log, if it makes one, is not fed yet */
	unsigned int
		areas; /* lock logs of it that the log was found to have, and that are behind it */
	struct rrc_inproc *inproc; /* our code in it; or NULL */
	unsigned int inproc_tries;
	bool own_memory; /* its vDSO is patched by us or its parent's was */
	struct pending_signal *pending; /* [_NSIG], or NULL: none so far */
	struct tproc *next;
};

struct tracee {
	pid_t tid; /* as seen from here */
	uint32_t ns_tid;
	struct tproc *proc;
	enum tracee_state state;
	bool stopped; /* in a ptrace stop: may be asked and resumed */
	int request; /* PTRACE_SYSEMU or PTRACE_SYSCALL, the last */
	enum stop_kind at;
	bool skip_exit; /* the exit stop of a skipped call comes first */
	bool args_changed; /* the real call's were not the program's */
	bool lost_call; /* stood in a call at the checkpoint, whose number is not known */
	bool cut_short; /* TR_LOCAL: interrupted by us, its wait timed out in the log */
	bool killed; /* a SIGKILL of ours is on its way */
	int swallow; /* stops that come before the exit of the real call */
	struct user_regs_struct regs; /* as at the call */
	long result; /* of the real call */
	uint32_t prev_rec; /* index of its last record, or RRC_NO_REC */
	uint32_t next_rec; /* index of its next record */
	uint32_t expect; /* index of the signal record that it is to get, or RRC_NO_REC */
	bool mask_changed;
	uint64_t mask; /* to put back at the delivery */
	const struct rrc_rec *restart; /* the call that returned -516 and is not finished */
	uint32_t birth; /* TR_BUSY in a clone: index of the birth it is to make */
	bool child_seen; /* … and it is made */
	uint64_t resumed_ns,
		recorded_ns; /* it runs since then, here and on the primary; 0: not known */
	uint64_t later_ns; /* TR_LATER: when it runs, by the primary's clock */
	bool part; /* it was let run as far as to the next operation of its lock log: waits there, as TR_LATER */
	uint32_t late; /* the record before which it did not come in time, + 1 */
	unsigned int lates; /* how often */
	cpu_set_t affinity;
	bool clocks_tried;
	struct rrc_clockq *clocks; /* its readings are answered in the program; or NULL */
	struct rrc_ip_slot *slot; /* what it is told to do by itself (inproc.h); or NULL */
	bool slotless; /* … was asked for */
	uint32_t filled,
		taken; /* calls in there, and those of them that were passed, counted on and on */
	uint32_t base; /* taken when it was let run */
	unsigned int briefs; /* how often there were few */
	bool dispatched; /* calls that our code does not answer stop it by SIGSYS … */
	bool dispatching; /* … as of now */
	bool no_dispatch, mask_unsure;
	uint32_t most; /* … that it is worth to fill in */
	struct tracee *by_tid, *by_ns, *next;
};

/* What the program has put into a pipe or socket and taken out again. See pipes.h. */
struct rrc_pipes;

struct rrc_engine {
	struct rrc_engine_opts opts;
	struct rrc_engine_report rep;
	pid_t init;
	uint64_t pidns;

	const uint8_t *log;
	size_t len;
	size_t n; /* records */
	uint64_t *off; /* of each */
	uint32_t *next; /* of the same thread; for a birth see births */
	uint8_t *done; /* passed before its turn */
	struct birth {
		uint32_t rec, first;
	} * births;
	size_t nbirths;
	size_t head; /* whose turn it is */
	size_t end; /* the log is replayed up to here */
	uint64_t recorded_ns; /* when the record that was passed last was placed, on the primary */
	struct tracee *held, *rush; /* nudge.h */
	uint64_t held_until, rush_until;
	bool held_quiet;
	unsigned int nlater; /* threads in TR_LATER */
	uint64_t due_ns; /* the head waits until then; 0: it does not */

	struct tracee *threads;
	struct tracee *by_tid[RRC_TRACEE_HASH], *by_ns[RRC_TRACEE_HASH];
	struct tproc *procs;
	struct early { /* stops of threads that we have not been told of */
		pid_t tid;
		int status;
	} * early;
	size_t nearly;
	struct tracee *cloning; /* one at a time: the next id is set for the whole namespace */

	struct rrc_nspid *nspid;
	struct rrc_watchdog *watchdog;
	struct rrc_pipes *pipes;
	struct rrc_clockq *clockqs;
	struct rrc_inproc *inprocs;
	struct rrc_locks *locks;
	struct rrc_clockmarks *marks;
	struct held_conn *conns[RRC_TRACEE_HASH];
	int *synced; /* files whose fsync was put off to go-live */
	size_t nsynced;
	cpu_set_t affinity; /* of the engine's thread, before */
	sigset_t sigmask;
	bool pinned, live, diverged;
	unsigned int dispatched; /* threads that may wait in our code */
	bool ending; /* the log is at its end: who is interrupted stays stopped */
};

/* ---- log.c: the index ---- */

/* Where each record is, and the first of each thread that is there already. */
int rrc_log_index(struct rrc_engine *e, struct rrc_error *err);
const struct rrc_rec *rrc_log_rec(const struct rrc_engine *e, size_t i);

/* Is it of a thread's own doing? The others only stand in the order. */
bool rrc_log_of_thread(const struct rrc_rec *rec);

/* From here on the process makes no other one and executes no program. */
bool rrc_log_stays_alone(const struct rrc_engine *e, const struct tproc *p, size_t from);

/* The thread's next record, or NULL at the end of what is replayed. */
const struct rrc_rec *rrc_next_rec(const struct rrc_engine *e, const struct tracee *t);

/* The thread is past its next record (which may be passed before its turn). */
void rrc_pass_rec(struct rrc_engine *e, struct tracee *t);

/* First record of the thread that the birth at index i makes. */
uint32_t rrc_birth_first(const struct rrc_engine *e, uint32_t i);

/* ---- tracee.c: threads and processes ---- */

struct tracee *rrc_tracee_of(struct rrc_engine *e, pid_t tid);
struct tracee *rrc_tracee_ns(struct rrc_engine *e, uint32_t ns_tid);
struct tracee *rrc_tracee_add(struct rrc_engine *e, pid_t tid, uint32_t ns_tid, struct tproc *proc,
			      struct rrc_error *err);
void rrc_tracee_rename(struct rrc_engine *e, struct tracee *t, pid_t tid);
struct tproc *rrc_tproc_add(struct rrc_engine *e, pid_t pid, uint32_t ns_pid,
			    struct rrc_error *err);
struct tproc *rrc_tproc_ns(struct rrc_engine *e, uint32_t ns_pid);
void rrc_tracee_dead(struct rrc_engine *e, struct tracee *t);
void rrc_tracees_free(struct rrc_engine *e);
int rrc_tracee_pin(struct rrc_engine *e, struct tracee *t);
unsigned long rrc_trace_options(const struct rrc_engine *e);

/* Lets it go on to its next call; sig: delivered with that. */
int rrc_resume(struct rrc_engine *e, struct tracee *t, int sig);

/* Goes on after a stop that means nothing. */
int rrc_tracee_go_on(struct tracee *t);

/* Makes the call it stands at for real, with these registers. */
int rrc_run_real(struct tracee *t, const struct user_regs_struct *regs);

/* A call of ours in a thread that stands before or after a call. */
int rrc_tracee_inject(struct rrc_engine *e, struct tracee *t, long nr, uint64_t a, uint64_t b,
		      uint64_t c, long *ret, struct rrc_error *err);

/* Our duplicate of its descriptor, or negative errno. */
int rrc_tracee_getfd(const struct tracee *t, int fd);
int rrc_tproc_getfd(const struct tproc *p, int fd);

/* ---- events.c: what waitpid says ---- */

int rrc_on_status(struct rrc_engine *e, pid_t tid, int status, struct rrc_error *err);

/* ---- bytes.c: segments to and from memory ---- */

/* Compares the record's IN segments with the program's memory; 1: they differ, the report says how. */
int rrc_bytes_check(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec);

/* Was what the program gave in this segment overwritten by what the kernel answered? Then it is not compared. */
bool rrc_bytes_overwritten(const struct rrc_rec *rec, unsigned int seg);

/* Writes its OUT segments. */
int rrc_bytes_write(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct rrc_error *err);

/* After a real call: are its OUT bytes as recorded? 1: not. */
int rrc_bytes_same(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec);

/* ---- calls.c: a call and its record ---- */

enum rrc_how {
	RRC_HOW_EMULATE,
	RRC_HOW_EXECUTE
};

/* What a special call does differently; each may be NULL. They return a negative errno with err set. */
struct rrc_call_ops {
	/* Emulate or execute? `real` are the registers for the real call. */
	int (*how)(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct user_regs_struct *real, struct rrc_error *err);
	/* Beside result and bytes. */
	int (*emulated)(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			struct rrc_error *err);
	/* After the real call, t->result is its result. */
	int (*executed)(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
			struct rrc_error *err);
};

extern const struct rrc_call_ops rrc_ops_read, rrc_ops_write, rrc_ops_sendfile, rrc_ops_getdents,
	rrc_ops_open, rrc_ops_accept, rrc_ops_connect, rrc_ops_sockio, rrc_ops_sockopt,
	rrc_ops_shutdown, rrc_ops_fcntl, rrc_ops_mmap, rrc_ops_mremap, rrc_ops_clone, rrc_ops_wait,
	rrc_ops_kill, rrc_ops_sigsuspend, rrc_ops_sync, rrc_ops_pair, rrc_ops_affinity,
	rrc_ops_close, rrc_ops_linkat;

/* The record at the head is of a call and t stands at one (TR_CALL) or has made it (TR_DONE).
 * 1: passed; 0: has to wait; negative: failed or diverged. */
int rrc_call_step(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		  struct rrc_error *err);

/* t stands at a call whose turn has not come, but that overlapped the one that is waited for: starts it
 * if it is made for real. 1: started. */
int rrc_call_early(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct rrc_error *err);

/* The call that t stands at returns this (a restart result, or -EINTR) because of the signal that is
 * its next record. */
int rrc_call_interrupted(struct rrc_engine *e, struct tracee *t, int64_t result);

/* A checkpoint was taken here, and not committed. CRIU ends waits that the kernel would have gone on with
 * (-ERESTART_RESTARTBLOCK): the program saw -EINTR, which no record says. Does so if the log shows that t left
 * its wait. */
int rrc_call_cut(struct rrc_engine *e, struct tracee *t);

/* Does the call that t stands at fit this record? Fills the report and returns -EILSEQ if not. */
int rrc_call_match(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct rrc_error *err);

/* Is the call that t stands at made without the log? */
bool rrc_call_local(const struct rrc_engine *e, const struct tracee *t);

/* Is it a wait in a futex whose timing out is t's next record? */
bool rrc_call_timed_out(const struct rrc_engine *e, const struct tracee *t);

/* Would the record's call be executed for real? Only a guess for the way of resuming its thread. */
bool rrc_call_likely_real(const struct rrc_engine *e, uint32_t i);

/* The recorded outcome differs from the real one. Divergence with fs_exact, else counted. */
int rrc_fs_fixup(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		 struct rrc_error *err);

/* Moves descriptor `from` of the program to `to`, keeping its close-on-exec flag. */
int rrc_move_fd(struct rrc_engine *e, struct tracee *t, int from, int to, struct rrc_error *err);

/* ---- conns.c: which socket is which connection ---- */

/* Remembers the socket behind the process's descriptor as this connection. */
int rrc_conn_note(struct rrc_engine *e, const struct tproc *p, int fd, uint64_t cookie);

/* A descriptor of the connection was closed. */
void rrc_conn_closed(struct rrc_engine *e, uint64_t cookie);
void rrc_conns_drop(struct rrc_engine *e);

/* ---- diverge.c ---- */

/* Divergence at record i: what was seen instead. Returns -EILSEQ. */
int rrc_diverge(struct rrc_engine *e, size_t i, const struct tracee *t, struct rrc_error *err,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void rrc_trace_step(struct rrc_engine *e, const struct tracee *t, const char *what);

/* ---- stall.c ---- */

/* Nothing moves any more: a divergence that says who waits for whom, and blames the last one. Returns -EILSEQ. */
int rrc_stalled(struct rrc_engine *e, const char *how, struct rrc_error *err);

/* ---- turns.c: the order ---- */

/* Nothing can move any more: every thread waits for another one, or for the log, which is not at its end. */
bool rrc_deadlocked(const struct rrc_engine *e);

/* All records up to this one were passed by threads on their own. */
void rrc_advance_over(struct rrc_engine *e, size_t last);

/* Passes all records whose turn has come. */
int rrc_advance(struct rrc_engine *e, struct rrc_error *err);
bool rrc_all_parked(struct rrc_engine *e);

/* ---- calls_signals.c ---- */

/* The call of t has returned and its next record is a signal: send it. 1: sent. */
int rrc_signal_attach(struct rrc_engine *e, struct tracee *t);

/* t is in a signal-delivery stop. */
int rrc_signal_stop(struct rrc_engine *e, struct tracee *t, int sig, struct rrc_error *err);

/* A signal record's turn has come. 1: passed; 0: has to wait. */
int rrc_signal_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		    struct rrc_error *err);

/* ---- calls_kill.c ---- */

struct pending_signal *rrc_pending(struct tproc *p, int sig);
void rrc_send_leftovers(struct rrc_engine *e);

/* ---- calls_procs.c ---- */

/* Starts the exec that a thread of this process stands at, if one does. */
bool rrc_exec_start(struct rrc_engine *e, struct tproc *p);

int rrc_birth_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		   struct rrc_error *err);
int rrc_exec_turn(struct rrc_engine *e, struct tracee *t, const struct rrc_rec *rec,
		  struct rrc_error *err);
int rrc_on_birth(struct rrc_engine *e, struct tracee *parent, pid_t tid, struct rrc_error *err);
int rrc_on_exec(struct rrc_engine *e, struct tracee *t, struct rrc_error *err);

static inline void rrc_regs_args(const struct user_regs_struct *r, uint64_t args[6])
{
	args[0] = r->rdi;
	args[1] = r->rsi;
	args[2] = r->rdx;
	args[3] = r->r10;
	args[4] = r->r8;
	args[5] = r->r9;
}

#endif
