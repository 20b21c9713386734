# SPDX-License-Identifier: MIT
# One Makefile, no recursion. `make demo` and `make test` are all that a newcomer needs.

V ?= 0
ifeq ($(V),0)
Q := @
say = @printf '  %-8s %s\n' $(1) $(2)
else
Q :=
say = @:
endif

B := build
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
VERSION := 0.1.0

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu11 $(WARN) -D_GNU_SOURCE -DRRC_VERSION='"$(VERSION)"' -Ilib -I$(B)/bpf -MMD -MP
ifdef SANITIZE
override CFLAGS += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
override LDFLAGS += -fsanitize=$(SANITIZE)
endif
LDLIBS := -lbpf -lelf -lz -lzstd -lxxhash -lpthread
TRACE_LIBS := -lnetfilter_queue -lmnl
JSON_LIBS := -ljson-c

LIB_SRC := $(wildcard lib/*.c)
USER_SRC := $(wildcard user/*.c)
REPLAY_SRC := $(wildcard replayer/*.c)
BPF_SRC := $(wildcard bpf/*.bpf.c)
UNIT_SRC := $(wildcard tests/unit/*.c)
GUEST_SRC := $(wildcard tests/guests/*.c)
TOOL_SRC := $(wildcard tests/faults/*.c tests/lab/*.c)

obj = $(patsubst %.c,$(B)/%.o,$(1))
LIB_OBJ := $(call obj,$(LIB_SRC))
USER_OBJ := $(call obj,$(USER_SRC))
REPLAY_OBJ := $(call obj,$(REPLAY_SRC))
SKELS := $(patsubst bpf/%.bpf.c,$(B)/bpf/%.skel.h,$(BPF_SRC))
GUESTS := $(patsubst tests/guests/%.c,$(B)/guests/%,$(GUEST_SRC))
TOOLS := $(patsubst tests/%.c,$(B)/tests/%,$(TOOL_SRC))

.PHONY: all
all: $(B)/rrc-trace $(B)/rrc-replay

$(B)/lib/librrc.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/rrc-trace: $(USER_OBJ) $(B)/lib/librrc.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(TRACE_LIBS) $(JSON_LIBS)

$(B)/rrc-replay: $(REPLAY_OBJ) $(B)/lib/librrc.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(JSON_LIBS)

$(B)/%.o: %.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

# BPF programs: compiled once for every kernel (CO-RE), embedded as skeletons.
$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h lib/record.h lib/syscalls.h) vmlinux/vmlinux.h
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -Wall -Werror -Ivmlinux -Ilib -Ibpf -c -o $@ $<

$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*)_bpf > $@.tmp && mv $@.tmp $@

$(USER_OBJ) $(REPLAY_OBJ): | $(SKELS)

# Small programs: guests (one family of calls each) and the tools of the lab.
$(B)/guests/%: tests/guests/%.c
	$(call say,GUEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O1 -g -std=gnu11 $(WARN) -D_GNU_SOURCE -o $@ $< -lpthread

$(B)/tests/%: tests/%.c
	$(call say,TOOL,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -O2 -g -std=gnu11 $(WARN) -D_GNU_SOURCE -o $@ $< -lpthread -lcrypto

.PHONY: guests tools
guests: $(GUESTS)
tools: $(TOOLS)

# Unit tests: one Criterion binary.
UNIT_OBJ := $(call obj,$(UNIT_SRC))
$(B)/unit-tests: $(UNIT_OBJ) $(B)/lib/librrc.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(JSON_LIBS) -lcriterion

.PHONY: unit
unit: $(B)/unit-tests
	$(Q)$(B)/unit-tests

.PHONY: clean
clean:
	$(Q)rm -rf $(B)

-include $(LIB_OBJ:.o=.d) $(USER_OBJ:.o=.d) $(REPLAY_OBJ:.o=.d) $(UNIT_OBJ:.o=.d)
