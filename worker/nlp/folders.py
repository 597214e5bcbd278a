"""The only door through which model files come in: safetensors only, and never code that a folder brings along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worker.spec import Exit, Trouble
from worker.spec import gettext_noop as _

FREE_VALUES = 2**26  # that a model may take beyond its files: a new head, positions that are computed
SHOWN_NAMES = 3  # of weights that are missing
AGAIN = _("Fetch or copy the model again, or choose another one.")


def _unsafe(code: str, text: str) -> Trouble:
    return Trouble(code, text, _("Choose a base model with safetensors weights and no code of its own."), Exit.UNSAFE_MODEL)


def check_folder(folder: str | Path) -> dict[str, Any]:
    """The config of a model folder that is safe to open. Raises Trouble (unsafe model) before anything is loaded."""
    folder = Path(folder)
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        tokenizer_config = folder / "tokenizer_config.json"
        asks = "auto_map" in config or (tokenizer_config.is_file() and "auto_map" in json.loads(tokenizer_config.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        raise Trouble(
            "bad_model", _("The base model's files cannot be read."), _("Fetch the base model again, or choose another one.")
        ) from None
    if asks:
        raise _unsafe("needs_remote_code", _("The base model needs to run its own code, which is never allowed here."))
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise _unsafe(
            "unsafe_weights", _("The base model has no safetensors weights. Other formats can hide programs and are never opened.")
        )
    for file in weights:
        if not _is_safetensors(file):
            raise _unsafe("unsafe_weights", _("A weights file of the base model is not what its name says. It was not opened."))
    return config


def _is_safetensors(file: Path) -> bool:
    """Eight bytes of header length, then JSON: a pickle under another name does not look like it."""
    size = file.stat().st_size
    with file.open("rb") as bytes_:
        length = int.from_bytes(bytes_.read(8), "little")
        if not 2 <= length <= min(size - 8, 100_000_000):
            return False
        try:
            return isinstance(json.loads(bytes_.read(length)), dict)
        except ValueError:
            return False


def open_tokenizer(folder: str | Path) -> Any:
    from worker.nlp import tokenizing

    check_folder(folder)
    tokenizer = tokenizing.opened(Path(folder))
    if tokenizer.pad_token is None:  # decoders seldom have one
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def open_model(folder: str | Path, auto_class: str, *, new_head: bool = False, **options: Any) -> Any:
    """A model in fp32 and evaluation mode. `auto_class` is the name of a transformers Auto class. With `new_head` the output
    layer may be missing, or of another size: it is about to be learnt. Raises Trouble where anything else is missing, which
    transformers would fill at random, or where the configuration promises far more than the files hold."""
    import torch
    import transformers

    check_folder(folder)
    maker = getattr(transformers, auto_class)
    try:
        _check_promise(folder, maker, options)
        model, found = maker.from_pretrained(
            str(folder),
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except (ValueError, KeyError) as problem:  # a family that has no such head, or that this version does not know
        raise Trouble(
            "unknown_model",
            _("This kind of base model cannot be trained for this task."),
            _("Choose another base model, for example a BERT, RoBERTa, ModernBERT, Llama or Qwen."),
            Exit.USER_DATA,
        ) from problem
    _check_whole(model, found, new_head or auto_class == "AutoModel", new_head)
    return model


def _check_promise(folder: str | Path, maker: Any, options: dict[str, Any]) -> None:
    """Build the model without memory first: what it would take is known before anything is allocated."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True, **options)
    with torch.device("meta"):
        model = maker.from_config(config, trust_remote_code=False)
    promised = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    held = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))  # at least half a byte a value
    if promised > 2 * held + FREE_VALUES:
        raise Trouble("weights_differ", _("config.json describes a much larger model than the weights hold."), AGAIN)


def _check_whole(model: Any, found: dict[str, Any], spares_pooler: bool, new_head: bool) -> None:
    """`found` is what transformers says that it could not take from the files."""
    prefix = f"{model.base_model_prefix}."

    def is_needed(name: str) -> bool:
        if spares_pooler and "pooler" in name:  # not used, or learnt with the head
            return False
        return not new_head or name.startswith(prefix)

    learnt = {name for name, _values in model.named_parameters()}  # buffers are made, not learnt
    missing = sorted(name for name in learnt.intersection(found["missing_keys"]) if is_needed(name))
    other = sorted(name for name, *_shapes in found["mismatched_keys"] if is_needed(name))
    for names, text in (
        (missing, _("Weights of this model are missing: %s.")),
        (other, _("Weights of this model have another shape than config.json says: %s.")),
    ):
        if names:
            more = f" (+{len(names) - SHOWN_NAMES:,})" if len(names) > SHOWN_NAMES else ""
            raise Trouble("weights_differ", text % f"{', '.join(names[:SHOWN_NAMES])}{more}", AGAIN)


def first_position(model: Any) -> int:
    """Where a row's positions begin: RoBERTa-likes count from behind the padding's row of their table, all others from 0."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0
