"""The unpadded pass: the rows of a batch laid end to end, so that no step computes padding.

Linear layers see only real tokens, and attention runs row by row; no model code is copied. Where a family does not
allow it (its own attention code), the padded pass computes the same function more slowly.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch leaves many of its functions untyped)

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from worker.nlp import Example
from worker.nlp.folders import first_position

ROWS, TOKENS, PAIRS, STREAM = "rows", "tokens", "pairs", "stream"  # what a model gives one output for (docs/internals.md, "Tasks")
LEFT_OUT = -100  # in `labels`: a token that is read but not learnt


def _runs(bounds: list[int]) -> list[list[int]]:
    """[0, 5, 10, 14] -> [[2, 5], [1, 4]]: neighbours of equal length share one call."""
    out: list[list[int]] = []
    for a, b in pairwise(bounds):
        if out and out[-1][1] == b - a:
            out[-1][0] += 1
        else:
            out.append([1, b - a])
    return out


def _band(n: int, window: int, causal: bool, device: torch.device) -> Tensor:
    distance = torch.arange(n, device=device)
    distance = distance[:, None] - distance[None, :]
    keep = distance.abs() < window
    return keep & (distance >= 0) if causal else keep


def rows_attention(
    module: nn.Module,
    query: Tensor,  # (1, heads, tokens, width)
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if cu_seq_lens_q is None:  # a padded call would silently attend to its padding
        raise ValueError("rows attention needs cu_seq_lens_q; for padded input use attn_implementation='sdpa'")
    for name in ("softcap", "position_bias", "s_aux"):
        if kwargs.get(name) is not None:
            raise ValueError(f"rows attention does not know {name}")
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    grouped = query.shape[1] != key.shape[1]
    groups = _runs(cu_seq_lens_q.tolist())
    sizes = [count * length for count, length in groups]
    # (1, heads, T, width) is a view of (1, T, heads, width): splitting along T copies nothing
    q, k, v = (x.transpose(1, 2)[0].split(sizes) for x in (query, key, value))
    outs = []
    for (count, length), qi, ki, vi in zip(groups, q, k, v, strict=True):
        qi, ki, vi = (x.unflatten(0, (count, length)).transpose(1, 2) for x in (qi, ki, vi))
        mask, looks_back = None, causal and length > 1
        if sliding_window and length > sliding_window:
            mask, looks_back = _band(length, sliding_window, causal, query.device), False
        out = F.scaled_dot_product_attention(
            qi, ki, vi, attn_mask=mask, dropout_p=dropout, scale=scaling, is_causal=looks_back, enable_gqa=grouped
        )
        outs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs)[None], None


# No entry in AttentionMaskInterface, on purpose: without one transformers builds no tokens x tokens mask.
AttentionInterface.register("rows", rows_attention)


def lay(examples: Sequence[Example], device: torch.device, start: int = 0) -> dict[str, Any]:
    """Token rows end to end, under the names that FlashAttention gave them. The bounds stay on the processor."""
    rows = [e["input_ids"] for e in examples]
    bounds = torch.zeros(len(rows) + 1, dtype=torch.int32)
    bounds[1:] = torch.tensor([len(row) for row in rows]).cumsum(0)
    longest = max(len(row) for row in rows)
    laid = {
        "input_ids": torch.tensor([token for row in rows for token in row], device=device)[None],
        "position_ids": torch.cat([torch.arange(start, start + len(row)) for row in rows])[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    if "token_type_ids" in examples[0]:
        laid["token_type_ids"] = torch.tensor([kind for e in examples for kind in e["token_type_ids"]], device=device)[None]
    return laid


def take_rows(module: nn.Module, mean: bool = False) -> None:
    """Let a stock head that reads the first token of each row see (rows, 1, width) instead of (1, tokens, width)."""

    def hook(_module: nn.Module, _args: Any, kwargs: dict[str, Any], out: Any) -> Any:
        bounds = kwargs.get("cu_seq_lens_q")
        if bounds is not None:
            states = out.last_hidden_state[0]
            if mean:
                lengths = bounds.diff().to(states.device)
                which = torch.repeat_interleave(torch.arange(len(lengths), device=states.device), lengths)
                sums = states.new_zeros(len(lengths), states.shape[-1]).index_add(0, which, states)
                out.last_hidden_state = (sums / lengths[:, None])[:, None]
            else:
                out.last_hidden_state = states.index_select(0, bounds[:-1].long().to(states.device))[:, None]
        return out

    module.register_forward_hook(hook, with_kwargs=True)


def layout_of(model: Any) -> str:
    """What this model gives one output for."""
    if model.config.is_encoder_decoder:
        return PAIRS
    if model.can_generate():
        return STREAM
    return ROWS if type(model).__name__.endswith("ForSequenceClassification") else TOKENS


class Pass(Protocol):
    """How a model is called on examples, and what that costs."""

    name: str
    is_padded: bool

    def outputs(self, examples: Sequence[Example]) -> Any:
        """rows: (rows, labels); tokens: a list of (tokens, outputs); pairs and stream: (learnt tokens, vocabulary) in order."""

    def padding(self, examples: Sequence[Example]) -> float:
        """The share of the positions that is padding."""


def length_of(example: Example) -> int:
    """Tokens that a step computes for an example: what goes in, and for an encoder-decoder also what comes out."""
    length = len(example["input_ids"])
    labels = example.get("labels")
    return length if labels is None or len(labels) == length else length + len(labels)


def _filled(rows: Sequence[Sequence[int]], value: int, device: torch.device) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=device)


class Padded:
    """The stock call: rows filled up to the longest."""

    name, is_padded = "padded", True

    def __init__(self, model: Any, pad_id: int, layout: str) -> None:
        self.model, self.pad_id, self.layout = model, pad_id, layout

    def outputs(self, examples: Sequence[Example]) -> Any:
        device = self.model.device
        rows = [e["input_ids"] for e in examples]
        inputs = {"input_ids": _filled(rows, self.pad_id, device), "attention_mask": _filled([[1] * len(r) for r in rows], 0, device)}
        if "token_type_ids" in examples[0]:
            inputs["token_type_ids"] = _filled([e["token_type_ids"] for e in examples], 0, device)
        if self.layout == PAIRS:
            labels = _filled([e["labels"] for e in examples], LEFT_OUT, device)
            inputs["decoder_input_ids"] = self.shifted(labels)
            return self.model(**inputs, use_cache=False).logits[labels != LEFT_OUT]
        if self.layout == STREAM:
            logits = self.model(**inputs, use_cache=False).logits
            return torch.cat([row[learnt(e, device)] for row, e in zip(logits, examples, strict=True)])
        return head_outputs(self.model(**inputs), [len(r) for r in rows])

    def shifted(self, labels: Tensor) -> Tensor:
        """What the decoder reads: its start, then each token but the last."""
        read = labels.masked_fill(labels == LEFT_OUT, self.pad_id).roll(1, dims=1)
        read[:, 0] = self.model.config.decoder_start_token_id
        return read

    def padding(self, examples: Sequence[Example]) -> float:
        kinds = ("input_ids", "labels") if self.layout == PAIRS else ("input_ids",)
        real = sum(len(e[kind]) for e in examples for kind in kinds)
        return 1 - real / (len(examples) * sum(max(len(e[kind]) for e in examples) for kind in kinds))


def learnt(example: Example, device: torch.device, start: int = 0) -> Tensor:
    """The positions of a decoder's row whose next token is to be learnt."""
    return torch.tensor(
        [start + at - 1 for at, token in enumerate(example["labels"]) if token != LEFT_OUT], dtype=torch.long, device=device
    )


def head_outputs(out: Any, lengths: Sequence[int]) -> Any:
    """The outputs of a stock head: as they are for rows, a list of (tokens, outputs) for tokens."""
    logits = getattr(out, "logits", None)
    if logits is not None and logits.ndim == 2:
        return logits
    each = torch.stack([out.start_logits, out.end_logits], -1) if logits is None else logits  # a span, or any head of tokens
    if each.shape[0] == 1 and len(lengths) > 1:
        return list(each[0].split(list(lengths)))
    return [row[:length] for row, length in zip(each, lengths, strict=True)]


class Flat:
    """The unpadded call."""

    name, is_padded = "unpadded", False

    def __init__(self, model: Any, layout: str) -> None:
        self.model, self.base, self.layout, self.start = model, model.base_model, layout, first_position(model)
        self.by_last_token = layout == ROWS and hasattr(model, "score")  # the stock decoder head looks for a padded row's last token
        model.set_attn_implementation("rows")
        if layout == ROWS and not self.by_last_token:
            pooled = getattr(self.base, "pooler", None) is not None and hasattr(self.base, "encoder")
            take_rows(self.base.encoder if pooled else self.base, getattr(model.config, "classifier_pooling", "cls") == "mean")

    def lay(self, examples: Sequence[Example]) -> dict[str, Any]:
        return lay(examples, self.model.device, self.start)

    def outputs(self, examples: Sequence[Example]) -> Any:
        return self.call(self.lay(examples), examples)

    def call(self, laid: dict[str, Any], examples: Sequence[Example]) -> Any:
        bounds = laid["cu_seq_lens_q"]
        if self.layout == STREAM:
            states = self.base(**laid, use_cache=False).last_hidden_state[0]
            at = torch.cat([learnt(e, states.device, start) for e, start in zip(examples, bounds.tolist(), strict=False)])
            return self.model.get_output_embeddings()(states[at])
        if self.by_last_token:
            states = self.base(**laid, use_cache=False).last_hidden_state[0]
            return self.model.score(states[(bounds[1:].long() - 1).to(states.device)])
        return head_outputs(self.model(**laid), bounds.diff().tolist())

    def padding(self, examples: Sequence[Example]) -> float:
        return 0.0


def _sample_rows(model: Any, pad_id: int, layout: str) -> list[Example]:
    vocabulary = model.config.get_text_config().vocab_size
    rows = [[(7 * i + 3 * length) % (vocabulary - 1) + 1 for i in range(length)] for length in (5, 5, 11)]
    rows = [[token if token != pad_id else (token + 1) % vocabulary for token in row] for row in rows]
    return [{"input_ids": row, **({"labels": [LEFT_OUT, LEFT_OUT, *row[2:]]} if layout == STREAM else {})} for row in rows]


def choose_pass(model: Any, pad_id: int) -> tuple[Pass, str]:
    """The unpadded pass if it computes the same numbers as the padded one on three rows; else the padded one and a note.

    Some families never call a registered attention function, and nothing raises: hence the comparison.
    """
    layout = layout_of(model)
    padded = Padded(model, pad_id, layout)
    if layout == PAIRS:  # position biases and cross-attention do not go through the registered function
        return padded, ""
    rows = _sample_rows(model, pad_id, layout)
    was_training, before = model.training, dict(model.named_modules())
    model.eval()
    stock = model.config._attn_implementation
    hooks = {m: set(m._forward_hooks) for m in before.values()}
    try:
        with torch.no_grad():
            right = _joined(padded.outputs(rows))
            flat = Flat(model, layout)
            wrong_by = (_joined(flat.outputs(rows)) - right).abs().max().item()
        if wrong_by <= 1e-5 + 1e-4 * right.abs().max().item():
            return flat, ""
    except (ValueError, TypeError, RuntimeError, AttributeError, IndexError):
        pass
    finally:
        model.train(was_training)
    for module, known in hooks.items():
        for extra in set(module._forward_hooks) - known:
            del module._forward_hooks[extra]
    model.set_attn_implementation(stock)
    return padded, "This family cannot be trained without padding; batches hold rows of like length instead."


def _joined(outputs: Any) -> Tensor:
    found: Tensor = (torch.cat(list(outputs)) if isinstance(outputs, list) else outputs).float()
    return found


def reading(
    look: Callable[[Sequence[int]], list[Any]],
    lengths: Sequence[int],
    most_tokens: int,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Generator[int, None, list[Any]]:
    """What `look` finds of all rows, in their order, without gradients; `look` takes row numbers. Rows of like length go together.

    Yields how many rows are done after each group, and returns the list.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = [[]]
    for i in order:
        if groups[-1] and (len(groups[-1]) + 1) * lengths[i] > most_tokens:
            groups.append([])
        groups[-1].append(i)
    found: list[Any] = [None] * len(order)
    done = 0
    for group in groups:
        with torch.no_grad(), autocast():
            for i, each in zip(group, look(group), strict=True):
                found[i] = each
        done += len(group)
        yield done
    return found
