"""Makes a whole model of a starter that is kept as its difference to a base model: `python -m webapp.catalog.unpacking STARTER
BASE TARGET`, a short process of its own, so that no process that lives long holds the numbers.

`delta.safetensors` has, for each tensor that differs, either the tensor itself under its name, or `<name>.down` (rank, in) and
`<name>.up` (out, rank), whose product is added to the base's tensor of that name. Names are those of the finished model: the base
is asked for `bert.encoder…` under that name and without its first part.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.weights import TOKENIZER_FILES, read_config

DELTA = "delta.safetensors"
WINDOW = "window.json"  # what of the base's tokenizer_config.json is different
TOKENIZER = (*TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")


def unpack(starter: Path, base: Path, target: Path) -> None:
    """Whole or not at all, however many do it at once."""
    from safetensors.numpy import load_file, save_file

    with made_whole(target) as draft:
        for name in TOKENIZER:
            if (base / name).is_file():
                shutil.copyfile(base / name, draft / name)
        for file in starter.iterdir():  # what the starter brings itself wins
            if file.is_file() and file.name != DELTA:
                shutil.copyfile(file, draft / file.name)
        if (starter / WINDOW).is_file():
            change(draft / "tokenizer_config.json", json.loads((draft / WINDOW).read_text(encoding="utf-8")))
            (draft / WINDOW).unlink()
        family = str(read_config(starter / "config.json")["model_type"])
        tensors: dict[str, Any] = {}
        for file in sorted(base.glob("*.safetensors")):
            tensors |= load_file(file)
        save_file(whole(tensors, load_file(starter / DELTA), family), draft / "model.safetensors", {"format": "pt"})


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A folder to be filled, which becomes `target` if nothing goes wrong."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():  # else somebody was faster with the same content
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def change(file: Path, values: dict[str, Any]) -> None:
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json.dumps(before | values, ensure_ascii=False, indent=2), encoding="utf-8")


def whole(base: dict[str, Any], delta: dict[str, Any], family: str) -> dict[str, Any]:
    """All tensors of the finished model in half precision."""
    import numpy as np

    products = {key.removesuffix(".down") for key in delta if key.endswith(".down")} & {
        key.removesuffix(".up") for key in delta if key.endswith(".up")
    }
    parts = {f"{name}{end}" for name in products for end in (".down", ".up")}
    changed = {name: delta[name] for name in delta if name not in parts}

    def in_base(name: str) -> str:
        return name if name in base else name.partition(".")[2]

    names = {*changed, *products}
    inner = {in_base(name) for name in names}
    prefixes = {name.removesuffix(in_base(name)) for name in names if in_base(name) in base} - {""}
    has_head = not inner <= base.keys()  # then the base below it has its family's name
    prefix = next(iter(prefixes), f"{family}." if has_head else "")
    found = {prefix + name: tensor for name, tensor in base.items() if not name.endswith("position_ids")}
    for name in products:
        place = in_base(name)
        grown = base[place].astype(np.float32) + delta[f"{name}.up"].astype(np.float32) @ delta[f"{name}.down"].astype(np.float32)
        found[prefix + place] = grown
    for name, tensor in changed.items():
        found[prefix + in_base(name) if in_base(name) in base else name] = tensor
    return {name: np.ascontiguousarray(t.astype(np.float16) if t.dtype.kind == "f" else t) for name, t in found.items()}


if __name__ == "__main__":
    unpack(*(Path(argument) for argument in sys.argv[1:4]))
