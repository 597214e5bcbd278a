"""The unpadded pass and the kept lower layers compute what the stock model computes."""

import pytest
import torch
from torch.nn import functional as F

from tests.worker import toys
from worker.trainer import batches
from worker.trainer.frozen import Upper, blocks_of, bottom, freeze_bottom, frozen_layers, only
from worker.trainer.rows import Flat, Padded, choose_pass, lay, outputs, rows_attention

ROWS = [[2, *range(4, 4 + n), 3] for n in (0, 1, 1, 5, 9, 9, 20, 26)]
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
FLAT = sorted(set(toys.FAMILIES) - toys.PADDED)
SAME = {"rtol": 1e-4, "atol": 2e-5}


def gradients(model, logits):
    model.zero_grad()
    F.cross_entropy(logits, TARGETS).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FLAT)
def test_unpadded_logits_and_gradients_are_those_of_the_padded_model(family):
    stock = toys.classifier(family)
    right = Padded(stock, 0).logits(ROWS)
    wanted = gradients(stock, right)
    model = toys.classifier(family)
    forward, note = choose_pass(model, 0)
    assert isinstance(forward, Flat) and note == ""
    found = forward.logits(ROWS)
    torch.testing.assert_close(found, right, **SAME)
    got = gradients(model, found)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=2e-5, msg=name)


def test_row_means_are_those_of_the_padded_model():
    stock, model = (toys.classifier("modernbert", classifier_pooling="mean") for _twice in range(2))
    forward, _note = choose_pass(model, 0)
    assert isinstance(forward, Flat)
    torch.testing.assert_close(forward.logits(ROWS), Padded(stock, 0).logits(ROWS), **SAME)


@pytest.mark.parametrize("family", sorted(toys.PADDED))
def test_a_family_with_attention_of_its_own_falls_back_to_padding_and_says_so(family):
    stock, model = toys.classifier(family), toys.classifier(family)
    forward, note = choose_pass(model, 0)
    assert isinstance(forward, Padded) and "padding" in note
    torch.testing.assert_close(forward.logits(ROWS), Padded(stock, 0).logits(ROWS))
    assert not any(m._forward_hooks for m in model.modules())


def test_the_check_would_notice_rows_that_see_each_other():
    stock, model = toys.classifier("bert"), toys.classifier("bert")
    flat = Flat(model)
    model.set_attn_implementation("sdpa")
    assert (flat.logits(ROWS) - Padded(stock, 0).logits(ROWS)).abs().max() > 0.01


def test_rows_attention_refuses_a_padded_call():
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        rows_attention(torch.nn.Module(), *(torch.zeros(1, 1, 2, 2),) * 3, None)


def test_a_batch_may_hold_more_tokens_than_the_position_table():
    model = toys.classifier("bert")
    forward, _note = choose_pass(model, 0)
    assert sum(map(len, ROWS * 4)) > 64
    torch.testing.assert_close(forward.logits(ROWS * 4)[: len(ROWS)], forward.logits(ROWS), **SAME)


def test_outputs_come_back_in_the_order_of_the_rows():
    model = toys.classifier("bert")
    forward, _note = choose_pass(model, 0)
    shuffled = [ROWS[i] for i in (6, 0, 4, 2, 7, 1, 5, 3)]
    work = outputs(lambda numbers: forward.logits([shuffled[i] for i in numbers]), [len(r) for r in shuffled], 30)
    found = None

    def drain():
        nonlocal found
        found = yield from work

    told = list(drain())
    assert told == sorted(set(told)) and told[-1] == len(ROWS) and len(told) > 2
    torch.testing.assert_close(found, forward.logits(shuffled), **SAME)


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
    upper = Upper(forward, depth, [{"input_ids": r} for r in ROWS], tmp_path / "kept")
    model.eval()
    assert list(upper.keep(torch.no_grad, most_tokens=40))[-1] == len(ROWS)
    order = [5, 0, 7, 1, 2, 3, 6, 4]
    found = upper.logits_of(order)
    right = full.logits(ROWS)
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
    upper = Upper(forward, 2, [{"input_ids": r} for r in ROWS], tmp_path / "deep" / "kept")
    list(upper.keep(torch.no_grad))
    torch.testing.assert_close(upper.logits_of(list(range(len(ROWS)))), forward.logits(ROWS), **SAME)
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
    laid = lay([[5, 6], [7, 8, 9]], torch.device("cpu"), start=2)
    assert laid["position_ids"].tolist() == [[2, 3, 2, 3, 4]] and laid["cu_seq_lens_q"].tolist() == [0, 2, 5]
