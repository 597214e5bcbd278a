"""What a model cannot read is counted and said: in a run, and beside an answer."""

import polars as pl
import pytest
import transformers
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Whitespace

from tests.worker import toys
from worker.nlp import texts
from worker.serving.pool import Pool
from worker.serving.questions import Key
from worker.trainer.loop import train


def fast(model, pre_tokenizer, **special):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


WORDPIECE = fast(WordPiece({"[UNK]": 0, "good": 1, "film": 2}, unk_token="[UNK]"), Whitespace(), unk_token="[UNK]")
UNIGRAM = fast(Unigram([("<unk>", 0.0), ("▁", -1.0), ("good", -2.0), ("film", -2.0)], unk_id=0), Metaspace(), unk_token="<unk>")
BYTES = fast(
    BPE({sign: at for at, sign in enumerate(["<end>", *ByteLevel.alphabet()])}, []), ByteLevel(), unk_token="<end>", eos_token="<end>"
)


@pytest.mark.parametrize("tokenizer", [WORDPIECE, UNIGRAM], ids=["wordpiece", "unigram"])
@pytest.mark.parametrize(("text", "share"), [("good film", 0.0), ("good किताब", 0.5556), ("好的电影", 1.0), ("", 0.0), ("  ", 0.0)])
def test_the_unknown_is_counted_by_characters_however_many_tokens_it_makes(tokenizer, text, share):
    assert texts.unknown_share(tokenizer, [text]) == pytest.approx(share, abs=0.001)


def test_a_model_of_bytes_knows_every_text():
    assert texts.unknown_share(BYTES, ["good किताब 好的电影"]) == 0.0


@pytest.fixture
def base(tmp_path):
    return toys.base_model(tmp_path / "base")


def run(tmp_path, base, change):
    data = toys.reviews(tmp_path / "rows.parquet")
    pl.read_parquet(data).with_columns(text=change).write_parquet(data)
    return list(train(toys.spec_for(tmp_path, base, data, settings={"epochs": 1})))


def test_a_run_on_rows_that_its_base_cannot_read_says_so(tmp_path, base):
    messages = run(tmp_path, base, pl.when(pl.int_range(pl.len()) % 7 < 5).then(pl.lit("यह किताब बहुत अच्छी है")).otherwise("text"))
    (ready,), (done,) = toys.of_kind(messages, "ready"), toys.of_kind(messages, "done")
    share = done["evaluation"]["unknown"]
    assert 0.5 < share < 1 and any(f"{share:.0%} of their text means nothing to it" in note for note in ready["notes"])
    assert any(f"{share:.0%}" in line["text"] for line in toys.of_kind(messages, "log") if line["level"] == "warning")


def test_a_run_on_rows_that_its_base_reads_says_nothing_of_it(tmp_path, base):
    messages = run(tmp_path, base, pl.col("text"))
    assert toys.of_kind(messages, "done")[0]["evaluation"]["unknown"] == 0.0 and toys.of_kind(messages, "ready")[0]["notes"] == []


@pytest.mark.parametrize("untuned", [False, True])
def test_an_answer_says_how_much_of_the_question_was_unknown(tmp_path, base, untuned):
    done = toys.of_kind(run(tmp_path, base, pl.col("text")), "done")[0]
    warm = Pool(10**9).get(Key(str(base) if untuned else done["model"], "classification", untuned))
    answers = warm.answer([{"text": "good film"}, {"text": "好的 film"}], ("negative", "positive"), {}, untuned)
    assert [answer["unknown"] for answer in answers] == [0.0, pytest.approx(1 / 3, abs=0.001)]
