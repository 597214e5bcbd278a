"""A whole training as a list of messages: what it says, how it stops, and that going on is as if nothing had happened."""

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
from safetensors import safe_open

from tests.worker import toys
from tests.worker.toys import of_kind, spec_for
from worker.nlp import TASKS
from worker.spec import Exit, SpecError, Trouble, Wish
from worker.trainer import loop
from worker.trainer.checkpoints import Progress
from worker.trainer.control import Control, LeaseOver
from worker.trainer.loop import slope, train

METHODS = ["full", "quick", "lora"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return toys.base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toys.reviews(tmp_path_factory.mktemp("data") / "rows.parquet")


def weights_hash(folder):
    return hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("method", METHODS)
def test_a_training_learns_and_leaves_a_model_that_answers(tmp_path, base, data, method):
    rate, least = {"full": (1e-2, 0.85), "quick": (1e-2, 0.7), "lora": (1e-2, 0.6)}[method]
    data = toys.reviews(tmp_path / "rows.parquet", 200)
    spec = spec_for(tmp_path, base, data, method, settings={"epochs": 8, "learning_rate": rate})
    messages = list(train(spec))
    ready, done = of_kind(messages, "ready")[0], messages[-1]
    assert done["kind"] == "done" and done["step"] == ready["steps"]
    points = [p for p in of_kind(messages, "point") if "loss" in p["values"]]
    assert [p["step"] for p in points] == list(range(1, ready["steps"] + 1))
    assert set(points[0]["values"]) == {"loss", "learning_rate", "grad_norm", "tokens_per_s", "padding", "memory_mb"}
    assert points[-1]["epoch"] == pytest.approx(8) and points[-1]["time"] > points[0]["time"]
    evaluations = [p for p in of_kind(messages, "point") if "eval_loss" in p["values"]]
    assert len(evaluations) == 8 and "eval_macro_f1" in evaluations[0]["values"]
    assert done["metrics"]["macro_f1"] > least and done["evaluation"]["split"] == "test"
    assert bool(of_kind(messages, "progress")) == (method == "quick")
    json.dumps(messages, allow_nan=False)

    task = TASKS["classification"]
    model, tokenizer, labels = task.open(done["model"])
    assert labels == ("negative", "positive")
    held_out = pl.read_parquet(data).filter(pl.col("_split") == "test")
    answers = task.answer(model, tokenizer, labels, [{"text": t} for t in held_out["text"]], {})
    right = [answer["label"] == label for answer, label in zip(answers, held_out["label"], strict=True)]
    assert sum(right) / len(right) == pytest.approx(done["metrics"]["accuracy"])
    about = json.loads((Path(done["model"]) / "tunebench.json").read_text())
    assert about["metrics"] == done["metrics"] and len(about["examples"]) == 3 and about["labels"] == list(labels)
    assert (Path(done["model"]) / "adapter" / "adapter_model.safetensors").exists() == (method == "lora")
    for file in Path(done["model"]).rglob("*"):
        assert file.is_dir() or str(base) not in file.read_text("utf-8", errors="replace"), f"{file.name} names a path of this machine"


@pytest.mark.parametrize("family", ["gpt2", "llama", "mpnet", "modernbert"])
def test_other_families_train_too(tmp_path, data, family):
    base = toys.base_model(tmp_path / "base", family)
    messages = list(train(spec_for(tmp_path, base, data, settings={"epochs": 1})))
    assert messages[-1]["kind"] == "done"
    assert bool(of_kind(messages, "ready")[0]["notes"]) == (family in toys.PADDED)


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_training_ends_in_the_very_same_weights(tmp_path, base, data, method):
    settings = {"checkpoint_s": 0, "epochs": 2, "evaluations": 2}
    whole = list(train(spec_for(tmp_path, base, data, method, "whole", settings=settings)))
    steps = whole[-1]["step"]
    right = weights_hash(whole[-1]["model"])
    losses = {p["step"]: p["values"]["loss"] for p in of_kind(whole, "point") if "loss" in p["values"]}
    for cut in (1, steps // 2 - 1, steps // 2, steps - 2, steps):  # the middle of an epoch, its end, the last step
        name = f"cut-{cut}"
        before = train(spec_for(tmp_path, base, data, method, name, settings=settings))
        kept = next(m for m in before if m["kind"] == "checkpoint" and m["step"] == cut)
        before.close()  # what a kill leaves: the committed files, nothing else
        spec = spec_for(
            tmp_path, base, data, method, name, settings=settings, fence=2, resume=kept["path"], resume_sha256=kept["manifest_sha256"]
        )
        after = list(train(spec))
        assert of_kind(after, "ready")[0]["resumed_step"] == cut
        again = {p["step"]: p["values"]["loss"] for p in of_kind(after, "point") if "loss" in p["values"]}
        assert again == {step: loss for step, loss in losses.items() if step > cut}
        assert weights_hash(after[-1]["model"]) == right, cut
        assert after[-1]["metrics"] == whole[-1]["metrics"]


def test_smaller_parts_give_the_same_curve(tmp_path, base, data):
    settings = {"dropout": False, "epochs": 1}
    one, three = (
        [
            p["values"]["loss"]
            for p in of_kind(list(train(spec_for(tmp_path, base, data, name=str(n), settings={**settings, "accumulation": n}))), "point")
            if "loss" in p["values"]
        ]
        for n in (1, 3)
    )
    assert one == pytest.approx(three, abs=1e-4)


class After(Control):
    """Wants `wish` once it was asked `calls` times."""

    def __init__(self, wish, calls):
        super().__init__()
        self.then, self.left = wish, calls

    def wish(self):
        self.left -= 1
        if self.left < 0:
            self.wanted = self.then
        return super().wish()


def test_cancel_ends_at_the_next_step_without_a_model(tmp_path, base, data):
    spec = spec_for(tmp_path, base, data)
    messages = list(train(spec, After(Wish.CANCEL, 5)))
    assert messages[-1]["kind"] == "stopped" and messages[-1]["wish"] == "cancel"
    assert 0 < messages[-1]["step"] < of_kind(messages, "ready")[0]["steps"]
    assert not Path(spec.out, "model").exists()


def test_scoring_tells_how_far_it_is_so_that_nobody_takes_it_for_hung(tmp_path, base, data, monkeypatch):
    monkeypatch.setattr(loop, "TELL_S", 0)
    messages = list(train(spec_for(tmp_path, base, data)))
    kinds = [m["kind"] for m in messages]
    told = of_kind(messages, "progress")
    assert {m["what"] for m in told} == {"scoring"} and told[-1]["done"] == told[-1]["total"] > 0
    assert "progress" in kinds[kinds.index("point") : kinds.index("checkpoint")], "the validation rows"
    assert "progress" in kinds[-3 - len(told) :], "the held-out rows"


def test_pause_leaves_a_checkpoint_of_the_last_step(tmp_path, base, data):
    messages = list(train(spec_for(tmp_path, base, data), After(Wish.PAUSE, 5)))
    assert [m["kind"] for m in messages[-2:]] == ["checkpoint", "stopped"]
    assert messages[-1]["step"] == messages[-2]["step"] == of_kind(messages, "point")[-1]["step"]


def test_finish_keeps_what_was_learnt_so_far(tmp_path, base, data):
    messages = list(train(spec_for(tmp_path, base, data), After(Wish.FINISH, 5)))
    assert messages[-1]["kind"] == "done" and messages[-1]["step"] < of_kind(messages, "ready")[0]["steps"]
    assert any("eval_loss" in p["values"] for p in of_kind(messages, "point"))
    assert Path(messages[-1]["model"], "model.safetensors").exists()


def test_a_lost_lease_stops_before_anything_is_written(tmp_path, base, data):
    class Lost(Control):
        def still_mine(self):
            raise LeaseOver

    spec = spec_for(tmp_path, base, data)
    with pytest.raises(LeaseOver):
        list(train(spec, Lost()))
    assert not Path(spec.out).exists()


def test_early_stopping_ends_the_run_and_keeps_the_best_state(tmp_path, base, data):
    settings = {"epochs": 30, "patience": 2, "learning_rate": 1e-2}
    messages = list(train(spec_for(tmp_path, base, data, settings=settings)))
    scores = [p["values"]["eval_macro_f1"] for p in of_kind(messages, "point") if "eval_loss" in p["values"]]
    assert len(scores) < 30 and scores.index(max(scores)) == len(scores) - 3
    kept = [m for m in of_kind(messages, "checkpoint") if m["best"]][-1]
    with (
        safe_open(Path(kept["path"]) / "model.safetensors", "pt") as best,
        safe_open(Path(messages[-1]["model"]) / "model.safetensors", "pt") as result,
    ):
        assert (best.get_tensor("classifier.weight") == result.get_tensor("classifier.weight")).all()


def test_of_equal_scores_the_lower_loss_is_kept_and_a_higher_score_beats_both():
    progress = Progress()
    for step, (score, loss) in enumerate([(0.5, 0.9), (1.0, 0.7), (1.0, 0.02), (1.0, 0.03), (0.9, 0.01)], start=1):
        progress.step = step
        loop._judge(progress, score, loss, patience=4)
    assert (progress.best, progress.best_loss, progress.best_step) == (1.0, 0.02, 3)
    assert progress.fruitless == 3 and not progress.over  # a surer state is not a better score


def test_a_loss_that_runs_away_fails_with_the_remedy(tmp_path, base, data):
    with pytest.raises(Trouble) as caught:
        list(
            train(
                spec_for(tmp_path, base, data, settings={"learning_rate": 0.1, "warmup": 0, "clip": 1000, "epochs": 1, "weight_decay": 1}),
                Poison(),
            )
        )
    assert caught.value.code == "diverged" and "learning rate" in caught.value.remedy and caught.value.status is Exit.USER_DATA


class Poison(Control):
    """Spoils one weight of every model in the process after a few steps, as an overflow would."""

    calls = 0

    def wish(self):
        import gc

        import torch

        self.calls += 1
        if self.calls == 4:
            for thing in gc.get_objects():
                if type(thing) is torch.nn.Linear and thing.out_features == 2:  # isinstance would wake lazy objects of others
                    thing.weight.data.fill_(float("inf"))
        return super().wish()


def test_changed_rows_are_noticed(tmp_path, base, data):
    spec = spec_for(tmp_path, base, data)
    with pytest.raises(Trouble) as caught:
        list(train(type(spec)(**{**spec.__dict__, "data_sha256": "0" * 64})))
    assert caught.value.code == "rows_changed"


def test_going_on_with_other_rows_is_refused(tmp_path, base, data):
    kept = of_kind(list(train(spec_for(tmp_path, base, data))), "checkpoint")[-1]
    other = toys.reviews(tmp_path / "other.parquet", seed=2)
    with pytest.raises(Trouble) as caught:
        list(train(spec_for(tmp_path, base, other, fence=2, resume=kept["path"])))
    assert caught.value.code == "resume_mismatch"


def test_a_wrong_setting_names_its_field(tmp_path, base, data):
    with pytest.raises(SpecError) as caught:
        list(train(spec_for(tmp_path, base, data, settings={"window": 2})))
    assert caught.value.field == "window"


def test_without_rows_to_validate_the_last_state_is_kept_and_the_test_rows_are_scored(tmp_path, base):
    data = toys.reviews(tmp_path / "rows.parquet", splits=("train", "train", "test"))
    messages = list(train(spec_for(tmp_path, base, data)))
    assert messages[-1]["evaluation"]["split"] == "test"
    assert not any("eval_loss" in p["values"] for p in of_kind(messages, "point"))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_schedule_rises_then_never_rises_again(schedule):
    shares = [slope(step, 100, 0.1, schedule) for step in range(100)]
    assert shares[0] < 0.2 and max(shares) <= 1 and shares[:10] == sorted(shares[:10])
    assert shares[10:] == sorted(shares[10:], reverse=True)
