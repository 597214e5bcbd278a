"""One epoch of ours against the transformers Seq2SeqTrainer and Trainer with dynamic padding, for models that write.

The networks are small and begin from nothing: time is measured here, not quality. Both sides learn the same examples in as
many steps, so with the same batch in tokens, interleaved, on one thread.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.training import ROUNDS, arguments, compared, encoded, epochs, interleaved, quietly, show
from benchmarks.training import chosen as settings_of

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PAIRS, PAIRS_BATCH = 512, 32
DOCUMENTS, DOCUMENTS_BATCH, WINDOW = 256, 8, 256


def pairs(folder: Path) -> tuple[str, list[dict[str, str]]]:
    """(base, rows): every so many of the pairs, so that the sample is like the whole; the vocabulary is learnt from all."""
    from starters import build

    rows = [row for row in build.tatoeba(DATA) if row["_split"] == "train"]
    return translator(folder, rows), [{"source": r["source"], "target": r["target"]} for r in rows[:: len(rows) // PAIRS][:PAIRS]]


def translator(folder: Path, rows: list[dict[str, str]]) -> str:
    """An encoder-decoder of about seven million weights; its vocabulary is learnt from all pairs."""
    import torch
    import transformers

    from starters import build

    tokenizer = build.vocabulary((row[side] for row in rows for side in ("source", "target")), 4_000, folder, 128, ends=True)
    names = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    size = {"d_model": 256, "max_position_embeddings": 256, "scale_embedding": True, "dropout": 0.15, "forced_eos_token_id": None}
    for side in ("encoder", "decoder"):
        size |= {f"{side}_layers": 3, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 1024}
    torch.manual_seed(13)
    config = transformers.MBartConfig(vocab_size=len(tokenizer), decoder_start_token_id=tokenizer.pad_token_id, **size, **names)
    transformers.MBartForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def documents() -> list[str]:
    """Speeches: most of them short, some long."""
    speeches = (DATA / "generation/tinyshakespeare/input.txt").read_text("utf-8").split("\n\n")
    return [speech for speech in speeches if speech.strip()]


def generator(family: str, folder: Path) -> str:
    """A decoder of about four million weights; its vocabulary is learnt from all speeches."""
    import torch
    import transformers

    from starters import build

    tokenizer = build.vocabulary(iter(documents()), 4_000, folder, WINDOW, ends=False)
    names = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    size = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": WINDOW}
    more = {"llama": {"intermediate_size": 640, "tie_word_embeddings": True}}.get(family, {})
    torch.manual_seed(13)
    config = transformers.AutoConfig.for_model(family, vocab_size=len(tokenizer), **size, **more, **names)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def theirs(task: Any, base: str, frame: Any, given: dict[str, Any], batch: int, kind: str) -> Any:
    """A function that makes a Trainer for one epoch of the same examples and gives its `train()`."""
    import torch
    import transformers

    def epoch(number: int) -> Any:
        torch.manual_seed(13 + number)
        model, tokenizer, examples = encoded(task, base, frame, (), settings_of(task, given))
        rows = [{"input_ids": e["input_ids"], "attention_mask": [1] * len(e["input_ids"]), "labels": e["labels"]} for e in examples]
        options = arguments(batch, f"{kind.removesuffix('Trainer')}TrainingArguments", seed=13 + number)
        collator = transformers.DataCollatorForSeq2Seq(tokenizer, model=model if model.config.is_encoder_decoder else None)
        learner = getattr(transformers, kind)(model=model, args=options, train_dataset=rows, data_collator=collator)
        return quietly(learner).train

    return epoch


def equal_tokens(lengths: list[int], batch: int, padded: bool) -> int:
    """The least number of tokens with which ours makes no more steps of an epoch than batches of `batch` rows do."""
    from worker.trainer import batches

    tokens, steps = batch * sum(lengths) // len(lengths), -(-len(lengths) // batch)
    while len(batches.plan(lengths, seed=13, epoch=0, rows=len(lengths), tokens=tokens, padded=padded)) > steps:
        tokens += 1
    return tokens


def duel(
    slug: str, base: str, rows: list[dict[str, str]], given: dict[str, Any], batch: int, kind: str, rounds: int
) -> list[dict[str, Any]]:
    """Both sides make as many steps of the epoch: the same batch in tokens."""
    import polars as pl

    from worker.nlp import TASKS
    from worker.trainer.rows import choose_pass, length_of

    task, frame = TASKS[slug], pl.DataFrame(rows)
    model, _tokenizer, examples = encoded(task, base, frame, (), settings_of(task, given))
    tokens = equal_tokens([length_of(e) for e in examples], batch, padded=choose_pass(model, 0)[0].is_padded)
    mine = {**given, "batch_tokens": tokens, "batch_rows": 4096}
    times = interleaved(
        {"ours": epochs(task, base, frame, (), mine), "theirs": theirs(task, base, frame, given, batch, kind)},
        rounds,
    )
    what = f"{task.title} ({model.config.model_type}), one epoch of {len(rows)} rows, {tokens} tokens a step, against {kind}, dynamic padding, batch {batch}"
    return compared(what, times["ours"], times["theirs"])


def run(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    if not DATA.is_dir():
        print("  left out: the shared data is not on this machine")
        return []
    found = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TUNEBENCH_HOME")) as scratch:
        base, rows = pairs(Path(scratch))
        given: dict[str, Any] = {"source_lang": "en", "target_lang": "zh"}
        found += duel("translation", base, rows, given, PAIRS_BATCH, "Seq2SeqTrainer", rounds)
        speeches = documents()
        rows = [{"text": speech} for speech in speeches[:: len(speeches) // DOCUMENTS][:DOCUMENTS]]
        for family in ("gpt2", "llama"):
            base = generator(family, Path(scratch) / family)
            found += duel("generation", base, rows, {"window": WINDOW}, DOCUMENTS_BATCH, "Trainer", rounds)
    return found


if __name__ == "__main__":
    show(run(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
