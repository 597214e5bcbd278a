"""The settings of the training loop, the same for every task. A task puts its own behind them."""

from __future__ import annotations

from dataclasses import replace

from worker.nlp import families
from worker.spec import Method, Recipe, Setting
from worker.spec import gettext_noop as _

FULL = Recipe(Method.FULL, _("Full"), _("Trains every weight. Best scores, takes longest."))
QUICK = Recipe(
    Method.QUICK,
    _("Quick"),
    _("Freezes the lower layers and computes them once. Nearly the same scores in a fraction of the time."),
    shapes=(families.ENCODER,),
)
LORA = Recipe(Method.LORA, _("LoRA"), _("Trains small adapters beside frozen weights. Small downloads; for large base models."))

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
        _("The size of each update. Lower it if the loss jumps, raise it if nothing changes."),
        least=1e-7,
        most=0.1,
        advanced=False,
        defaults={"quick": 5e-4, "lora": 1e-3},
    ),
    Setting(
        "batch_tokens",
        _("Tokens per batch"),
        4096,
        _("A batch is filled with rows up to this many tokens. Lower it if memory runs out."),
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
        "batch_rows", _("Rows per batch"), 32, _("A batch has at most this many rows, however short they are."), _("rows"), "int", 1, 4096
    ),
    Setting(
        "accumulation",
        _("Gradient accumulation"),
        1,
        _("Each batch is computed in this many parts: less memory, the same result, a little slower."),
        _("parts"),
        "int",
        1,
        MOST_PARTS,
    ),
    Setting(
        "window",
        _("Longest text"),
        256,
        _("Longer texts are cut after this many tokens. A token is about three quarters of an English word."),
        _("tokens"),
        "int",
        8,
        8192,
    ),
    Setting(
        "warmup",
        _("Warm-up"),
        0.06,
        _("The share of steps over which the learning rate rises from zero."),
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
        _("Pulls the weights towards zero; reduces overfitting on small data."),
        least=0,
        most=1,
    ),
    Setting("clip", _("Gradient clipping"), 1.0, _("Gradients with a larger norm are scaled down to this value."), least=0.01, most=1000),
    Setting(
        "dropout",
        _("Dropout"),
        True,
        _("Randomly turns units off during training, at the base model's own rate. More robust on small data, slower."),
        kind="bool",
        defaults={"quick": False},
    ),
    Setting(
        "evaluations",
        _("Evaluations per epoch"),
        1,
        _("How often the model is evaluated on the validation rows. The best checkpoint is kept."),
        _("per epoch"),
        "int",
        1,
        100,
    ),
    Setting(
        "patience",
        _("Early stopping"),
        0,
        _("Stops after this many evaluations without a better score. 0 means never."),
        _("evaluations"),
        "int",
        0,
        100,
    ),
    Setting(
        "frozen_share",
        _("Frozen layers"),
        0.67,
        _("The share of layers, from the bottom, that is frozen and computed once."),
        _("share of layers"),
        least=0.1,
        most=0.95,
        methods=("quick",),
    ),
    Setting(
        "lora_rank",
        _("LoRA rank"),
        8,
        _("Width of the adapters. A higher rank can learn more and takes more memory."),
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
        _("After an interruption, the run resumes from its last checkpoint."),
        _("seconds"),
        least=0,
        most=3600,
    ),
    Setting(
        "deterministic",
        _("Fully deterministic"),
        False,
        _("The same run gives exactly the same weights on the same machine. May be slower."),
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
