"""A decoder's answer token by token: a Python generator, so that the caller decides what happens between two tokens."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Generator
from typing import Any

ALTERNATIVES = 5  # shown for each token


class _Unfolding:
    """Text of tokens as they come. A character that several tokens make appears with the last of them."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.ids, self.shown, self.read = tokenizer, list[int](), 0, 0

    def add(self, token: int) -> str:
        self.ids.append(token)
        before = self._text(self.ids[self.shown : self.read])
        now = self._text(self.ids[self.shown :])
        if now.endswith("\ufffd") or len(now) <= len(before):
            return ""
        self.shown, self.read = self.read, len(self.ids)
        return now[len(before) :]

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)) if ids else ""


def takes(model: Any, name: str) -> bool:
    """Whether the model's forward has a parameter of this name; not every family has all of them."""
    return name in inspect.signature(model.forward).parameters


def ends_of(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}


def processors(parameters: dict[str, Any]) -> Any:
    """What reshapes a token's chances, in the usual order. A temperature of 0 takes the likeliest token always."""
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    chain = LogitsProcessorList()
    if parameters["repetition_penalty"] != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(float(parameters["repetition_penalty"])))
    if parameters["temperature"] > 0:
        chain.append(TemperatureLogitsWarper(max(float(parameters["temperature"]), 1e-3)))
        if parameters["top_k"]:
            chain.append(TopKLogitsWarper(int(parameters["top_k"])))
        if parameters["top_p"] < 1:
            chain.append(TopPLogitsWarper(float(parameters["top_p"])))
    return chain


def decode(
    model: Any, tokenizer: Any, ids: list[int], parameters: dict[str, Any], most_tokens: int, cut: int = 0
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Go on from the token row `ids`: yields {"text", "tokens"} after each token, returns the answer of view `stream`.

    `parameters`: temperature, top_p, top_k, repetition_penalty, seed, stop. Equal seeds give equal texts, whatever else is answered
    in between: the random numbers are the call's own. `most_tokens` bounds the answer.
    """
    import torch

    began = time.monotonic()
    ends, chain, stop = ends_of(model, tokenizer), processors(parameters), str(parameters["stop"])
    random = torch.Generator(model.device).manual_seed(int(parameters["seed"]))
    row = torch.tensor([ids], device=model.device)
    past, feed = None, row
    fewer = {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}
    unfolding, tokens, text, told = _Unfolding(tokenizer), list[dict[str, Any]](), "", 0
    finish, first_ms = "length", 0.0
    for _number in range(most_tokens):
        with torch.inference_mode():
            out = model(input_ids=feed, past_key_values=past, use_cache=True, **fewer)
            past, logits = out.past_key_values, out.logits[:, -1].float()
            chances = logits.softmax(-1)[0]
            shaped = chain(row, logits)
            if parameters["temperature"] > 0:
                token = int(torch.multinomial(shaped.softmax(-1)[0], 1, generator=random))
            else:
                token = int(shaped.argmax(-1))
            best, which = chances.topk(min(ALTERNATIVES, len(chances)))
            feed = torch.tensor([[token]], device=model.device)
            row = torch.cat([row, feed], 1)
        first_ms = first_ms or (time.monotonic() - began) * 1000
        if token in ends:
            finish = "end"
            break
        added = unfolding.add(token)
        top = [[tokenizer.decode([int(t)]), round(float(p), 4)] for p, t in zip(best, which, strict=True)]
        tokens.append({"text": added, "p": round(float(chances[token]), 4), "top": top})
        text += added
        if stop and stop in text:
            text, finish = text[: text.index(stop)], "stop"
            _shorten(tokens, len(text))
            break
        held = 0 if not stop else next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
        yield {"text": text[told : len(text) - held], "tokens": tokens[-1:]}
        told = max(told, len(text) - held)
    if len(text) > told:
        yield {"text": text[told:], "tokens": []}
    seconds = max(time.monotonic() - began, 1e-9)
    return {
        "text": text,
        "tokens": tokens,
        "finish": finish,
        "tokens_in": len(ids),
        "tokens_out": len(tokens),
        "first_ms": round(first_ms, 1),
        "tokens_per_s": round(len(tokens) / seconds, 1) if math.isfinite(seconds) else 0.0,
        "cut": cut,
    }


def _shorten(tokens: list[dict[str, Any]], length: int) -> None:
    """Leave the tokens that make the first `length` characters."""
    at = 0
    for number, token in enumerate(tokens):
        if at >= length:
            del tokens[number:]
            return
        token["text"] = token["text"][: length - at]
        at += len(token["text"])
