# SPDX-License-Identifier: MIT
# One Makefile, no recursion that hides rules. `make demo` and `make test` are all that a newcomer needs.
#
#	make deps			install what is missing (uses sudo when not root)
#	make				build/rrc-trace and build/rrc-replay
#	make demo | test | bench	deps and build come first
#	make unit | guests | fuzz	parts of the tests
#	make kmod KDIR=			the fork module, for the kernel of KDIR (else the running one's headers)
#	make test-kmod			the fork module in virtual machines, and a failover with it
#	make install PREFIX= DESTDIR=
#	make format | check-format | tidy | compile_commands.json
#	V=1 shows commands; SANITIZE=address,undefined builds in a directory of its own

MAKEFLAGS += --no-builtin-rules
V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-8s %s\n' $(1) $(2)
else
Q :=
say = @:
endif

comma := ,
ifdef SANITIZE
B := build/$(subst $(comma),-,$(SANITIZE))
else
B := build
endif
PREFIX ?= /usr/local
DESTDIR ?=
# Looked up when used: what deps installs is not there yet when make starts.
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
CLANG ?= clang
BPFTOOL ?= $(shell PATH=$$PATH:/usr/sbin:/sbin command -v bpftool || echo /usr/sbin/bpftool)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VERSION := 0.1.0
JOBS := $(shell nproc)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu11 $(WARN) -D_GNU_SOURCE -DRRC_VERSION='"$(VERSION)"' -Ilib -I$(B)/bpf -MMD -MP
ifdef SANITIZE
override CFLAGS += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
override LDFLAGS += -fsanitize=$(SANITIZE)
endif
LDLIBS := -lbpf -lelf -lz -lzstd -lxxhash -lmnl -lpthread
TRACE_LIBS := -lnetfilter_queue -lmnl
JSON_LIBS := -ljson-c

LIB_SRC := $(wildcard lib/*.c)
USER_SRC := $(wildcard user/*.c)
REPLAY_SRC := $(wildcard replayer/*.c)
BPF_SRC := $(wildcard bpf/*.bpf.c)
UNIT_SRC := $(wildcard tests/unit/*.c)
GUEST_SRC := $(wildcard tests/guests/*.c)
TOOL_SRC := $(wildcard $(foreach d,faults lab demo e2e bench preload kmod,tests/$(d)/*.c))
FUZZ_SRC := $(wildcard tests/fuzz/*.c)
ALL_C := $(LIB_SRC) $(USER_SRC) $(REPLAY_SRC) $(UNIT_SRC) $(GUEST_SRC) $(TOOL_SRC) $(FUZZ_SRC)
PRELOAD_SRC := $(wildcard user/preload/*.c)
FORMATTED := $(ALL_C) $(BPF_SRC) $(wildcard docs/*.c lib/*.h user/*.h user/*/*.[ch] replayer/*.h bpf/*.h tests/*/*.h kmod-fork/*.[ch])

obj = $(patsubst %.c,$(B)/%.o,$(1))
LIB_OBJ := $(call obj,$(LIB_SRC))
USER_OBJ := $(call obj,$(USER_SRC))
REPLAY_OBJ := $(call obj,$(REPLAY_SRC))
# The object that defines the shared maps comes first: libbpf 1.1 mislinks maps that are named before.
# What not everybody loads is an object of its own: kernels that lack what it needs refuse it.
BPF_ALONE := bpf/reborn.bpf.c bpf/writes.bpf.c
BPF_OBJ := $(patsubst bpf/%.c,$(B)/bpf/%.o,bpf/record.bpf.c $(filter-out bpf/record.bpf.c $(BPF_ALONE),$(BPF_SRC)))
SKELS := $(B)/bpf/rrc.skel.h $(BPF_ALONE:bpf/%.bpf.c=$(B)/bpf/%.skel.h)
GUESTS := $(patsubst tests/guests/%.c,$(B)/guests/%,$(GUEST_SRC))
TOOLS := $(patsubst tests/%.c,$(B)/tests/%,$(TOOL_SRC))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))

.PHONY: all
all: $(B)/rrc-trace $(B)/rrc-replay $(B)/rrc-init $(B)/librrc-preload.so

# An object is made anew when the flags change, not only when its source does.
quote = '$(subst ','\'',$(1))'
FLAGS := $(call quote,$(CC) $(CFLAGS))
$(B)/.flags: force
	$(Q)mkdir -p $(@D)
	$(Q)printf '%s\n' $(FLAGS) | cmp -s - $@ || printf '%s\n' $(FLAGS) >$@
.PHONY: force

$(B)/lib/librrc.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/rrc-trace: $(USER_OBJ) $(B)/lib/librrc.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(TRACE_LIBS) $(JSON_LIBS)

$(B)/rrc-replay: $(REPLAY_OBJ) $(B)/lib/librrc.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(JSON_LIBS)

$(B)/%.o: %.c $(B)/.flags
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

# Process 1 of a recorded command: no libc, never sanitized, and the same bytes whenever it is built.
$(B)/rrc-init: user/init/init.c
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -std=gnu11 $(WARN) -D_GNU_SOURCE -ffreestanding -fno-stack-protector -fno-pie -fcf-protection=none \
		-fno-asynchronous-unwind-tables -static -no-pie -nostdlib -Wl,-z,noexecstack -o $@ $<

# Copied into programs that are replayed: no libc, never sanitized, no vector registers, nothing outside its section.
$(B)/replayer/inproc_code.o: override CFLAGS += -O2 -fno-sanitize=all -mgeneral-regs-only -ffreestanding \
	-fno-stack-protector -fcf-protection=none -fno-jump-tables -fno-tree-loop-distribute-patterns

# Preloaded into programs that are recorded: nothing but libc, never sanitized, thread storage without calls. Its
# headers are quoted: the search path of ours has names that libc has too.
$(B)/user/preload/%.o: user/preload/%.c user/preload/preload.h user/preload/clock.h lib/locklog.h lib/injected.h
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -g -std=gnu11 $(WARN) -D_GNU_SOURCE -iquote lib -fPIC -fvisibility=hidden -fno-stack-protector \
		-ftls-model=initial-exec -c -o $@ $<

$(B)/librrc-preload.so: $(call obj,$(PRELOAD_SRC)) user/preload/preload.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-z,now -Wl,-z,defs -Wl,-Bsymbolic-functions -Wl,-soname,$(@F) -Wl,--version-script=user/preload/preload.map \
		-o $@ $(filter %.o,$^)

# BPF programs: compiled once for every kernel (CO-RE), linked into one object that shares its maps,
# embedded as a skeleton.
$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) lib/record.h lib/syscalls.h lib/syscall_names.h vmlinux/vmlinux.h
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -Wall -Werror \
		-idirafter /usr/include/$(shell $(CC) -dumpmachine) -Ivmlinux -Ilib -Ibpf -c -o $@ $<

$(B)/bpf/rrc.o: $(BPF_OBJ)
	$(call say,BPFLD,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(B)/bpf/rrc.skel.h: $(B)/bpf/rrc.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name rrc_bpf >$@.tmp && mv $@.tmp $@

$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf >$@.tmp && mv $@.tmp $@

$(USER_OBJ) $(REPLAY_OBJ): | $(SKELS)
.SECONDARY: $(BPF_ALONE:bpf/%.c=$(B)/bpf/%.o)

# Small programs: guests (one family of calls each) and the tools of the lab.
$(B)/guests/%: tests/guests/%.c tests/guests/guest.h
	$(call say,GUEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O1 -g -std=gnu11 $(WARN) -D_GNU_SOURCE -o $@ $< -lpthread

$(B)/tests/%: tests/%.c
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -g -std=gnu11 $(WARN) -D_GNU_SOURCE -o $@ $< -lpthread -lcrypto

$(addprefix $(B)/tests/e2e/tcp-states-,client server): $(wildcard tests/e2e/tcp-states*.h) tests/e2e/die.h

$(B)/tests/preload/guest: $(wildcard tests/preload/guest*.h)

$(filter $(B)/tests/faults/%,$(TOOLS)): $(wildcard tests/faults/*.h)

# These use our own parts.
$(B)/tests/e2e/tcp-takeover: tests/e2e/tcp-takeover.c $(wildcard tests/e2e/tcp-takeover-*.h) tests/e2e/die.h \
		$(B)/replayer/libreplay.a $(B)/lib/librrc.a
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Ireplayer $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LDLIBS)

RECORDER_OBJ := $(B)/user/recorder.o $(B)/user/recorder_tc.o $(B)/user/ring.o
RECORDER_TOOLS := $(B)/tests/bench/record $(B)/tests/e2e/recorder $(B)/tests/e2e/recorder-net
$(B)/tests/e2e/recorder: tests/e2e/recorder-guest.h
$(RECORDER_TOOLS): $(B)/tests/%: tests/%.c tests/bench/spawn.h $(RECORDER_OBJ) $(B)/lib/librrc.a
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Iuser $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LDLIBS) $(JSON_LIBS)

$(B)/tests/e2e/frames: tests/e2e/frames.c tests/bench/spawn.h $(B)/user/libuser.a $(B)/lib/librrc.a
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Iuser $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LDLIBS) $(JSON_LIBS)

KMOD_TOOLS := $(filter $(B)/tests/kmod/%,$(TOOLS))
$(KMOD_TOOLS): $(B)/tests/%: tests/%.c $(wildcard tests/kmod/*.h) kmod-fork/rrc_fork.h
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -g -std=gnu11 $(WARN) -D_GNU_SOURCE -Ikmod-fork -o $@ $< -lpthread

LOCKLOG_TOOLS := $(B)/tests/e2e/inject-count $(addprefix $(B)/tests/,bench/locks preload/harness preload/cut preload/steps)
$(addprefix $(B)/tests/preload/,harness cut steps): tests/preload/run.h
$(LOCKLOG_TOOLS): $(B)/tests/%: tests/%.c $(B)/lib/librrc.a
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.h,$^) $(LDLIBS)

.PHONY: guests tools
guests: $(GUESTS)
tools: $(TOOLS)

# Unit tests: one Criterion binary. What user/ and replayer/ define apart from their main is in reach
# of the tests; archives, so that only what a test asks for is linked.
UNIT_OBJ := $(call obj,$(UNIT_SRC))
$(B)/user/libuser.a: $(filter-out $(B)/user/main.o,$(USER_OBJ))
$(B)/replayer/libreplay.a: $(filter-out $(B)/replayer/main.o,$(REPLAY_OBJ))
$(B)/user/libuser.a $(B)/replayer/libreplay.a:
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $^

$(UNIT_OBJ): override CFLAGS += -iquote user -iquote replayer
$(B)/unit-tests: $(UNIT_OBJ) $(B)/user/libuser.a $(B)/replayer/libreplay.a $(B)/lib/librrc.a | $(B)/rrc-init
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(TRACE_LIBS) $(JSON_LIBS) -lcriterion

.PHONY: unit
unit: $(B)/unit-tests $(B)/rrc-init
	$(Q)$(SUDO) $(B)/unit-tests

# What must be installed before anything is built; after it make looks at the world anew.
.PHONY: deps
deps:
	$(Q)PREFIX=$(PREFIX) scripts/deps.sh

AGAIN := $(MAKE) --no-print-directory B=$(B)
# scripts and tests find the programs that they are about here
RUN_ENV := B=$(abspath $(B)) PREFIX=$(PREFIX)

.PHONY: demo test bench kmod test-kmod
demo: deps
	+$(Q)$(AGAIN) -j$(JOBS) all tools
	$(Q)$(SUDO) env $(RUN_ENV) tests/demo/demo.sh

test: deps
	+$(Q)$(AGAIN) -j$(JOBS) all guests tools $(B)/unit-tests
	$(Q)$(SUDO) env $(RUN_ENV) tests/run $(TESTS)

test-kmod: deps
	+$(Q)$(AGAIN) -j$(JOBS) all tools
	$(Q)$(SUDO) env $(RUN_ENV) tests/run kmod

# For the kernel of KDIR; kmod-fork/dkms.conf does it for whatever kernel is installed.
KDIR ?= /lib/modules/$(shell uname -r)/build
kmod:
	$(call say,KMOD,$(B)/kmod/rrc_fork.ko)
	$(Q)tests/kmod/build.sh $(KDIR) $(B)/kmod

bench: deps
	+$(Q)$(AGAIN) -j$(JOBS) all tools
	$(Q)$(SUDO) env $(RUN_ENV) tests/bench/bench $(BENCH)

# One libFuzzer target for each parser of outside bytes; FUZZ_TIME seconds each. What it should begin
# with is in tests/fuzz/seeds/TARGET.
FUZZ_TIME ?= 10
FUZZ_FLAGS := -g -O1 -std=gnu11 -D_GNU_SOURCE -DRRC_VERSION='"$(VERSION)"' -Ilib -iquote user -iquote replayer -I$(B)/bpf \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_LIB := $(patsubst %.c,$(B)/fuzz/obj/%.o,$(LIB_SRC) $(filter-out %/main.c,$(USER_SRC) $(REPLAY_SRC)))
$(B)/fuzz/obj/%.o: %.c | $(SKELS)
	$(call say,FUZZCC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_FLAGS) -c -o $@ $<

$(B)/fuzz/libfuzzed.a: $(FUZZ_LIB)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(B)/fuzz/libfuzzed.a
	$(call say,FUZZ,$@)
	$(Q)$(CLANG) $(FUZZ_FLAGS) -o $@ $(filter-out %.h,$^) $(LDLIBS) $(TRACE_LIBS) $(JSON_LIBS)

.PHONY: fuzz
fuzz:
	$(Q)PREFIX=$(PREFIX) scripts/deps.sh fuzz
	+$(Q)$(AGAIN) -j$(JOBS) $(FUZZERS)
	$(Q)for f in $(FUZZERS); do \
		mkdir -p $$f.corpus && \
		seeds=tests/fuzz/seeds/$${f##*/}; [ -d $$seeds ] || seeds=; \
		$$f -max_total_time=$(FUZZ_TIME) -rss_limit_mb=2048 -artifact_prefix=$$f.crash- $$f.corpus $$seeds >$$f.log 2>&1 || \
			{ tail -n 40 $$f.log; exit 1; }; \
		printf '  %-8s %s: %s\n' OK $$f "$$(tail -n 1 $$f.log)"; \
	done

.PHONY: install uninstall
install: all
	$(Q)install -D -m 755 $(B)/rrc-trace $(DESTDIR)$(PREFIX)/bin/rrc-trace
	$(Q)install -D -m 755 $(B)/rrc-replay $(DESTDIR)$(PREFIX)/bin/rrc-replay
	$(Q)install -D -m 755 $(B)/rrc-init $(DESTDIR)$(PREFIX)/lib/rrc/rrc-init
	$(Q)install -D -m 644 $(B)/librrc-preload.so $(DESTDIR)$(PREFIX)/lib/rrc/librrc-preload.so
	$(Q)install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/rrc/README.md
	$(Q)install -D -m 644 docs/architecture.md $(DESTDIR)$(PREFIX)/share/doc/rrc/architecture.md
	$(Q)install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/rrc/LICENSE
	$(Q)install -D -m 644 LICENSES/GPL-2.0.txt $(DESTDIR)$(PREFIX)/share/doc/rrc/GPL-2.0.txt

uninstall:
	$(Q)rm -f $(DESTDIR)$(PREFIX)/bin/rrc-trace $(DESTDIR)$(PREFIX)/bin/rrc-replay $(DESTDIR)$(PREFIX)/lib/rrc/rrc-init \
		$(DESTDIR)$(PREFIX)/lib/rrc/librrc-preload.so
	$(Q)rm -rf $(DESTDIR)$(PREFIX)/share/doc/rrc

# The list of calls is the table's own; check-docs says when it is not.
$(B)/docs/gen-syscalls: docs/gen-syscalls.c $(B)/lib/librrc.a
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/lib/librrc.a $(LDLIBS)

docs/syscalls.md: $(B)/docs/gen-syscalls
	$(call say,GEN,$@)
	$(Q)$< >$@.tmp && mv $@.tmp $@

.PHONY: check-docs
check-docs: $(B)/docs/gen-syscalls
	$(Q)$< | diff -u docs/syscalls.md - || { echo 'docs/syscalls.md is old: make docs/syscalls.md' >&2; exit 1; }

.PHONY: format check-format tidy
format:
	$(Q)clang-format -i $(FORMATTED)

check-format:
	$(Q)clang-format --dry-run -Werror $(FORMATTED)

tidy: compile_commands.json | $(SKELS)
	$(Q)clang-tidy -p . --quiet $(LIB_SRC) $(USER_SRC) $(REPLAY_SRC)

compile_commands.json: $(ALL_C) Makefile scripts/compile-commands.sh
	$(call say,GEN,$@)
	$(Q)scripts/compile-commands.sh '$(CC)' $(call quote,$(filter-out -MMD -MP,$(CFLAGS)) -iquote user -iquote replayer) $(ALL_C) >$@

.PHONY: clean
clean:
	$(Q)rm -rf $(B)

-include $(LIB_OBJ:.o=.d) $(USER_OBJ:.o=.d) $(REPLAY_OBJ:.o=.d) $(UNIT_OBJ:.o=.d)
