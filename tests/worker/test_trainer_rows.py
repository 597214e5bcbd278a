"""The unpadded pass and the kept lower layers compute what the stock model computes."""

import pytest
import torch
import transformers
from torch.nn import functional as F

from tests.worker import toys
from worker.trainer import batches
from worker.trainer.frozen import Upper, blocks_of, bottom, freeze_bottom, frozen_layers, only
from worker.trainer.rows import Flat, Padded, choose_pass, lay, length_of, reading, rows_attention

ROWS = [{"input_ids": [2, *range(4, 4 + n), 3]} for n in (0, 1, 1, 5, 9, 9, 20, 26)]
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
FLAT = sorted(set(toys.CLASSIFIERS) - toys.PADDED)
SAME = {"rtol": 1e-4, "atol": 2e-5}


def gradients(model, logits):
    model.zero_grad()
    F.cross_entropy(logits, TARGETS).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FLAT)
def test_unpadded_logits_and_gradients_are_those_of_the_padded_model(family):
    stock = toys.classifier(family)
    right = Padded(stock, 0, "rows").outputs(ROWS)
    wanted = gradients(stock, right)
    model = toys.classifier(family)
    forward, note = choose_pass(model, 0)
    assert isinstance(forward, Flat) and note == ""
    found = forward.outputs(ROWS)
    torch.testing.assert_close(found, right, **SAME)
    got = gradients(model, found)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=2e-5, msg=name)


def test_row_means_are_those_of_the_padded_model():
    stock, model = (toys.classifier("modernbert", classifier_pooling="mean") for _twice in range(2))
    forward, _note = choose_pass(model, 0)
    assert isinstance(forward, Flat)
    torch.testing.assert_close(forward.outputs(ROWS), Padded(stock, 0, "rows").outputs(ROWS), **SAME)


@pytest.mark.parametrize("family", sorted(toys.PADDED))
def test_a_family_with_attention_of_its_own_falls_back_to_padding_and_says_so(family):
    stock, model = toys.classifier(family), toys.classifier(family)
    forward, note = choose_pass(model, 0)
    assert isinstance(forward, Padded) and "padding" in note
    torch.testing.assert_close(forward.outputs(ROWS), Padded(stock, 0, "rows").outputs(ROWS))
    assert not any(m._forward_hooks for m in model.modules())


def test_the_check_would_notice_rows_that_see_each_other():
    stock, model = toys.classifier("bert"), toys.classifier("bert")
    flat = Flat(model, "rows")
    model.set_attn_implementation("sdpa")
    assert (flat.outputs(ROWS) - Padded(stock, 0, "rows").outputs(ROWS)).abs().max() > 0.01


def test_rows_attention_refuses_a_padded_call():
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        rows_attention(torch.nn.Module(), *(torch.zeros(1, 1, 2, 2),) * 3, None)


def test_a_batch_may_hold_more_tokens_than_the_position_table():
    model = toys.classifier("bert")
    forward, _note = choose_pass(model, 0)
    assert sum(len(row["input_ids"]) for row in ROWS * 4) > 64
    torch.testing.assert_close(forward.outputs(ROWS * 4)[: len(ROWS)], forward.outputs(ROWS), **SAME)


def test_outputs_come_back_in_the_order_of_the_rows():
    model = toys.classifier("bert")
    forward, _note = choose_pass(model, 0)
    shuffled = [ROWS[i] for i in (6, 0, 4, 2, 7, 1, 5, 3)]
    work = reading(lambda numbers: list(forward.outputs([shuffled[i] for i in numbers])), [len(r["input_ids"]) for r in shuffled], 30)
    found = None

    def drain():
        nonlocal found
        found = yield from work

    told = list(drain())
    assert told == sorted(set(told)) and told[-1] == len(ROWS) and len(told) > 2
    torch.testing.assert_close(torch.stack(found), forward.outputs(shuffled), **SAME)


@pytest.mark.parametrize("family", [f for f in FLAT if f != "albert"])
def test_training_on_kept_states_has_the_gradients_of_the_whole_model_and_none_below(family, tmp_path):
    stock, model = toys.classifier(family), toys.classifier(family)
    full, _note = choose_pass(stock, 0)
    depth = frozen_layers(model.base_model, 0.67)
    assert depth == 2
    freeze_bottom(model, depth)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all(p.requires_grad for p in blocks_of(model.base_model)[2][depth].parameters())
    assert not any(p.requires_grad for p in blocks_of(model.base_model)[2][depth - 1].parameters())
    names = list(model.state_dict())
    forward, _note = choose_pass(model, 0)
    upper = Upper(forward, depth, ROWS, tmp_path / "kept")
    model.eval()
    assert list(upper.keep(torch.no_grad, most_tokens=40))[-1] == len(ROWS)
    order = [5, 0, 7, 1, 2, 3, 6, 4]
    found = upper.outputs_of(order)
    right = full.outputs(ROWS)
    torch.testing.assert_close(found, right[order], **SAME)
    wanted = gradients(stock, right)
    got = gradients(model, found[torch.tensor(order).argsort()])
    assert not frozen & got.keys()
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=2e-5, msg=name)
    assert list(model.state_dict()) == names


def test_kept_states_may_lie_in_a_file_that_nobody_finds_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.trainer.frozen.IN_MEMORY_BYTES", 0)
    model = toys.classifier("bert")
    forward, _note = choose_pass(model, 0)
    upper = Upper(forward, 2, ROWS, tmp_path / "deep" / "kept")
    list(upper.keep(torch.no_grad))
    torch.testing.assert_close(upper.outputs_of(list(range(len(ROWS)))), forward.outputs(ROWS), **SAME)
    assert list((tmp_path / "deep").iterdir()) == []


def test_shared_layers_cannot_be_frozen_and_a_person_learns_why():
    from worker.spec import Trouble

    with pytest.raises(Trouble) as caught:
        frozen_layers(toys.classifier("albert").base_model, 0.67)
    assert "Full or LoRA" in caught.value.remedy


def test_the_stand_ins_are_gone_after_an_error():
    base = toys.classifier("gpt2").base_model
    before = list(base.state_dict())
    with pytest.raises(RuntimeError), only(base, 1, 3, given=True):
        raise RuntimeError
    assert list(base.state_dict()) == before
    assert bottom(base, 1, input_ids=torch.tensor([[1, 2]])).shape == (1, 2, 16)


@pytest.mark.parametrize("padded", [False, True])
def test_a_plan_holds_every_row_once_within_its_limits(padded):
    lengths = [(7 * i) % 50 + 1 for i in range(500)]
    plan = batches.plan(lengths, seed=1, epoch=0, rows=16, tokens=300, padded=padded)
    assert sorted(i for batch in plan for i in batch) == list(range(500))
    for batch in plan:
        cost = len(batch) * max(lengths[i] for i in batch) if padded else sum(lengths[i] for i in batch)
        assert len(batch) <= 16 and (cost <= 300 or len(batch) == 1)


def test_a_plan_depends_on_seed_and_epoch_alone():
    lengths = [(7 * i) % 50 + 1 for i in range(500)]
    plans = [batches.plan(lengths, seed=s, epoch=e, rows=16, tokens=300) for s, e in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert plans[0] == plans[1] and plans[0] != plans[2] and plans[0] != plans[3]


def test_parts_of_a_batch_are_the_batch():
    for count in (1, 2, 3, 7, 40):
        assert [i for part in batches.parts(list(range(20)), count) for i in part] == list(range(20))


def test_lay_gives_each_row_its_own_positions():
    laid = lay([{"input_ids": [5, 6]}, {"input_ids": [7, 8, 9]}], torch.device("cpu"), start=2)
    assert laid["position_ids"].tolist() == [[2, 3, 2, 3, 4]] and laid["cu_seq_lens_q"].tolist() == [0, 2, 5]


# --- heads that give an output for every token, and decoders ---------------------------------------------------------------
TYPED = [{**row, "token_type_ids": [0] * (len(row["input_ids"]) // 2) + [1] * -(-len(row["input_ids"]) // 2)} for row in ROWS]


@pytest.mark.parametrize("head", ["QuestionAnswering", "TokenClassification"])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert", "modernbert"])
def test_outputs_for_each_token_are_those_of_the_padded_model(family, head):
    rows = TYPED if family in {"bert", "electra"} else ROWS
    auto = getattr(transformers, f"AutoModelFor{head}", None)
    try:
        stock, model = (toys.seeded(lambda: auto.from_config(toys.config(family, num_labels=2)).eval()) for _twice in range(2))
    except ValueError:
        pytest.fail(f"{family} has no such head")
    forward, note = choose_pass(model, 0)
    assert isinstance(forward, Flat) and note == "" and forward.layout == "tokens"
    for found, right, row in zip(forward.outputs(rows), Padded(stock, 0, "tokens").outputs(rows), rows, strict=True):
        assert found.shape == (len(row["input_ids"]), 2)
        torch.testing.assert_close(found, right, **SAME)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_a_decoders_learnt_tokens_are_those_of_the_padded_model(family):
    rows = [{"input_ids": r["input_ids"], "labels": [-100, -100, *r["input_ids"][2:]]} for r in ROWS if len(r["input_ids"]) > 2]
    stock, model = (toys.seeded(lambda: transformers.AutoModelForCausalLM.from_config(toys.config(family)).eval()) for _twice in range(2))
    forward, note = choose_pass(model, 0)
    assert isinstance(forward, Flat) and note == "" and forward.layout == "stream"
    found = forward.outputs(rows)
    assert found.shape == (sum(len(r["input_ids"]) - 2 for r in rows), toys.VOCABULARY)
    torch.testing.assert_close(found, Padded(stock, 0, "stream").outputs(rows), **SAME)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_no_token_sees_another_document(family):
    """Whatever stands in one document of a batch, the outputs of the others stay the same to the last bit, and no gradient
    of theirs reaches its tokens."""
    model = toys.seeded(lambda: transformers.AutoModelForCausalLM.from_config(toys.config(family)).eval())
    forward, _note = choose_pass(model, 0)

    def document(start):
        ids = [start + i % 9 for i in range(12)]
        return {"input_ids": ids, "labels": [-100, *ids[1:]]}

    one, two, other = document(5), document(15), document(25)
    torch.testing.assert_close(forward.outputs([one, two])[11:], forward.outputs([other, two])[11:], rtol=0, atol=0)
    torch.testing.assert_close(forward.outputs([one, two])[:11], forward.outputs([one, other])[:11], rtol=0, atol=0)
    words = model.get_input_embeddings()
    seen = []
    hook = words.register_forward_hook(lambda _m, _a, out: seen.append(out) or out.retain_grad())
    forward.outputs([one, two])[11:].sum().backward()
    hook.remove()
    assert seen[0].grad[0, :12].abs().max() == 0 < seen[0].grad[0, 12:].abs().max()


def test_an_encoder_decoder_learns_each_target_token_and_no_padding():
    model = toys.seeded(lambda: transformers.AutoModelForSeq2SeqLM.from_config(toys.config("marian")).eval())
    forward, note = choose_pass(model, 0)
    assert forward.is_padded and note == ""
    rows = [{"input_ids": [5, 6, 3], "labels": [7, 3]}, {"input_ids": [5, 6, 7, 8, 3], "labels": [9, 8, 7, 3]}]
    together, alone = forward.outputs(rows), [forward.outputs([row]) for row in rows]
    assert together.shape == (6, toys.VOCABULARY)
    torch.testing.assert_close(together, torch.cat(alone), **SAME)
    labels = torch.tensor([[7, 3]])
    torch.testing.assert_close(F.cross_entropy(alone[0], labels[0]), model(input_ids=torch.tensor([[5, 6, 3]]), labels=labels).loss)


def test_a_row_is_as_long_as_what_a_step_computes_for_it():
    assert length_of({"input_ids": [5, 6, 3]}) == 3
    assert length_of({"input_ids": [5, 6, 3], "labels": [-100, 6, 3]}) == 3  # a decoder reads what it learns
    assert length_of({"input_ids": [5, 6, 3], "labels": [7, 8, 3]}) == 6  # a pair, also when both sides are equally long
