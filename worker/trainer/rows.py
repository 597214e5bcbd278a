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

from worker.nlp.folders import first_position

Row = Sequence[int]


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


def lay(rows: Sequence[Row], device: torch.device, start: int = 0) -> dict[str, Any]:
    """Token rows end to end, under the names that FlashAttention gave them. The bounds stay on the processor."""
    bounds = torch.zeros(len(rows) + 1, dtype=torch.int32)
    bounds[1:] = torch.tensor([len(row) for row in rows]).cumsum(0)
    longest = max(len(row) for row in rows)
    return {
        "input_ids": torch.tensor([token for row in rows for token in row], device=device)[None],
        "position_ids": torch.cat([torch.arange(start, start + len(row)) for row in rows])[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


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


class Pass(Protocol):
    """How a model is called: logits (rows, labels) of token rows, and the share of the positions that was padding."""

    name: str

    def logits(self, rows: Sequence[Row]) -> Tensor: ...
    def padding(self, rows: Sequence[Row]) -> float: ...


class Padded:
    """The stock call: rows filled up to the longest."""

    name = "padded"

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model, self.pad_id = model, pad_id

    def logits(self, rows: Sequence[Row]) -> Tensor:
        longest, device = max(map(len, rows)), self.model.device
        ids = torch.tensor([[*row, *[self.pad_id] * (longest - len(row))] for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits

    def padding(self, rows: Sequence[Row]) -> float:
        return 1 - sum(map(len, rows)) / (len(rows) * max(map(len, rows)))


class Flat:
    """The unpadded call."""

    name = "unpadded"

    def __init__(self, model: Any) -> None:
        self.model, self.base, self.start = model, model.base_model, first_position(model)
        self.decoder = hasattr(model, "score")  # the stock decoder head looks for the last token of a padded row
        model.set_attn_implementation("rows")
        if not self.decoder:
            pooled = getattr(self.base, "pooler", None) is not None and hasattr(self.base, "encoder")
            take_rows(self.base.encoder if pooled else self.base, getattr(model.config, "classifier_pooling", "cls") == "mean")

    def lay(self, rows: Sequence[Row]) -> dict[str, Any]:
        return lay(rows, self.model.device, self.start)

    def logits(self, rows: Sequence[Row]) -> Tensor:
        return self.call(self.lay(rows))

    def call(self, laid: dict[str, Any]) -> Tensor:
        if not self.decoder:
            logits: Tensor = self.model(**laid).logits
            return logits
        last = laid["cu_seq_lens_q"][1:].long() - 1
        states = self.base(**laid, use_cache=False).last_hidden_state[0]
        scores: Tensor = self.model.score(states[last.to(states.device)])
        return scores

    def padding(self, rows: Sequence[Row]) -> float:
        return 0.0


def choose_pass(model: Any, pad_id: int) -> tuple[Pass, str]:
    """The unpadded pass if it computes the same numbers as the padded one on three rows; else the padded one and a note.

    Some families never call a registered attention function, and nothing raises: hence the comparison.
    """
    vocabulary = model.config.get_text_config().vocab_size
    rows = [[(7 * i + 3 * length) % (vocabulary - 1) + 1 for i in range(length)] for length in (5, 5, 11)]
    rows = [[token if token != pad_id else (token + 1) % vocabulary for token in row] for row in rows]
    was_training, before = model.training, dict(model.named_modules())
    model.eval()
    stock, padded = model.config._attn_implementation, Padded(model, pad_id)
    hooks = {m: set(m._forward_hooks) for m in before.values()}
    try:
        with torch.no_grad():
            right = padded.logits(rows).float()
            flat = Flat(model)
            wrong_by = (flat.logits(rows).float() - right).abs().max().item()
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


def outputs(
    logits: Callable[[Sequence[int]], Tensor],
    lengths: Sequence[int],
    most_tokens: int,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Generator[int, None, Tensor]:
    """Logits of all rows, in their order, without gradients; `logits` takes row numbers. Rows of like length go together.

    Yields how many rows are done after each group, and returns the logits.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = [[]]
    for i in order:
        if groups[-1] and (len(groups[-1]) + 1) * lengths[i] > most_tokens:
            groups.append([])
        groups[-1].append(i)
    found: list[Tensor] = []
    done = 0
    for group in groups:
        with torch.no_grad(), autocast():
            found.append(logits(group).float().cpu())
        done += len(group)
        yield done
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(found)[back]
