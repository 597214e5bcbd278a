"""The words that the web, the supervisor and the trainer share. Standard library only; every value checks itself."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # no tab, no line break; half characters too
UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


def storable(value: Any) -> Any:
    """`value` without NUL and half characters, which PostgreSQL's JSON does not take."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(name): storable(part) for name, part in value.items()}
    return [storable(part) for part in value] if isinstance(value, list) else value


def gettext_noop(text: str) -> str:
    """Marks a sentence for translation; whoever shows it translates it."""
    return text


class Method(StrEnum):
    """How a base model is changed."""

    FULL = "full"
    LORA = "lora"
    QUICK = "quick"


class Exit(IntEnum):
    """Exit status of the trainer process: why it ended (reliability section 4.4, T9)."""

    DONE = 0
    CRASHED = 1  # an error nobody foresaw: tried again, not for ever
    USER_DATA = 42  # the rows or settings cannot be trained on; never retried
    OUT_OF_MEMORY = 43  # the supervisor halves the batch and tries again
    DISK_FULL = 44
    UNSAFE_MODEL = 45  # pickle weights, remote code
    DAMAGED = 46  # the checkpoint to go on from does not verify: try the one before
    STOPPED = 75  # asked to stop (cancel, pause, drain), checkpoint written


class Wish(StrEnum):
    """What the supervisor wants of a running trainer, one JSON line {"wish": ...} on its standard input."""

    RUN = "run"
    PAUSE = "pause"  # checkpoint, then leave
    FINISH = "finish"  # stop here, keep the best, evaluate, done
    CANCEL = "cancel"  # leave at the next step boundary


class SpecError(ValueError):
    """A setting is out of range; `field` names it."""

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(message)
        self.field = field_name


class Trouble(Exception):
    """Training cannot go on, and a person can do something about it: what happened, and the remedy."""

    def __init__(self, code: str, text: str, remedy: str, status: Exit = Exit.USER_DATA) -> None:
        super().__init__(text)
        self.code, self.text, self.remedy, self.status = code, text, remedy, status


@dataclass(frozen=True)
class Setting:
    """One hyperparameter: drawn by the run form, checked by `read`, carried by `RunSpec.settings`."""

    name: str
    label: str
    default: Any
    help: str
    unit: str = ""
    kind: str = "float"  # float | int | choice | bool | text
    least: float | None = None
    most: float | None = None  # of a text: characters
    choices: tuple[tuple[str, str], ...] = ()
    methods: tuple[str, ...] = ()  # empty: every method knows it
    shapes: tuple[str, ...] = ()  # kinds of base model that know it (worker.nlp.families); empty: all of them
    advanced: bool = True
    needs: tuple[str, float] | None = None  # (another parameter, its least value) without which this one does nothing
    within: str = ""  # another parameter that this one cannot exceed
    defaults: dict[str, Any] = field(default_factory=dict)  # default by method where it differs

    def default_for(self, method: str) -> Any:
        return self.defaults.get(method, self.default)

    def read(self, value: Any) -> Any:
        """`value` as this setting's type. Raises SpecError with a sentence."""
        if self.kind == "bool":
            return value if isinstance(value, bool) else str(value).lower() in {"1", "true", "on", "yes"}
        if self.kind == "text":
            if not isinstance(value, str) or (self.most is not None and len(value) > self.most) or CONTROL.search(value):
                raise SpecError(self.name, f"{self.label} must be a text of at most {self.most:g} characters, none a control character.")
            return value
        if self.kind == "choice":
            if value not in [c for c, _ in self.choices]:
                raise SpecError(self.name, f"{self.label} must be one of {', '.join(c for c, _ in self.choices)}.")
            return value
        try:
            number = int(str(value)) if self.kind == "int" else float(str(value))
        except ValueError:
            whole = "a whole number" if self.kind == "int" else "a number"
            raise SpecError(self.name, f"{self.label} must be {whole}.") from None
        if number != number or (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            least, most = (f"{bound:,}" if isinstance(bound, int) else f"{bound:g}" for bound in (self.least, self.most))
            raise SpecError(self.name, f"{self.label} must lie between {least} and {most}.")
        return number


@dataclass(frozen=True)
class Field:
    """One input that a playground shows. It is called as the role whose texts the model has learnt from."""

    name: str
    label: str
    long: bool = False
    most_chars: int = 100_000
    required: bool = True
    hint: str = ""  # what to write, shown while it is empty


@dataclass(frozen=True)
class Role:
    """One column that a task needs from a file. `name` is the column's name in a version's Parquet file."""

    name: str
    label: str
    required: bool = True
    kind: str = "text"  # text | label (a small set of values: histogram, stratified split) | number | data (JSON that the task reads)
    hints: tuple[str, ...] = ()  # lower-case column names that suggest this role
    language: bool = False  # a column named after a language ("en", "Deutsch") suggests it; the roles of a pair in their order
    shorter: bool = False  # its texts are much shorter than those of the key role, as a summary is
    leads: tuple[str, ...] = ()  # lower-case names of columns that often stand before it in one text, as a title does
    follows: tuple[str, ...] = ()  # of columns that belong behind it, as Alpaca's input behind its instruction
    without: str = ""  # a role beside which this one means nothing
    is_key: bool = False  # rows with the same value here stay on one side of the split
    takes_records: bool = False  # a cell may hold chat messages or a list as JSON; of any other text that is a doubt
    help: str = ""  # one sentence for the mapping page

    @property
    def is_label(self) -> bool:
        return self.kind == "label"


class Recipe(NamedTuple):
    """A way to train that a task offers."""

    method: str  # a Method
    title: str
    about: str  # when to take it
    shapes: tuple[str, ...] = ()  # kinds of base model for which it works; empty: all that the task takes


class Metric(NamedTuple):
    """A number that says how good a model is. A share is kept from 0 to 1 and shown times 100; a plain number as it is."""

    name: str
    title: str
    about: str  # its meaning in one line
    unit: str = "share"  # share | number
    less_is_better: bool = False

    def shown(self, value: float) -> str:
        """As people read it: 75.3 for a share of 0.753, a number as it is."""
        if self.unit == "share":
            return f"{100 * value:.1f}"
        return f"{value:,.{2 if abs(value) < 10 else 1}f}"

    def ahead(self, value: float, other: float) -> float:
        """By how much `value` is better than `other`, both as they are shown: whoever subtracts what stands there gets the same.
        Below zero where it is worse."""
        shown, beside = (float(self.shown(each).replace(",", "")) for each in (value, other))
        return round(beside - shown if self.less_is_better else shown - beside, 2)


@dataclass(frozen=True)
class RunSpec:
    """Everything a trainer needs to know, whole: written as JSON, checked on reading. Paths are absolute."""

    run: str
    fence: int
    task: str
    method: str
    base: str  # folder with config.json, *.safetensors, tokenizer files
    data: str  # Parquet file with columns _row, _split and the task's roles
    data_sha256: str
    out: str  # folder of this run; attempts write below out/<fence>/
    settings: dict[str, Any]
    labels: tuple[str, ...] = ()
    base_name: str = ""  # as people call it; empty: as its folder does
    resume: str = ""  # folder of a committed checkpoint, or empty
    resume_sha256: str = ""  # of its manifest
    threads: int = 1
    device: str = "auto"  # auto | cpu | cuda
    lease_s: float = 90.0  # the trainer stops by itself when not renewed for so long

    def __post_init__(self) -> None:
        if self.method not in list(Method):
            raise SpecError("method", f"There is no recipe called {self.method!r}.")
        if self.threads < 1:
            raise SpecError("threads", "A trainer needs at least one thread.")

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> RunSpec:
        values = json.loads(text)
        values["labels"] = tuple(values.get("labels", ()))
        return cls(**values)


@dataclass(frozen=True)
class Point:
    """What was measured at one step. Training points carry loss, learning_rate, grad_norm, tokens_per_s, padding,
    memory_mb; evaluation points carry eval_loss and the task's metrics under eval_<metric>."""

    step: int
    epoch: float
    time: float  # seconds since this attempt began training, plus those of the attempts it goes on from
    values: dict[str, float]

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


# The trainer's messages, one JSON object a line on its standard output (everything else it prints goes to stderr):
#   {"kind": "ready",      "device": str, "steps": int, "resumed_step": int|null, "pid": int, "notes": [str]}
#   {"kind": "progress",   "what": "caching", "done": int, "total": int}
#   {"kind": "point",      "step", "epoch", "time", "values"}
#   {"kind": "checkpoint", "step": int, "path": str, "manifest_sha256": str, "bytes": int, "best": bool, "metric": float|null}
#   {"kind": "log",        "level": "info"|"warning"|"error", "text": str}
#   {"kind": "done",       "step": int, "metrics": {..}, "evaluation": {..}, "model": str, "model_sha256": str, "bytes": int}
#   {"kind": "kept",       "model_sha256": str, "bytes": int}      (asked to save a checkpoint as a model)
#   {"kind": "stopped",    "step": int, "wish": str}
#   {"kind": "failed",     "code": str, "text": str, "remedy": str}      and the exit status of Exit
# Its standard input: a warm spare first waits for one line, the spec; then {"wish": Wish} and {"renew": seconds} lines.
# End of input means: your supervisor is gone, leave at once.
