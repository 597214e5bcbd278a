"""Texts as token numbers for answering with an encoder: what fits, in groups of like length, and the mean of their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.nlp import folders

Features = dict[str, list[int]]  # input_ids, and token_type_ids where a model tells two texts apart
SPREAD = 1.2  # so far apart may lengths in a batch lie, unless the model says otherwise
UNLIMITED = 4_096  # tokens, for models without a table of positions: attention over more would take all memory


def longest(model: Any, tokenizer: Any) -> int:
    """The most tokens of a row that model and tokenizer allow."""
    table = int(getattr(model.config, "max_position_embeddings", None) or UNLIMITED)
    return min(table - folders.first_position(model), int(tokenizer.model_max_length))


def features(tokenizer: Any, firsts: Sequence[str], seconds: Sequence[str] | None, most: int) -> list[Features]:
    """Token rows of texts, or of pairs of texts, cut to `most` tokens (of a pair, the longer text is cut first)."""
    types = seconds is not None and "token_type_ids" in tokenizer.model_input_names
    found = tokenizer(
        list(firsts),
        None if seconds is None else list(seconds),
        truncation=True,
        padding=False,
        max_length=most,
        return_attention_mask=False,
        return_token_type_ids=types,
    )
    rows = [{"input_ids": ids or [tokenizer.pad_token_id or 0]} for ids in found["input_ids"]]
    if types:
        for row, kinds in zip(rows, found["token_type_ids"], strict=True):
            row["token_type_ids"] = kinds or [0]
    return rows


def within_window(tokenizer: Any, firsts: Sequence[str], seconds: Sequence[str] | None = None) -> tuple[list[Features], list[bool]]:
    """Token rows within the tokenizer's window, and which texts were longer."""
    most = tokenizer.model_max_length
    probe = features(tokenizer, firsts, seconds, most + 1)
    cut = [len(row["input_ids"]) > most for row in probe]
    return (features(tokenizer, firsts, seconds, most) if any(cut) else probe), cut


def alike(lengths: Sequence[int], model: Any, most: int = 16) -> list[list[int]]:
    """Numbers of rows, in groups of like length: on a processor, padding costs more than a second call."""
    spread = getattr(model.base_model, "spread", SPREAD)
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if groups and len(groups[-1]) < most and lengths[i] <= spread * lengths[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def groups_of(rows: Sequence[Features], model: Any) -> list[list[int]]:
    return alike([len(row["input_ids"]) for row in rows], model)


def padded(rows: Sequence[Features], tokenizer: Any, device: Any) -> dict[str, Any]:
    """Token rows as tensors (rows, longest), filled up on the right."""
    import torch

    most = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": tokenizer.pad_token_id or 0}

    def tensor(name: str) -> Any:
        return torch.tensor([row[name] + [fill.get(name, 0)] * (most - len(row[name])) for row in rows], device=device)

    found = {name: tensor(name) for name in rows[0]}
    lengths = torch.tensor([len(row["input_ids"]) for row in rows], device=device)
    found["attention_mask"] = (torch.arange(most, device=device)[None] < lengths[:, None]).long()
    return found


def means(model: Any, tokenizer: Any, texts: Sequence[str]) -> tuple[Any, list[bool]]:
    """((texts, width) unit vectors, which texts were cut): the mean of the last states, as sentence encoders are trained."""
    import torch

    rows, cut = within_window(tokenizer, texts)
    found: list[Any] = [None] * len(rows)
    for group in groups_of(rows, model):
        x = padded([rows[i] for i in group], tokenizer, model.device)
        with torch.inference_mode():
            states = model(**x).last_hidden_state.float()
        real = x["attention_mask"].unsqueeze(-1)
        mean = torch.nn.functional.normalize((states * real).sum(1) / real.sum(1), dim=-1)
        for i, row in zip(group, mean, strict=True):
            found[i] = row
    return torch.stack(found), cut
