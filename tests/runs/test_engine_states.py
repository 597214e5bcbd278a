"""The state machine under every mischief that Hypothesis thinks of: rings lost and doubled, workers that die, freeze and
come back, wishes at any moment. The world here is a dictionary; the same functions drive SQL."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, precondition, rule

from webapp.runs import states
from webapp.runs.states import Ending, Row
from worker.spec import Exit, Wish

WISHES = st.sampled_from([Wish.PAUSE, Wish.FINISH, Wish.PAUSE, Wish.FINISH, Wish.CANCEL])
CRASHES = st.sampled_from(["crash", "stalled", "start_timeout", "out_of_memory", "disk_full", "damaged"])


@dataclass
class Holder:
    """A supervisor with its trainer, as it believes itself to be."""

    fence: int
    step: int
    started_from: int
    is_ready: bool = False


class World(RuleBasedStateMachine):
    """Steps 1 to 10, checkpoints wherever a rule makes one."""

    holders = Bundle("holders")
    STEPS = 10

    @initialize()
    def submit(self):
        self.row = Row()
        self.checkpoint = 0
        self.curve = []  # (fence, step) as SQL would hold them
        self.resumed = {}  # fence -> step it went on from
        self.attempts = {}  # fence -> outcome, or None while open
        self.results = []
        self.current = None
        self.cancelled_by_people = False

    def apply(self, change):
        """The compare-and-swap of Run.move, without a race."""
        if change is None:
            return False
        if change.outcome:
            assert self.attempts[self.row.fence] is None
            self.attempts[self.row.fence] = change.outcome
        known = {name: value for name, value in change.fields.items() if name in Row.__dataclass_fields__}
        self.row = Row(**{**self.row.__dict__, "state": change.state, **known})
        return True

    @rule(target=holders, times=st.integers(1, 3))
    def ring(self, times):
        """Messages, lost or doubled, are all the same: whoever looks, claims, and only the first one gets it."""
        claims = [self.apply(states.claim(self.row)) for _ in range(times)]
        assert sum(claims) <= 1
        if not any(claims):
            return multiple()
        fence = self.row.fence
        assert all(fence > earlier for earlier in self.attempts), "a fence must be new"
        self.attempts[fence] = None
        self.current = Holder(fence, self.checkpoint, self.checkpoint)
        return self.current

    @rule(holder=holders)
    def begin(self, holder):
        if not holder.is_ready and self.apply(states.ready(self.row, holder.fence)):
            assert holder is self.current
            holder.is_ready = True
            self.resumed[holder.fence] = holder.started_from

    @rule(holder=holders, steps=st.integers(1, 4))
    def train(self, holder, steps):
        """Also a zombie trains on: what it writes must not count."""
        if not holder.is_ready:
            return
        for _ in range(min(steps, self.STEPS - holder.step)):
            holder.step += 1
            if states.held(self.row, holder.fence):
                assert holder is self.current, "a zombie wrote"
                self.curve.append((holder.fence, holder.step))

    @rule(holder=holders)
    def save(self, holder):
        if holder.is_ready and self.apply(states.saved(self.row, holder.fence)):
            assert holder is self.current
            self.checkpoint = holder.step

    @rule(holder=holders)
    def finish(self, holder):
        if holder.step < self.STEPS:
            return
        if self.apply(states.finalize(self.row, holder.fence)) and self.apply(states.succeed(self.row, holder.fence)):
            self.results.append(holder.fence)

    @rule(holder=consumes(holders), kind=CRASHES)
    def crash(self, holder, kind):
        ended = states.end(self.row, holder.fence, Ending(kind, "It broke.", progressed=self.checkpoint > holder.started_from))
        assert not self.apply(ended) or holder is self.current

    @rule(holder=consumes(holders))
    def leave(self, holder):
        """Obeys the wish, or its worker is drained."""
        assert not self.apply(states.end(self.row, holder.fence, Ending("stopped"))) or holder is self.current

    @precondition(lambda self: self.row.state in states.LEASED)
    @rule()
    def lease_runs_out(self):
        """The holder froze or its machine is gone; it may come back later as a zombie."""
        fence = self.row.fence
        assert self.apply(states.lost(self.row, fence, progressed=self.checkpoint > self.current.started_from))
        assert not states.held(self.row, fence)

    @rule(wish=WISHES)
    def people_wish(self, wish):
        before = self.row.state
        if self.apply(states.want(self.row, wish)) and wish == Wish.CANCEL:
            self.cancelled_by_people = True
        assert before not in states.TERMINAL or self.row.state == before

    @rule()
    def people_resume(self):
        self.apply(states.resume(self.row))

    @invariant()
    def one_attempt_is_open_exactly_while_leased(self):
        if hasattr(self, "row"):
            still_open = [fence for fence, outcome in self.attempts.items() if outcome is None]
            assert still_open == ([self.row.fence] if self.row.state in states.LEASED else [])

    @invariant()
    def at_most_one_result_and_only_of_a_success(self):
        if hasattr(self, "row"):
            assert len(self.results) == (self.row.state == states.SUCCEEDED)

    @invariant()
    def each_step_stands_once_in_the_curve_and_none_is_missing(self):
        if not hasattr(self, "row"):
            return
        seen = [s for f, s in self.curve if all(s <= step for fence, step in self.resumed.items() if fence > f)]
        assert seen == sorted(set(seen))
        if self.row.state == states.SUCCEEDED:
            assert seen == list(range(1, self.STEPS + 1))

    @invariant()
    def budgets_hold(self):
        if hasattr(self, "row"):
            assert self.row.attempts_total <= states.MOST_ATTEMPTS
            assert self.row.attempts_fruitless <= states.MOST_FRUITLESS
            assert self.row.oom_replans <= states.MOST_REPLANS
            assert self.row.state != states.CANCELLED or self.cancelled_by_people

    def teardown(self):
        """Whatever happened: with one honest worker from here on, the run ends, as promised (an accepted run is never lost)."""
        if not hasattr(self, "row"):
            return
        if self.row.state == states.PAUSED:
            self.apply(states.resume(self.row))
        if self.row.state in states.LEASED:
            self.apply(states.lost(self.row, self.row.fence, progressed=True))
        if self.row.state == states.PAUSED:
            self.apply(states.resume(self.row))
        if self.row.state in states.WAITING:
            assert self.apply(states.claim(self.row))
            self.attempts[self.row.fence] = None
            fence = self.row.fence
            assert self.apply(states.ready(self.row, fence))
            assert self.apply(states.finalize(self.row, fence))
            assert self.apply(states.succeed(self.row, fence))
        assert self.row.state in states.TERMINAL


World.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
test_no_schedule_breaks_a_run = World.TestCase


def test_a_stronger_wish_wins_and_a_weaker_one_changes_nothing():
    row = Row(state=states.RUNNING, fence=1)
    pausing = Row(state=states.RUNNING, fence=1, desired=Wish.PAUSE)
    assert states.want(row, Wish.PAUSE).fields["desired"] == Wish.PAUSE
    assert states.want(pausing, Wish.CANCEL).fields["desired"] == Wish.CANCEL
    assert states.want(Row(state=states.RUNNING, fence=1, desired=Wish.CANCEL), Wish.PAUSE) is None


def test_the_wait_doubles_up_to_ten_minutes():
    first = states.end(Row(state=states.RUNNING, fence=1, attempts_total=1), 1, Ending("crash"))
    second = states.end(Row(state=states.RUNNING, fence=2, attempts_total=2, attempts_fruitless=1), 2, Ending("crash"))
    assert (first.delay_s, second.delay_s) == (10, 20)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Exit.USER_DATA, "user_data"),
        (Exit.OUT_OF_MEMORY, "out_of_memory"),
        (Exit.STOPPED, "stopped"),
        (Exit.DAMAGED, "damaged"),
        (1, "crash"),
        (-9, "crash"),
        (0, "crash"),
    ],
)
def test_an_exit_status_says_why(status, kind):
    assert states.ending_of(int(status)).kind == kind


def test_a_library_that_aborts_for_want_of_memory_is_told_as_such_and_is_no_crash():
    for words in ("memory allocation of 9663676416 bytes failed", "terminate called after throwing an instance of 'std::bad_alloc'"):
        ending = states.ending_of(-6, words)
        assert (ending.kind, ending.text) == ("out_of_memory", "Ran out of memory.") and "TRAIN_MEMORY" in ending.remedy


def test_what_ran_out_of_memory_before_its_first_batch_is_not_tried_again():
    row = Row(state=states.STARTING, fence=1, attempts_total=1)
    assert states.end(row, 1, Ending("out_of_memory")).state == states.RETRY_WAIT
    assert states.end(row, 1, Ending("out_of_memory", is_final=True)).state == states.FAILED


def test_a_killed_trainer_names_the_likely_cause():
    assert "memory" in states.ending_of(-9).reason
    assert "ValueError: no" in states.ending_of(1, "Traceback\nValueError: no").reason
