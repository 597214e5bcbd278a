"""The settings of the training loop, the same for every task. A task puts its own behind them."""

from __future__ import annotations

from dataclasses import replace

from worker.nlp import families
from worker.spec import Method, Recipe, Setting
from worker.spec import gettext_noop as _

FULL = Recipe(Method.FULL, _("Full"), _("Every weight learns. Best scores; takes the longest."))
QUICK = Recipe(
    Method.QUICK,
    _("Quick"),
    _("The lower layers stay as they are and are computed once. Nearly the same scores in a fraction of the time."),
    shapes=(families.ENCODER,),
)
LORA = Recipe(Method.LORA, _("LoRA"), _("Small adapters learn beside frozen weights. Small downloads; for large base models."))

MOST_PARTS = 256  # of a batch
TRAINING: tuple[Setting, ...] = (
    Setting(
        "epochs",
        _("Epochs"),
        3,
        _("How often the model sees every row. Small data needs more."),
        _("passes"),
        "int",
        1,
        100,
        advanced=False,
        defaults={"quick": 2},
    ),
    Setting(
        "learning_rate",
        _("Learning rate"),
        1e-4,
        _("How far one step moves the weights. Lower it when the loss jumps; raise it when nothing moves."),
        least=1e-7,
        most=0.1,
        advanced=False,
        defaults={"quick": 5e-4, "lora": 1e-3},
    ),
    Setting(
        "batch_tokens",
        _("Batch in tokens"),
        4096,
        _("A step takes rows until they hold this many tokens. Lower it when memory runs out."),
        _("tokens"),
        "int",
        64,
        1_000_000,
        advanced=False,
    ),
    Setting(
        "seed", _("Seed"), 13, _("The same seed, rows and settings give the same order and start."), "", "int", 0, 2**31 - 1, advanced=False
    ),
    Setting(
        "batch_rows", _("Rows per batch"), 32, _("A step takes at most this many rows, however short they are."), _("rows"), "int", 1, 4096
    ),
    Setting(
        "accumulation",
        _("Parts per batch"),
        1,
        _("Each batch is worked off in so many parts: less memory, the same result, a little slower."),
        _("parts"),
        "int",
        1,
        MOST_PARTS,
    ),
    Setting(
        "window",
        _("Longest text"),
        256,
        _("Texts are cut after this many tokens. A token is about three quarters of an English word."),
        _("tokens"),
        "int",
        8,
        8192,
    ),
    Setting(
        "warmup",
        _("Warm-up"),
        0.06,
        _("Over this share of the steps the learning rate rises from zero."),
        _("share of steps"),
        least=0,
        most=0.9,
    ),
    Setting(
        "schedule",
        _("Schedule"),
        "linear",
        _("How the learning rate falls after the warm-up."),
        kind="choice",
        choices=(("linear", _("Linear to zero")), ("cosine", _("Cosine to zero")), ("constant", _("Constant"))),
    ),
    Setting(
        "weight_decay",
        _("Weight decay"),
        0.01,
        _("Pulls the weights towards zero; guards small data against overfitting."),
        least=0,
        most=1,
    ),
    Setting("clip", _("Gradient clipping"), 1.0, _("A steeper gradient is shortened to this length."), least=0.01, most=1000),
    Setting(
        "dropout",
        _("Dropout"),
        True,
        _("Switches random units off while training, as strongly as the base model says. Steadier on small data, slower."),
        kind="bool",
        defaults={"quick": False},
    ),
    Setting(
        "evaluations",
        _("Evaluations per epoch"),
        1,
        _("How often the validation rows are scored. The best state is kept."),
        _("per epoch"),
        "int",
        1,
        100,
    ),
    Setting(
        "patience",
        _("Early stopping"),
        0,
        _("Stop after so many evaluations without a better score. 0: never."),
        _("evaluations"),
        "int",
        0,
        100,
    ),
    Setting(
        "frozen_share",
        _("Frozen layers"),
        0.67,
        _("This share of the layers, from the bottom, stays as it is and is computed once."),
        _("share of layers"),
        least=0.1,
        most=0.95,
        methods=("quick",),
    ),
    Setting(
        "lora_rank",
        _("LoRA rank"),
        8,
        _("Width of the adapters. More can learn more and weighs more."),
        _("columns"),
        "int",
        1,
        256,
        methods=("lora",),
    ),
    Setting(
        "lora_alpha", _("LoRA alpha"), 16.0, _("Strength of the adapters; usually twice the rank."), least=0.1, most=1024, methods=("lora",)
    ),
    Setting("lora_dropout", _("LoRA dropout"), 0.05, _("Dropout inside the adapters."), _("share"), least=0, most=0.9, methods=("lora",)),
    Setting(
        "checkpoint_s",
        _("Time between checkpoints"),
        30.0,
        _("After an interruption the run goes on from its last checkpoint."),
        _("seconds"),
        least=0,
        most=3600,
    ),
    Setting(
        "deterministic",
        _("Repeatable to the last bit"),
        False,
        _("The same run gives exactly the same weights on the same machine. Can be slower."),
        kind="bool",
    ),
)


def training(**defaults: object) -> tuple[Setting, ...]:
    """The same settings with other defaults: a value, or {method: value} where the empty method stands for all others."""
    changed = []
    for setting in TRAINING:
        if setting.name in defaults:
            given = defaults[setting.name]
            each = dict(given) if isinstance(given, dict) else {"": given}
            changed.append(replace(setting, default=each.pop("", setting.default), defaults=each))
        else:
            changed.append(setting)
    return tuple(changed)


def read_settings(known: tuple[Setting, ...], given: dict[str, object], method: str) -> dict[str, object]:
    """`given` checked, and every setting that `method` knows filled in. Raises SpecError that names the field."""
    return {s.name: s.read(given.get(s.name, s.default_for(method))) for s in known if not s.methods or method in s.methods}
