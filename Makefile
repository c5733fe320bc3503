# loophost -- how it is built, tested and checked. `make help` lists the targets.
#
# Sources are found by pattern, never listed: a new file in host/, bindings/,
# scripts/loophost/, spec/ or tests/ takes part as soon as it exists. All that is made goes
# under $(BUILD), so the variants (build/asan, build/stress ...) live side by side.

BUILD  ?= build
PREFIX ?= /usr/local
LUA    ?= lua5.4

# Build in parallel, unless the command line says otherwise; but `make lint test` means
# one after the other.
MAKEFLAGS += --no-print-directory
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
ifneq ($(word 2,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
endif

# ---- What it needs (Debian 12 package names; `make deps` installs what is missing) -----------

PACKAGES_build += gcc libc6-dev    # the compiler
PACKAGES_build += lua5.4           # turns the scripts into byte code; the stock Lua to test with
PACKAGES_build += liblua5.4-dev    # lua.h, and the static library that the host carries
PACKAGES_build += libssl-dev        # OpenSSL's headers; the library is opened when TLS is used
PACKAGES_build += libc-ares-dev    # names to addresses without blocking; linked in statically

PACKAGES_test += $(PACKAGES_build)
PACKAGES_test += libcmocka-dev     # the C tests' framework
PACKAGES_test += lua-busted        # the specs' framework
PACKAGES_test += lua-cjson         # a C module that must load into the host
PACKAGES_test += lua-penlight      # a large pure Lua library that must run in it
PACKAGES_test += lua-socket        # a blocking peer that is not our own code
PACKAGES_test += python3           # the oracle: asyncio itself
PACKAGES_test += redis-server nginx-light curl socat  # real peers for the examples
PACKAGES_test += dnsmasq-base      # a name server to ask
PACKAGES_test += openssl           # makes certificates, and is a peer

PACKAGES_lint += $(PACKAGES_test)
PACKAGES_lint += clang             # the second compiler
PACKAGES_lint += clang-format clang-tidy cppcheck
PACKAGES_lint += lua-check         # luacheck
PACKAGES_lint += libclang-rt-14-dev  # the sanitizers, for `make asan CC=clang`
PACKAGES_lint += valgrind libc6-dbg  # memcheck, and the symbols it must have

PACKAGES_bench += $(PACKAGES_build)
PACKAGES_bench += libcmocka-dev    # `make tests` builds the benchmarks too
PACKAGES_bench += lua-luv lua-cqueues tarantool nodejs python3 python3-uvloop  # the peers
PACKAGES_bench += wrk              # a load that is not our own code

# ---- Flags -----------------------------------------------------------------------------------

WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow $(if $(WERROR),-Werror)
# One set of objects serves the host, the module and the tests: position independent, and
# nothing visible but luaopen_loophost, so that no C module can meet our names by accident.
CFLAGS   = -std=c11 -O2 -g -fPIC -fvisibility=hidden $(WARNINGS) $(CFLAGS_EXTRA)
CPPFLAGS = -D_GNU_SOURCE -I.
LDLIBS   = -l:libcares.a -lm -ldl -lpthread

# All of Lua goes in and stays visible (-E), for the C modules that scripts load.
LUA_LDLIBS   = -Wl,-E -Wl,--whole-archive -l:liblua5.4.a -Wl,--no-whole-archive

# ---- Files -----------------------------------------------------------------------------------

program  = host/main.c host/jump.c  # only the host's
core     = $(filter-out $(program),$(wildcard host/*.c))
binding  = $(wildcard bindings/*.c)
ctest    = $(wildcard tests/test_*.c tests/fuzz_*.c)
cbench   = $(wildcard tests/bench/*.c tests/bench/*/*.c)
preload  = $(wildcard tests/preload/*.c)
cfile    = $(wildcard host/*.[ch] bindings/*.[ch] tests/*.[ch] tests/bench/*.[ch] \
               tests/bench/*/*.[ch] tests/preload/*.c)
embedded = $(shell find scripts/loophost -not -name '.*' | LC_ALL=C sort)
luafile  = $(shell find scripts spec tests -name '*.lua')

object        = $(patsubst %.c,$(BUILD)/%.o,$1)
core_objects  = $(call object,$(core))
lua_objects   = $(call object,$(binding)) $(BUILD)/scripts.o
test_programs = $(patsubst %.c,$(BUILD)/%,$(ctest))
bench_programs = $(patsubst %.c,$(BUILD)/%,$(cbench))

Q = $(if $(V),,@)
say = $(if $(V),,@echo "  $1 $@")

# ---- Build -----------------------------------------------------------------------------------

.DEFAULT_GOAL = all
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/loophost $(BUILD)/loophost.so  ## build the host and the module (the default)
preloaded = $(preload:%.c=$(BUILD)/%.so)
tests: all $(test_programs) $(bench_programs) $(preloaded)  ## build the C tests and benchmarks too

# Directories are prerequisites too: a file added or removed changes its directory's time.
$(BUILD)/loophost: $(call object,$(program)) $(core_objects) $(lua_objects) host bindings
	$(call say,link)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LUA_LDLIBS) $(LDLIBS)

$(BUILD)/loophost.so: $(core_objects) $(lua_objects) host bindings
	$(call say,link)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $(filter %.o,$^) $(LDLIBS)

$(test_programs): %: %.o $(core_objects) host
	$(call say,link)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -lcmocka $(LDLIBS)

# Against the same Lua as the host, and without a test framework.
$(bench_programs): %: %.o $(core_objects) host
	$(call say,link)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LUA_LDLIBS) $(LDLIBS)

# What a test has loaded before libc, to stand in front of its functions.
$(BUILD)/tests/preload/%.so: tests/preload/%.c $(BUILD)/flags
	$(call say,preload)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -O1 -g -fPIC -fvisibility=hidden $(WARNINGS) -shared -o $@ $< -ldl

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,cc)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/scripts.o: $(BUILD)/scripts.c $(BUILD)/flags
	$(call say,cc)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/scripts.c: scripts/embed.lua $(embedded)
	$(call say,embed)
	$(Q)mkdir -p $(@D)
	$(Q)$(LUA) scripts/embed.lua $(filter scripts/loophost/%.lua,$^) >$@

# Holds the command line; touched only when it differs, and then everything is compiled anew.
$(BUILD)/flags: FORCE
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)' | cmp -s - $@ || \
	    echo '$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)' >$@

-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d $(BUILD)/tests/bench/*.d \
    $(BUILD)/tests/bench/*/*.d)

# ---- Run and test ----------------------------------------------------------------------------

# Each target that needs packages builds in a second make, after they have come.

run: deps-build                ## install what building needs, build, take the tour
	@$(MAKE) all
	$(BUILD)/loophost scripts/examples/tour.lua

test: deps-test                ## all the tests; the last line says "N passed, N failed"
	@$(MAKE) tests
	@BUILD=$(BUILD) tests/run

check: tests                   ## the quick part of the tests: C tests, and specs in the host
	@BUILD=$(BUILD) tests/run c spec

SANITIZE = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
asan: deps-test                ## the tests under the address and undefined behaviour sanitizers
	@$(MAKE) tests BUILD=$(BUILD)/asan CFLAGS_EXTRA='$(SANITIZE)'
	@BUILD=$(BUILD)/asan ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 \
	    tests/run c fuzz spec program

stress: deps-test              ## the specs with a full garbage collection at every task step
	@$(MAKE) all BUILD=$(BUILD)/stress CFLAGS_EXTRA=-DLOOPHOST_STRESS
	@BUILD=$(BUILD)/stress TIMEOUT=900 tests/run spec

MEMCHECK = valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --child-silent-after-fork=yes
valgrind: deps-lint            ## C tests under memcheck, and the specs not tagged #slow or #child
	@$(MAKE) tests
	@BUILD=$(BUILD) WRAP='$(MEMCHECK)' BUSTED_FLAGS=--exclude-tags=slow,child TIMEOUT=600 JOBS=2 \
	    tests/run c spec

bench: deps-bench              ## measure against C and the peers; ONLY=switch ROUNDS=3: a part
	@$(MAKE) tests
	@BUILD=$(BUILD) tests/bench/run
	@$(if $(ONLY),,$(BUILD)/tests/bench/process_start)

bench-check: deps-bench        # the same, and fail if a goal is missed by more than the noise
	@$(MAKE) tests
	@BUILD=$(BUILD) CHECK=1 tests/bench/run

bench-growth: deps-bench       # how the workloads grow: tests/bench/growth-*.svg
	@$(MAKE) tests
	@BUILD=$(BUILD) tests/bench/growth

bench-instructions: deps-lint  # count the hot paths' instructions; keep the figures
	@$(MAKE) tests
	@BUILD=$(BUILD) tests/bench/instructions

bench-instructions-check: deps-lint  # count them, and fail if one is 2 % off what is kept
	@$(MAKE) tests
	@BUILD=$(BUILD) tests/bench/instructions --check

# ---- Lint ------------------------------------------------------------------------------------

LINTS = format tidy cppcheck luacheck layers headers gcc clang
lint: deps-lint                ## style, static analysis, layering, both compilers with -Werror
	@$(MAKE) -k -Otarget $(LINTS:%=lint-%)

lint-format:
	clang-format --dry-run -Werror $(cfile)

# One file a run: with more, clang-tidy 14 finds uninitialised va_lists that are none.
lint-tidy:
	@echo clang-tidy
	@ls $(filter %.c,$(cfile)) | xargs -P2 -I{} \
	    sh -c 'clang-tidy --quiet {} -- -std=c11 $(CPPFLAGS) 2>/dev/null'

# redundantContinue: an empty loop says so by `continue`.  unreachableCode: cppcheck believes
# that raise() does not return; in the tests of signals it does.  unusedStructMember: the
# head of an object is used as what it is (struct l_object), not by its name.
lint-cppcheck:
	cppcheck --quiet --std=c11 --enable=warning,style,performance,portability \
	    --error-exitcode=1 --inline-suppr --suppress=missingIncludeSystem \
	    --suppress=redundantContinue --suppress='unreachableCode:tests/*' \
	    --suppress=unusedStructMember \
	    -j2 -D_GNU_SOURCE -I. $(filter %.c,$(cfile))

lint-luacheck:
	luacheck --quiet --no-color $(luafile)

# The arrows of the design: the core knows no Lua, one file may poll, and what tasks are made of
# (step.h is inlined into the loop's turns, task.h's wait into each that waits) resume and yield.
lint-layers:
	@echo layers
	@! grep -nE '# *include *[<"](lua|lauxlib|lualib|bindings/)' \
	    $(filter-out host/main.c,$(wildcard host/*.[ch]))
	@! grep -nE '\bepoll_[a-z0-9]+ *\(|struct epoll_' \
	    $(filter-out host/poller.c,$(wildcard host/*.[ch] bindings/*.[ch]))
	@! grep -nE '\blua_(resume|yieldk?) *\(' \
	    $(filter-out bindings/task.c bindings/task.h bindings/step.h, \
	        $(wildcard host/*.[ch] bindings/*.[ch]))

lint-headers:
	@echo headers compile alone
	@for h in $(wildcard host/*.h bindings/*.h); do \
	    $(CC) $(CPPFLAGS) $(WARNINGS) -fsyntax-only -x c -include $$h /dev/null || exit 1; done

lint-gcc lint-clang: lint-%:
	@echo $* -Werror
	@$(MAKE) -s tests BUILD=$(BUILD)/$* CC=$* WERROR=1

fmt:                           ## reformat the C files in place
	clang-format -i $(cfile)

# ---- Packages, installation, the rest --------------------------------------------------------

deps: deps-lint                ## install every package that some target needs
deps-build deps-test deps-lint deps-bench: deps-%:
	@.ci/deps $(PACKAGES_$*)

D = $(DESTDIR)$(PREFIX)
install: all                   ## install below PREFIX (/usr/local); honours DESTDIR
	install -D -m755 $(BUILD)/loophost $(D)/bin/loophost
	install -D -m644 $(BUILD)/loophost.so $(D)/lib/lua/5.4/loophost.so
	install -D -m644 -t $(D)/share/doc/loophost LICENSE README.md

uninstall:                     ## remove what install put there
	rm -rf $(D)/bin/loophost $(D)/lib/lua/5.4/loophost.so $(D)/share/doc/loophost

clean:                         ## remove all that was built
	rm -rf $(BUILD)

help:                          ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t14

.PHONY: all tests run test check asan stress valgrind bench bench-check bench-growth \
    bench-instructions bench-instructions-check lint fmt deps deps-build deps-test deps-lint \
    deps-bench install uninstall clean help FORCE $(LINTS:%=lint-%)
