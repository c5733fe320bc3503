"""Random programs, dense in races.

A program is a dictionary:
    seed, entry (how it is run: runner, run, loop, forever), options (for loophost alone),
    vars [[name, default]], objects [{o, kind, n, lock}],
    funcs {name: {body, watch}}, mains [names of functions].
A body is a list of statements {k: kind, i: number, ...}; what each kind means
is said where it is run (now.py, waits.py). A function calls only functions
that come after it, and loops are short: every program ends.

Few slots, few objects and few distinct delays make the tasks of a program
meet; each program has a theme, so that what it is about happens often.
"""

import random

DELAYS = [0, 0, 125, 125, 250, 250, 500, 1000]
SLOTS = ["S0", "S1", "S2", "S3", "S4"]
MODES = ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]

BASIC = {"log": 3, "sleep": 9, "yield": 7, "spawn": 6, "cancel": 6, "status": 2,
         "await": 6, "try": 9, "raise": 2, "ret": 0.5, "chain": 2, "call": 2,
         "loop": 1, "gc": 1, "uncancel": 1, "cancelling": 2, "soon": 2,
         "later": 2, "alltasks": 1, "hcancel": 1, "raise_cancel": 0.3, "gen": 1}

THEMES = {
    "scopes": {"group": 7, "gspawn": 7, "timeout": 7, "resched": 3, "xinfo": 1,
               "wait_for": 3, "shield": 1, "raise": 2, "cancelling": 2},
    "groups": {"group": 9, "gspawn": 12, "raise": 4, "cancelling": 3},
    "waits": {"gather": 5, "wait": 5, "ascomp": 5, "shield": 5, "wait_for": 5,
              "newfut": 3, "setres": 3, "setexc": 2},
    "futures": {"newfut": 7, "setres": 7, "setexc": 4, "addcb": 7, "rmcb": 3,
                "shield": 3, "wait_for": 3, "await": 8, "gather": 3},
    "handles": {"soon": 5, "later": 7, "at": 5, "hcancel": 7, "hinfo": 5, "chain": 5,
                "stop": 0.2},
    "locks": {"with": 12, "acquire": 1, "release": 1, "locked": 2, "timeout": 3},
    "conditions": {"cond": 9, "notify": 4, "count": 4, "timeout": 3},
    "events": {"ewait": 9, "eset": 5, "eclear": 3, "einfo": 2, "timeout": 2},
    "semaphores": {"with": 9, "acquire": 4, "release": 4, "locked": 2, "timeout": 2},
    "barriers": {"bwait": 12, "breset": 3, "babort": 1, "binfo": 2, "timeout": 2},
    "queues": {"put": 9, "get": 9, "putn": 3, "getn": 3, "tdone": 5, "join": 3,
               "qinfo": 2, "qshut": 1.5, "timeout": 2, "wait_for": 2},
    "contexts": {"cvget": 9, "cvset": 5, "cvwith": 5, "group": 2, "gather": 2,
                 "soon": 3, "addcb": 2},
    "everything": {"group": 3, "gspawn": 3, "timeout": 3, "resched": 1, "gather": 2,
                   "wait": 2, "ascomp": 2, "shield": 2, "wait_for": 3, "newfut": 2,
                   "setres": 2, "setexc": 1, "addcb": 2, "rmcb": 1, "with": 3,
                   "cond": 2, "ewait": 2, "eset": 2, "bwait": 1, "put": 2, "get": 2,
                   "tdone": 1, "join": 1, "cvget": 1, "cvset": 1, "notify": 1,
                   "qshut": 0.5, "at": 1, "release": 0.5, "eclear": 1},
}

THEME_FACTOR = 2

OBJECTS = {
    "locks": ["Lock", "Lock"],
    "conditions": ["Lock", "Condition", "Condition"],
    "events": ["Event", "Event"],
    "semaphores": ["Semaphore", "BoundedSemaphore"],
    "barriers": ["Barrier"],
    "queues": ["Queue", "PriorityQueue", "LifoQueue"],
    "everything": ["Lock", "Event", "Condition", "Semaphore", "Barrier", "Queue"],
}

# What a callback may do: the statements that never wait.
SYNC = {"log": 1, "spawn": 2, "cancel": 8, "status": 1, "raise": 1, "setres": 3,
        "setexc": 1, "uncancel": 0.5, "soon": 1, "later": 1, "hcancel": 1,
        "gspawn": 1, "resched": 1, "eset": 2, "eclear": 1, "putn": 2, "getn": 1,
        "tdone": 1, "qshut": 0.5, "release": 1, "notify": 1, "cvset": 0.5,
        "cvget": 0.5, "rmcb": 0.5, "addcb": 0.5, "chain": 0.5, "gc": 0.3,
        "raise_cancel": 0.2, "stop": 0.1}

# What may stand in a generator of the script's own.
SIMPLE = {"sleep": 5, "yield": 3, "await": 3, "log": 1, "cancel": 1, "raise": 0.5,
          "ewait": 2, "put": 2, "get": 2, "acquire": 0.5, "wait_for": 1}

NEEDS = {
    "with": ("Lock", "Condition", "Semaphore", "BoundedSemaphore"),
    "acquire": ("Lock", "Condition", "Semaphore", "BoundedSemaphore"),
    "release": ("Lock", "Condition", "Semaphore", "BoundedSemaphore"),
    "locked": ("Lock", "Condition", "Semaphore", "BoundedSemaphore"),
    "cond": ("Condition",), "notify": ("Condition",),
    "cwait": ("Condition",), "cwaitfor": ("Condition",),
    "ewait": ("Event",), "eset": ("Event",), "eclear": ("Event",), "einfo": ("Event",),
    "bwait": ("Barrier",), "breset": ("Barrier",), "babort": ("Barrier",),
    "binfo": ("Barrier",),
}
for _kind in ("put", "get", "putn", "getn", "tdone", "join", "qinfo", "qshut"):
    NEEDS[_kind] = ("Queue", "PriorityQueue", "LifoQueue")

# Waits that others must end; half of them get a timeout around them.
OPEN_ENDED = ("ewait", "bwait", "put", "get", "join", "acquire", "cwait",
              "cwaitfor", "await", "with")


BODIES = ("body", "handler", "finally")


def walk(body):
    """Every statement in a body, outer ones first."""
    for st in body:
        yield st
        for field in BODIES:
            yield from walk(st.get(field) or [])


# Whom these wake may be cancelled in the same turn: the classic races.
WAKES = ("putn", "put", "getn", "get", "eset", "setres", "setexc", "notify", "release",
         "with", "cond", "tdone", "qshut", "resched", "uncancel")
MEETINGS = ("with", "acquire", "cond", "ewait", "bwait", "get", "get", "put")
STRIKES = ("putn", "putn", "getn", "eset", "eclear", "setres", "notify", "release", "release",
           "tdone", "qshut", "resched", "uncancel", "hcancel", "spawn")


# What often raises; most programs go on after it.
MAY_FAIL = ("await", "call", "gather", "wait_for", "shield", "ascomp", "raise", "group",
            "timeout", "get", "put", "bwait", "raise_cancel", "gen", "with", "cond")


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.seed = seed
        self.statements = 0
        self.callbacks = 0
        self.budget = 0

    # --- choices

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, items):
        return self.random.choice(items)

    def delay(self):
        return -125 if self.chance(0.02) else self.pick(DELAYS)

    def message(self):
        return self.pick(["a", "b", "c"]) if self.chance(0.4) else None

    def slot(self):
        return "M" if self.chance(0.025) else self.pick(SLOTS)

    def object_for(self, kind):
        return self.pick(self.by_kind[kind])

    def later_function(self):
        return self.pick(self.names[self.level + 1:])

    def item(self):
        if self.level + 1 < len(self.names) and self.chance(0.5):
            return {"f": self.later_function()}
        return {"s": self.slot()}

    def items(self, smallest):
        items = [self.item() for _ in range(self.random.randint(smallest, 4))]
        if items and self.chance(0.15):
            items.append(self.pick(items))
        return items

    def possible(self, weights):
        """The kinds for which there are objects and functions."""
        last = self.level + 1 >= len(self.names)

        def usable(kind):
            if kind in NEEDS:
                return bool(self.by_kind.get(kind))
            if kind in ("spawn", "gspawn", "call"):
                return not last
            return True
        return {kind: weight for kind, weight in weights.items() if usable(kind)}

    def kind(self, weights):
        return self.random.choices(list(weights), list(weights.values()))[0]

    # --- the parts of a program

    def program(self):
        themes = self.random.sample(list(THEMES), self.pick([1, 1, 2, 2, 3]))
        self.weights = dict(BASIC)
        for theme in themes:
            for kind, weight in THEMES[theme].items():
                self.weights[kind] = self.weights.get(kind, 0) + THEME_FACTOR * weight
        self.objects(themes)
        entry = self.pick(["runner", "runner", "run", "loop", "loop", "forever"])
        mains = 2 if self.chance(0.15) and entry != "run" else 1
        self.names = [f"main{n}" for n in range(mains)]
        self.names += [f"f{n}" for n in range(self.random.randint(2, 6))]
        funcs = {}
        for self.level, name in enumerate(self.names):
            is_main = name.startswith("main")
            self.level = max(self.level, mains - 1)
            self.budget = self.random.randint(10, 35) if is_main else self.random.randint(4, 18)
            body = self.opening() if is_main else self.meeting()
            body += self.block(self.weights, 0, self.random.randint(3, 8))
            if is_main and self.chance(0.7):
                body = [self.swallow(self.pick(["error", "all"]), body)]
                body.append(self.make("sleep", d=self.pick([125, 500, 2000]), form=0))
            funcs[name] = {"body": body, "watch": self.chance(0.6)}
        return {
            "seed": self.seed,
            "entry": entry,
            "options": self.options(),
            "vars": [["V0", 0], ["V1", None]],
            "objects": self.specs,
            "funcs": funcs,
            "mains": self.names[:mains],
        }

    def options(self):
        return {
            "debug": self.chance(0.1),
            "trace": self.chance(0.1),
            "subclass": self.chance(0.2),
        }

    def objects(self, themes):
        kinds = []
        for theme in themes:
            some = OBJECTS.get(theme, [])
            if theme != "everything" and len(set(some)) > 1 and self.chance(0.6):
                some = [self.pick(some)]
            kinds += some
        if any(theme in ("locks", "everything") for theme in themes) and self.chance(0.5):
            kinds.insert(0, "Lock")
        self.specs = []
        for number, kind in enumerate(sorted(kinds, key=lambda kind: kind != "Lock")):
            spec = {"o": f"O{number}", "kind": kind, "n": self.pick([1, 1, 2, 3])}
            if kind.endswith("Queue"):
                spec["n"] = self.pick([0, 1, 1, 2])
            if kind == "Barrier":
                spec["n"] = self.pick([1, 2, 2, 3])
            locks = [each["o"] for each in self.specs if each["kind"] == "Lock"]
            if kind == "Condition" and locks and self.chance(0.5):
                spec["lock"] = self.pick(locks)
            self.specs.append(spec)
        self.by_kind = {
            kind: [spec["o"] for spec in self.specs if spec["kind"] in wanted]
            for kind, wanted in NEEDS.items()}

    def opening(self):
        """A main starts some tasks, often the same ones: they meet."""
        functions = [self.later_function() for _ in range(self.pick([1, 1, 2, 5]))]
        body = [self.make("spawn", s=slot, f=self.pick(functions))
                for slot in self.random.sample(SLOTS, self.random.randint(2, 5))]
        if self.chance(0.3):
            body.append(self.make("newfut", s=self.pick(SLOTS)))
        return body

    def meeting(self):
        """Many functions begin where others of their kind wait as well."""
        waits = self.possible({kind: 1 for kind in MEETINGS})
        if not waits or self.chance(0.5):
            return []
        return [self.statement(self.kind(waits), 3)]

    def strike(self, depth):
        """Wake somebody and cancel somebody, before either could run."""
        wakes = self.possible({kind: 1 for kind in STRIKES})
        body = [self.statement(self.kind(wakes), depth + 5)
                for _ in range(self.random.randint(1, 3))]
        body += [self.st_cancel(depth) for _ in range(self.random.randint(1, 2))]
        self.random.shuffle(body)
        return [self.make("sleep", d=self.pick(DELAYS), form=0), *body]

    def block(self, weights, depth, length=None):
        if length is None:
            length = self.random.randint(1, 4)
        body = []
        weights = self.possible(weights)
        for _ in range(length):
            if self.budget <= 0:
                break
            self.budget -= 1
            if self.chance(0.04):
                body += self.strike(depth)
                continue
            kind = self.kind(weights)
            if depth >= 4 and kind in ("try", "group", "timeout", "loop", "with", "cond",
                                       "cvwith", "gen"):
                kind = "sleep"
            made = [self.statement(kind, depth)]
            if kind in WAKES and self.chance(0.5):
                made.insert(self.pick([0, 1]), self.st_cancel(depth))
            body += made
        return body or [self.make("yield", bare=False)]

    def sync_block(self):
        weights = self.possible(SYNC)
        body = []
        while self.budget > 0 and len(body) < 3 and self.chance(0.75):
            self.budget -= 0.5
            body.append(self.statement(self.kind(weights), 9))
        return body

    def make(self, kind, **fields):
        self.statements += 1
        return {"k": kind, "i": self.statements, **fields}

    def statement(self, kind, depth):
        statement = getattr(self, "st_" + kind, None)
        if statement is not None:
            made = statement(depth)
        elif kind in NEEDS:
            made = self.make(kind, o=self.object_for(kind))
        else:
            made = self.make(kind)
        if kind in OPEN_ENDED and self.chance(0.4):
            made = self.guarded(made)
        if kind in MAY_FAIL and depth < 9 and self.chance(0.4 if depth else 0.7):
            made = self.swallow("all" if self.chance(0.3) else "error", [made])
        return made

    def swallow(self, on, body):
        return self.make("try", on=on, form=0, body=body, handler=[], then="swallow",
                         **{"finally": None})

    def guarded(self, statement):
        """Not to wait for ever: a timeout, and perhaps somebody who catches."""
        made = self.make("timeout", x=self.pick(["X0", "X1"]), d=self.pick([0, 125, 500, 1000]),
                         at=False, body=[statement])
        return self.swallow("error", [made]) if self.chance(0.5) else made

    # --- one method for each kind that has fields of its own

    def st_sleep(self, _):
        return self.make("sleep", d=self.delay(), form=self.pick([0, 0, 1, 2, 3]))

    def st_yield(self, _):
        return self.make("yield", bare=self.chance(0.3))

    def st_raise(self, _):
        return self.make("raise", msg=self.pick("uvw"))

    def st_raise_cancel(self, _):
        return self.make("raise_cancel", msg=self.pick("uvw"))

    def st_ret(self, _):
        return self.make("ret", v=self.random.randint(100, 999))

    def st_count(self, _):
        return self.make("count", c="C0", n=1)

    def st_spawn(self, _):
        return self.make("spawn", s=self.pick(SLOTS), f=self.later_function())

    def st_gspawn(self, _):
        return self.make("gspawn", g=self.pick(["G0", "G0", "G1"]), s=self.pick(SLOTS),
                         f=self.later_function())

    def st_call(self, _):
        return self.make("call", f=self.later_function(), form=self.pick([0, 1]))

    def st_newfut(self, _):
        return self.make("newfut", s=self.pick(SLOTS))

    def st_setres(self, _):
        return self.make("setres", s=self.slot(), v=self.random.randint(10, 99))

    def st_setexc(self, _):
        return self.make("setexc", s=self.slot(), msg=self.pick("xyz"))

    def st_cancel(self, _):
        return self.make("cancel", s=self.slot(), msg=self.message())

    def st_uncancel(self, _):
        return self.make("uncancel", s=self.slot())

    st_cancelling = lambda self, _: self.make("cancelling", s=self.slot())
    st_status = lambda self, _: self.make("status", s=self.slot())
    st_await = lambda self, _: self.make("await", s=self.slot())

    def st_addcb(self, _):
        self.callbacks += 1
        return self.make("addcb", s=self.slot(), cb=f"D{self.callbacks % 4}",
                         body=self.sync_block())

    def st_rmcb(self, _):
        return self.make("rmcb", s=self.slot(), cb=f"D{self.random.randint(0, 3)}")

    def handle(self):
        return self.pick(["H0", "H1", "H2"])

    def st_soon(self, _):
        return self.make("soon", h=self.handle(), body=self.sync_block())

    def st_later(self, _):
        return self.make("later", h=self.handle(), d=self.delay(), body=self.sync_block())

    def st_at(self, _):
        return self.make("at", h=self.handle(), d=self.delay(), body=self.sync_block())

    def st_chain(self, _):
        return self.make("chain", n=self.random.randint(1, 5), body=self.sync_block())

    st_hcancel = lambda self, _: self.make("hcancel", h=self.handle())
    st_hinfo = lambda self, _: self.make("hinfo", h=self.handle())

    def st_resched(self, _):
        return self.make("resched", x=self.pick(["X0", "X1"]),
                         d=None if self.chance(0.1) else self.delay())

    st_xinfo = lambda self, _: self.make("xinfo", x=self.pick(["X0", "X1"]))
    st_cvget = lambda self, _: self.make("cvget", v=self.pick(["V0", "V1"]))

    def st_cvset(self, _):
        return self.make("cvset", v=self.pick(["V0", "V1"]), val=self.random.randint(1, 9))

    def st_cvwith(self, depth):
        return self.make("cvwith", v=self.pick(["V0", "V1"]), val=self.random.randint(1, 9),
                         body=self.block(self.weights, depth + 1))

    def st_notify(self, _):
        return self.make("notify", o=self.object_for("notify"), n=self.pick([1, 2, "all"]))

    def st_cond(self, depth):
        """A condition is used with its lock held."""
        name = self.object_for("cond")
        body = [self.pick([self.make("cwait", o=name), self.make("cwait", o=name),
                           self.make("cwaitfor", o=name, c="C0", n=self.random.randint(1, 4)),
                           self.make("notify", o=name, n=self.pick([1, 2, "all"]))])]
        if self.chance(0.4):
            body = [self.guarded(body[0])]
        if self.chance(0.5):
            body[:0] = [self.st_count(depth)]
        if self.chance(0.5):
            body += self.block(self.weights, depth + 2, 1)
        return self.make("with", o=name, body=body)

    def st_with(self, depth):
        return self.make("with", o=self.object_for("with"),
                         body=self.block(self.weights, depth + 1, self.random.randint(1, 2)))

    def st_putn(self, _):
        return self.make("putn", o=self.object_for("putn"), v=self.random.randint(1, 9))

    def st_put(self, _):
        return self.make("put", o=self.object_for("put"), v=self.random.randint(1, 9))

    def st_qshut(self, _):
        return self.make("qshut", o=self.object_for("qshut"), now=self.chance(0.5))

    def st_loop(self, depth):
        return self.make("loop", n=self.random.randint(2, 3),
                         body=self.block(self.weights, depth + 1, 2))

    def st_gen(self, _):
        """There a bare yield would be the generator's own, so nothing that may
        yield is called from there."""
        body = self.block(SIMPLE, 9)
        for st in walk(body):
            if "item" in st:
                st["item"] = {"s": self.slot()}
            if st["k"] == "sleep" and st["form"] == 2:
                st["form"] = 0
            elif st["k"] == "yield":
                st["bare"] = False
        return self.make("gen", body=body)

    def st_try(self, depth):
        on = self.pick(["error", "error", "cancel", "all", None])
        final = self.chance(0.4) or on is None
        return self.make(
            "try", on=on, form=self.pick([0, 1]),
            body=self.block(self.weights, depth + 1),
            handler=self.block(self.weights, depth + 2, 2) if on and self.chance(0.6) else [],
            then=self.pick(["swallow", "swallow", "reraise", "uncancel"]),
            **{"finally": self.without_ret(self.block(self.weights, depth + 2, 2))
               if final else None})

    def without_ret(self, body):
        """A `<close>` variable cannot return from the function around it."""
        return [st for st in body if st["k"] != "ret"] or [self.make("yield", bare=False)]

    def st_group(self, depth):
        body = self.block(self.weights, depth + 1)
        for _ in range(self.random.randint(0, 3)):
            if self.level + 1 < len(self.names):
                body.insert(self.random.randint(0, len(body)), self.st_gspawn(depth))
        return self.make("group", g=self.pick(["G0", "G0", "G1"]), body=body)

    def st_timeout(self, depth):
        at = self.chance(0.3)
        d = self.delay() if at or self.chance(0.95) else None
        return self.make("timeout", x=self.pick(["X0", "X1"]), d=d, at=at,
                         body=self.block(self.weights, depth + 1))

    def st_wait_for(self, _):
        return self.make("wait_for", item=self.item(),
                         d=None if self.chance(0.1) else self.delay())

    def st_shield(self, _):
        return self.make("shield", s=self.pick(SLOTS), item=self.item())

    def st_gather(self, _):
        return self.make("gather", items=self.items(0), re=self.chance(0.4))

    def st_wait(self, _):
        return self.make("wait", items=self.items(1), mode=self.pick(MODES),
                         d=self.delay() if self.chance(0.4) else None)

    def st_ascomp(self, _):
        return self.make("ascomp", items=self.items(0), each=self.chance(0.6),
                         d=self.delay() if self.chance(0.4) else None,
                         n=self.random.randint(1, 4))


def generate(seed):
    return Generator(seed).program()
