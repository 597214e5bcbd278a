"""Opens the tokenizer of a model folder as its tokenizer.json says, which transformers does not always do.

transformers picks the class by the family, and a class builds its own rules around the vocabulary: a BERT with a tokenizer of
pieces (Unigram) then makes "unknown" of nearly every word, in silence. So what it makes of texts in ten scripts is compared with
what the library `tokenizers` makes of tokenizer.json itself. `python -m worker.nlp.tokenizing FOLDER` mends a folder for good.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.spec import Exit, Trouble
from worker.spec import gettext_noop as _

PROBES = (
    "The Quick brown fox isn't at Café № 42, naïve & well-known.",
    "Быстрая лиса прыгает через ленивую собаку.",
    "Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο.",
    "الثعلب السريع يقفز فوق الكلب الكسول.",
    "השועל המהיר קופץ מעל הכלב.",
    "तेज़ लोमड़ी आलसी कुत्ते के ऊपर कूदती है।",
    "สุนัขจิ้งจอกกระโดดข้ามสุนัข",
    "敏捷的狐狸跳过了懒狗。",
    "素早いキツネは犬を飛び越える。",
    "빠른 여우가 게으른 개를 뛰어넘는다.",
    "ten  blanks\tand\na line 😀",
)
SPARED = 2  # tokens at the beginning that may differ: whether a blank is thought before the first word is the model's matter
OWN_WORDS = 100
NAMES = {  # what special tokens are called, where the folder does not say it, or names one that the vocabulary lacks
    "unk_token": ("[UNK]", "<unk>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "bos_token": ("[BOS]", "<s>", "<bos>"),
    "eos_token": ("[EOS]", "</s>", "<eos>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def opened(folder: Path) -> Any:
    """The tokenizer of a folder. Raises Trouble where transformers cannot be brought to read it as it is written."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return _by_family(folder)
    raw = _raw(file)
    return _agreeing(folder, raw) or _as_written(folder, raw)


def _by_family(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)


def _agreeing(folder: Path, raw: Any) -> Any:
    """What transformers makes of the folder by itself; None where it reads another tokenizer than `raw`."""
    try:
        found = _by_family(folder)
        return found if agree(found, raw) else None
    except Exception:  # the rules of the family cannot be followed with this vocabulary
        return None


def agree(tokenizer: Any, raw: Any) -> bool:
    """Whether `tokenizer`, of transformers, makes the same tokens as `raw`, of the library `tokenizers`."""
    pairs = (
        (
            _unless_panic(lambda each: tokenizer(each, add_special_tokens=False, verbose=False)["input_ids"], text),
            _unless_panic(lambda each: raw.encode(each, add_special_tokens=False).ids, text),
        )
        for text in (*PROBES, *_own_words(raw))
    )
    return all(_are_alike(one, other) for one, other in pairs)


def _unless_panic(tokens: Callable[[str], list[int]], text: str) -> list[int]:
    """No tokens where the library panics over a text: that is told of the text, once somebody asks it."""
    try:
        return tokens(text)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return []


def _are_alike(one: list[int], other: list[int]) -> bool:
    """But for the first tokens."""
    same = next(
        (at for at, pair in enumerate(zip(reversed(one), reversed(other), strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    return max(len(one), len(other)) - same <= SPARED


def _own_words(raw: Any) -> list[str]:
    """Words that the vocabulary surely knows, from all over it, as they are and with capitals."""
    size = raw.get_vocab_size(with_added_tokens=False)
    decoded = (raw.decode([number]).strip() for number in range(0, size, max(1, size // OWN_WORDS)))
    words = " ".join(word for word in decoded if word.isalnum())  # no <s>, no [CLS]
    return [f"a b {words}", f"a b {words.title()}"]


def _raw(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        raw = Tokenizer.from_file(str(file))
    except Exception as problem:
        raise Trouble("bad_tokenizer", _("tokenizer.json of this model cannot be read."), _AGAIN, Exit.USER_DATA) from problem
    raw.no_truncation()
    raw.no_padding()
    return raw


def _as_written(folder: Path, raw: Any) -> Any:
    """tokenizer.json without any class around it."""
    from transformers import PreTrainedTokenizerFast

    try:
        found = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True, **_special(folder, raw))
        if agree(found, raw):
            return found
    except Exception as problem:
        raise _refused() from problem
    raise _refused()


def _special(folder: Path, raw: Any) -> dict[str, Any]:
    """The special tokens by name; None for one that the vocabulary does not have, since it would be added as a new one."""
    said: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            said |= json.loads((folder / name).read_text("utf-8"))
    known = raw.get_vocab(with_added_tokens=True)
    special: dict[str, Any] = {}
    for name, usual in NAMES.items():
        given = said.get(name)
        given = given.get("content") if isinstance(given, dict) else given
        special[name] = next((token for token in (given, *usual) if token in known), None)
    return special


_AGAIN = _("Fetch or copy the model again, or choose another one.")


def _refused() -> Trouble:
    return Trouble(
        "tokenizer_differs",
        _("The tokenizer of this model does not fit its family: its texts would be misread."),
        _("Choose another model, or bring one whose tokenizer.json and tokenizer_config.json belong together."),
        Exit.USER_DATA,
    )


def mend(folder: Path) -> str:
    """ "same" where transformers reads the tokenizer as it is written, "mended" where the folder was changed so that it does."""
    file = folder / "tokenizer.json"
    if not file.is_file() or _agreeing(folder, raw := _raw(file)) is not None:
        return "same"
    written = file.read_bytes()
    _as_written(folder, raw).save_pretrained(folder)
    file.write_bytes(written)
    if _agreeing(folder, raw) is None:
        raise _refused()
    return "mended"


def save(tokenizer: Any, folder: Path) -> None:
    """Save it so that transformers alone reads it as it is now: a class that builds rules of its own is left out."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    if tokenizer.is_fast and not _is_read_back(tokenizer, folder):
        said = json.loads(file.read_text("utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
        file.write_text(json.dumps(said, indent=2, ensure_ascii=False), "utf-8")


def _is_read_back(tokenizer: Any, folder: Path) -> bool:
    """Whether the class that the folder names makes the same tokens."""
    try:
        found = _by_family(folder)
        return all(found(text)["input_ids"] == tokenizer(text)["input_ids"] for text in PROBES)
    except Exception:  # a class that cannot be made of this vocabulary
        return False


def main() -> None:
    """One line of JSON: {"kind": "same" | "mended"} or {"kind": "refused", "text", "remedy"}."""
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        said = {"kind": mend(Path(sys.argv[1]))}
    except Trouble as trouble:
        said = {"kind": "refused", "text": trouble.text, "remedy": trouble.remedy}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
