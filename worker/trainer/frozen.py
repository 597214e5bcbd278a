"""Quick: the lower layers stay as they are, so their output is computed once, kept, and only the upper ones are trained."""

# mypy: disable-error-code="no-untyped-call"
# (torch leaves many of its functions untyped)

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from worker.nlp import Example
from worker.spec import Trouble
from worker.spec import gettext_noop as _
from worker.trainer.rows import Flat

IN_MEMORY_BYTES = 2 * 2**30  # above this the kept states lie in a file that the system maps


class _Given(nn.Module):
    """In the place of `embeddings`: the kept states are the input, positions and norms are in them already."""

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, *_rest: Any, **_kw: Any) -> Any:
        return inputs_embeds


class _Zero(nn.Module):
    """In the place of GPT-2's `wpe`."""

    def forward(self, ids: Tensor) -> Tensor:
        return torch.zeros((), device=ids.device)


class _Through(nn.Module):
    """In the place of a block; a stand-in keeps the others' numbers, which some configs count by."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        if hasattr(block, "attention_type"):  # ModernBERT picks the mask by it
            self.attention_type = block.attention_type

    def forward(self, hidden_states: Tensor, *_rest: Any, **_kw: Any) -> Tensor:
        return hidden_states


_STAND_INS: dict[str, Callable[[], nn.Module]] = {"embeddings": _Given, "embeddings_project": nn.Identity, "wpe": _Zero}


def blocks_of(base: Any) -> tuple[nn.Module, str, nn.ModuleList]:
    """(owner, name, blocks) of the stack of layers, in any family that has a list of its own layers."""
    count = getattr(base.config, "num_hidden_layers", 0)
    found = [
        (owner, name, child)
        for owner in base.modules()
        for name, child in owner.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count and all(isinstance(b, GradientCheckpointingLayer) for b in child)
    ]
    if len(found) != 1 or count < 2:
        raise Trouble("no_quick", _("Quick does not work with this base model: its layers are shared."), _("Choose Full or LoRA."))
    return found[0]


def frozen_layers(base: Any, share: float) -> int:
    count = len(blocks_of(base)[2])
    return max(1, min(count - 1, round(share * count)))


@contextmanager
def only(base: Any, low: int, high: int, given: bool = False) -> Iterator[None]:
    """Within, `base` has only the blocks low to high-1; `given`: it takes states for embeddings. Not for two threads at once."""
    owner, name, full = blocks_of(base)
    swaps: list[tuple[nn.Module, str, nn.Module]] = [
        (owner, name, nn.ModuleList([b if low <= i < high else _Through(b) for i, b in enumerate(full)]))
    ]
    if given:
        swaps += [(base, part, stand_in()) for part, stand_in in _STAND_INS.items() if hasattr(base, part)]
    kept = [(o, n, getattr(o, n)) for o, n, _new in swaps]
    try:
        for o, n, new in swaps:
            setattr(o, n, new)
        yield
    finally:
        for o, n, old in kept:
            setattr(o, n, old)


def bottom(base: Any, depth: int, **inputs: Any) -> Tensor:
    """The states above block `depth`-1, taken by a hook because the base would put its last norm on them."""
    got: list[Tensor] = []
    hook = blocks_of(base)[2][depth - 1].register_forward_hook(lambda _m, _a, out: got.append(out[0] if isinstance(out, tuple) else out))
    try:
        with only(base, 0, depth):
            base(**inputs)
    finally:
        hook.remove()
    return got[0]


def freeze_bottom(model: Any, depth: int) -> None:
    """Every weight that the bottom's output depends on stops learning: asked of autograd, so it holds for any family."""
    base, was_training = model.base_model, model.training
    model.eval()
    ids = torch.tensor([[1, 2, 3]], device=model.device)
    extra = {"cu_seq_lens_q": torch.tensor([0, 3], dtype=torch.int32)} if model.config._attn_implementation == "rows" else {}
    bottom(base, depth, input_ids=ids, **extra).sum().backward()
    for parameter in base.parameters():
        if parameter.grad is not None:
            parameter.requires_grad_(False)
            parameter.grad = None
    model.train(was_training)


class Upper:
    """The unpadded pass from kept states on. `keep` fills them and yields how many rows are done."""

    name = "unpadded, lower layers kept"

    def __init__(self, flat: Flat, depth: int, examples: Sequence[Example], file: Path) -> None:
        self.flat, self.depth, self.examples = flat, depth, examples
        self.lengths = [len(e["input_ids"]) for e in examples]
        self.bounds = [0, *accumulate(self.lengths)]
        width = flat.model.config.get_text_config().hidden_size
        size = self.bounds[-1] * width
        if size * 4 <= IN_MEMORY_BYTES:
            self.states = torch.empty(size).view(-1, width)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.states = torch.from_file(str(file), shared=True, size=size).view(-1, width)
            file.unlink()  # the map lives on; nothing is left behind when the process ends

    def keep(self, autocast: Any, most_tokens: int = 4096) -> Iterator[int]:
        order = sorted(range(len(self.examples)), key=lambda i: (self.lengths[i], i))
        done = 0
        while done < len(order):
            group = [order[done]]
            while done + len(group) < len(order) and (len(group) + 1) * self.lengths[order[done + len(group)]] <= most_tokens:
                group.append(order[done + len(group)])
            with torch.no_grad(), autocast():
                states = bottom(self.flat.base, self.depth, **self.flat.lay([self.examples[i] for i in group]))[0].float().cpu()
            for i, part in zip(group, states.split([self.lengths[i] for i in group]), strict=True):
                self.states[self.bounds[i] : self.bounds[i + 1]] = part
            done += len(group)
            yield done

    def outputs_of(self, numbers: Sequence[int]) -> Any:
        """Outputs of kept rows by their numbers."""
        examples = [self.examples[i] for i in numbers]
        laid = self.flat.lay(examples)
        del laid["input_ids"]
        parts = [self.states[self.bounds[i] : self.bounds[i + 1]] for i in numbers]
        laid["inputs_embeds"] = torch.cat(parts)[None].to(self.flat.model.device)
        with only(self.flat.base, self.depth, len(blocks_of(self.flat.base)[2]), given=True):
            return self.flat.call(laid, examples)
