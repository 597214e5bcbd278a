"""A checkpoint is whole or not there: every place where writing can be cut off is tried."""

import errno
import os
import shutil

import pytest
import torch

from tests.worker import toys
from worker.spec import Exit, Trouble
from worker.trainer import checkpoints
from worker.trainer.checkpoints import Checkpoints, Progress, committed, verify
from worker.trainer.control import Control, LeaseOver


class Crash(BaseException):
    """Power is gone: no handler may tidy up."""


class Machine:
    """Stands in for `os` (and the two other ways to write) and fails at the chosen operation."""

    def __init__(self, fail_at, error=Crash):
        self.fail_at, self.error, self.done = fail_at, error, 0

    def __getattr__(self, name):
        real = getattr(os, name)
        return self.counted(real) if name in {"mkdir", "open", "fsync", "close", "rename", "link"} else real

    def counted(self, call, half=None):
        def operation(*args, **kwargs):
            self.done += 1
            if self.done == self.fail_at:
                if half:
                    half(*args)
                raise self.error
            return call(*args, **kwargs)

        return operation


def torn(_content, path):
    with open(path, "wb") as file:
        file.write(b"\x08\x00\x00")


@pytest.fixture
def writer(tmp_path):
    torch.manual_seed(0)
    spec = toys.spec_for(tmp_path, tmp_path, toys.reviews(tmp_path / "rows.parquet"))
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    return spec, model, optimizer


def step(model, optimizer):
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(writer, number, monkeypatch=None, machine=None):
    spec, model, optimizer = writer
    if machine:
        monkeypatch.setattr(checkpoints, "os", machine)
        monkeypatch.setattr(checkpoints, "save_file", machine.counted(checkpoints.save_file, torn))
        monkeypatch.setattr(
            checkpoints, "write_text", machine.counted(checkpoints.write_text, lambda path, text: path.write_text(text[: len(text) // 2]))
        )
    try:
        store = Checkpoints(spec, Control().still_mine)
        earlier = store.folder / str(number - 1) / "model.safetensors"
        store.best = earlier if earlier.exists() else None
        return store.save(model, optimizer, Progress(step=number))
    finally:
        monkeypatch and monkeypatch.undo()


def test_whatever_operation_is_the_last_a_whole_checkpoint_is_found(writer, monkeypatch):
    spec, model, optimizer = writer
    step(model, optimizer)
    first = save(writer, 1)
    kept = shutil.copytree(first.path, first.path.parent.parent / "kept")
    step(model, optimizer)
    counting = Machine(fail_at=-1)
    save(writer, 2, monkeypatch, counting)
    assert counting.done > 20
    for fail_at in range(1, counting.done + 1):
        shutil.rmtree(first.path.parent)
        shutil.copytree(kept, first.path)
        with pytest.raises(Crash):
            save(writer, 2, monkeypatch, Machine(fail_at))
        found = next(committed(first.path.parent))
        fresh = torch.nn.Linear(3, 2)
        again = Checkpoints(type(spec)(**{**spec.__dict__, "resume": str(found)}), Control().still_mine)
        progress, _notes = again.resume(fresh, torch.optim.AdamW(fresh.parameters()))
        assert progress.step == int(found.name) in {1, 2}
        assert (found.name == "2") == (fail_at > counting.done - 3), "only what follows the rename may come after the commit"
        save(writer, 3)  # and the next one is not disturbed by what was left lying about
        assert next(committed(first.path.parent)).name == "3"


@pytest.mark.parametrize("fail_at", [2, 4, 9])
def test_a_full_disk_keeps_the_older_checkpoint_and_leaves_nothing_half_done(writer, monkeypatch, fail_at):
    first = save(writer, 1)
    with pytest.raises(Trouble) as caught:
        save(writer, 2, monkeypatch, Machine(fail_at, OSError(errno.ENOSPC, "No space left on device")))
    assert caught.value.status is Exit.DISK_FULL and "space" in caught.value.remedy
    assert [p.name for p in first.path.parent.iterdir()] == ["1"]
    verify(first.path, first.manifest_sha256)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_is_refused_before_the_file_is_opened(writer, monkeypatch, file):
    spec, model, optimizer = writer
    step(model, optimizer)
    saved = save(writer, 1)
    content = bytearray((saved.path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (saved.path / file).write_bytes(content)
    monkeypatch.setattr(checkpoints, "load_file", lambda *_: pytest.fail("opened"))
    damaged = type(spec)(**{**spec.__dict__, "resume": str(saved.path), "resume_sha256": saved.manifest_sha256})
    with pytest.raises(Trouble) as caught:
        Checkpoints(damaged, Control().still_mine).resume(model, optimizer)
    assert caught.value.code == "checkpoint_damaged" and caught.value.status is Exit.DAMAGED


def test_another_manifest_than_the_recorded_one_is_refused(writer):
    one, two = save(writer, 1), save(writer, 2)
    with pytest.raises(Trouble):
        verify(one.path, two.manifest_sha256)


def test_nothing_is_committed_after_the_lease_is_over(writer):
    spec, model, optimizer = writer

    def over():
        raise LeaseOver

    store = Checkpoints(spec, over)
    with pytest.raises(LeaseOver):
        store.save(model, optimizer, Progress(step=1))
    assert list(committed(store.folder)) == []


def test_checkpoints_hold_no_pickle(writer):
    saved = save(writer, 1)
    assert {p.suffix for p in saved.path.iterdir()} == {".safetensors", ".json"}


def test_the_best_state_outlives_the_checkpoint_that_a_run_went_on_from(writer):
    spec, model, optimizer = writer
    step(model, optimizer)
    first = Checkpoints(spec, Control().still_mine)
    first.save(model, optimizer, Progress(step=1, best=0.5, best_step=1))
    best = model.weight.detach().clone()
    step(model, optimizer)
    came_from = first.save(model, optimizer, Progress(step=2, best=0.5, best_step=1)).path
    again = Checkpoints(type(spec)(**{**spec.__dict__, "fence": 2, "resume": str(came_from)}), Control().still_mine)
    again.resume(model, optimizer)
    again.save(model, optimizer, Progress(step=3, best=0.5, best_step=1))
    shutil.rmtree(came_from)  # as the supervisor does once newer ones are committed
    again.save(model, optimizer, Progress(step=4, best=0.5, best_step=1))
    again.put_best(model)
    assert torch.equal(model.weight, best)


def test_an_attempt_prunes_only_its_old_checkpoints_and_never_the_best(writer, monkeypatch):
    spec, model, optimizer = writer
    monkeypatch.setattr(checkpoints, "KEPT_S", -1)
    store = Checkpoints(spec, Control().still_mine)
    for number in range(1, 8):
        store.save(model, optimizer, Progress(step=number, best=0.5, best_step=2 if number > 1 else 1))
    assert sorted(p.name for p in store.folder.iterdir()) == ["2", "5", "6", "7"]
    assert (store.folder / "7" / "best.safetensors").samefile(store.folder / "2" / "model.safetensors")
