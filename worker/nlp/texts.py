"""Texts as token numbers for answering with an encoder: what fits, in groups of like length, and the mean of their states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from worker.nlp import folders

Row = TypeVar("Row")
Features = dict[str, list[int]]  # input_ids, and token_type_ids where a model tells two texts apart
SPREAD = 1.2  # so far apart may lengths in a batch lie, unless the model says otherwise
SLICE = 64  # texts whose tokens are held whole at a time: a column may hold books
LOOKED_AT = 20_000  # characters of a text in which the unknown is counted
MUCH_UNKNOWN = 0.05  # a share of a text of which people are told
UNLIMITED = 4_096  # tokens, for models without a table of positions: attention over more would take all memory


def longest(model: Any, tokenizer: Any) -> int:
    """The most tokens of a row that model and tokenizer allow."""
    table = int(getattr(model.config, "max_position_embeddings", None) or UNLIMITED)
    return min(table - folders.first_position(model), int(tokenizer.model_max_length))


def within_window(tokenizer: Any, firsts: Sequence[str], seconds: Sequence[str] | None = None) -> tuple[list[Features], list[int]]:
    """Token rows of texts, or of pairs of texts, within the tokenizer's window, and how many tokens of each were left out
    (of a pair, the longer text is cut first)."""
    most = tokenizer.model_max_length
    types = seconds is not None and "token_type_ids" in tokenizer.model_input_names

    def features(numbers: Sequence[int], **options: Any) -> list[Features]:
        found = tokenizer(
            [firsts[i] for i in numbers],
            None if seconds is None else [seconds[i] for i in numbers],
            return_attention_mask=False,
            return_token_type_ids=types,
            verbose=False,
            **options,
        )
        rows = [{"input_ids": ids or [tokenizer.pad_token_id or 0]} for ids in found["input_ids"]]
        if types:
            for row, kinds in zip(rows, found["token_type_ids"], strict=True):
                row["token_type_ids"] = kinds or [0]
        return rows

    return cut_to(most, len(firsts), features, lambda row: len(row["input_ids"]))


def cut_to(most: int, count: int, tokens: Callable[..., list[Row]], length: Callable[[Row], int]) -> tuple[list[Row], list[int]]:
    """(token rows of at most `most` tokens, how many of each were left out) of `count` texts; `tokens` takes numbers of texts,
    and the tokenizer's options."""
    rows, cut = list[Row](), list[int]()
    for start in range(0, count, SLICE):
        numbers = range(start, min(start + SLICE, count))
        rows += tokens(numbers)
        cut += [max(0, length(rows[i]) - most) for i in numbers]
        if long := [i for i in numbers if cut[i]]:
            for i, row in zip(long, tokens(long, truncation=True, max_length=most), strict=True):
                rows[i] = row
    return rows, cut


def unknown_share(tokenizer: Any, some: Sequence[str]) -> float:
    """The share of the texts, by characters without blanks, that the tokenizer makes "unknown" of: the model cannot tell one such
    word from another."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id):  # GPT-2 and the like know every byte
        return 0.0
    looked = [text[:LOOKED_AT] for text in some]
    all_, lost = sum(len("".join(text.split())) for text in looked), 0
    for start in range(0, len(looked), SLICE):
        part = looked[start : start + SLICE]
        found = tokenizer(part, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
        for number, (text, ids) in enumerate(zip(part, found["input_ids"], strict=True)):
            if tokenizer.is_fast:
                places = zip(ids, found["offset_mapping"][number], strict=True)
                lost += sum(len("".join(text[a:b].split())) for token, (a, b) in places if token == unknown)
            else:  # no places, so by tokens
                lost += round(len("".join(text.split())) * ids.count(unknown) / max(len(ids), 1))
    return round(lost / all_, 4) if all_ else 0.0


def open_reader(folder: str, auto_class: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, ready to read as much as the model allows. `auto_class` is one of transformers."""
    model, tokenizer = folders.open_model(folder, auto_class).eval(), folders.open_tokenizer(folder)
    tokenizer.model_max_length = longest(model, tokenizer)
    return model, tokenizer


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


def means(model: Any, tokenizer: Any, texts: Sequence[str]) -> tuple[Any, list[int]]:
    """((texts, width) unit vectors, how many tokens of each were left out): the mean of the last states, as sentence encoders are trained."""
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
