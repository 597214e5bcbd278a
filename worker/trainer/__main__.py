"""`python -m worker.trainer spec.json` trains; without an argument it waits, warm, for a spec on standard input.

`python -m worker.trainer keep` reads {"spec", "metrics"} from there and makes a model of the checkpoint that the spec resumes.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch leaves many of its functions untyped)

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: a waiting thread must not burn a core
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import json
import traceback
from pathlib import Path
from typing import Any

from worker import machine
from worker.spec import Exit, RunSpec, SpecError, Trouble
from worker.spec import gettext_noop as _
from worker.trainer import control


def main() -> int:
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no message

    def say(message: dict[str, Any]) -> None:
        wire.write(json.dumps(message, ensure_ascii=False) + "\n")
        wire.flush()

    machine.limit_memory(int(os.environ.get("TRAIN_MEMORY", "0")))
    supervised = control.is_supervised()
    if supervised:
        control.die_with_parent()
    try:
        if sys.argv[1:] == ["keep"]:
            return _keep(json.loads(sys.stdin.readline()), say)
        if len(sys.argv) > 1:
            text = Path(sys.argv[1]).read_text("utf-8")
        else:
            _warm_up()
            say({"kind": "spare"})
            text = sys.stdin.readline()
            if not text.strip():
                return Exit.STOPPED
        return _run(RunSpec.from_json(text), supervised, say)
    except Trouble as trouble:
        return _failed(say, trouble)
    except SpecError as problem:
        return _failed(say, Trouble(f"setting:{problem.field}", str(problem), _("Correct the setting and start again.")))
    except control.LeaseOver:
        print("The lease is over; another attempt may be running. Leaving.", file=sys.stderr)
        return Exit.STOPPED
    except BrokenPipeError:
        return Exit.STOPPED
    except Exception as problem:
        traceback.print_exc()
        return _failed(say, _named(problem))


def _warm_up() -> None:
    """Import what takes seconds, and walk once through it."""
    import torch
    from peft import get_peft_model  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig  # noqa: F401

    from worker.trainer import loop  # noqa: F401
    from worker.trainer.rows import choose_pass

    tiny = BertConfig(vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    model = AutoModelForSequenceClassification.from_config(tiny)
    forward, _note = choose_pass(model, 0)
    forward.outputs([{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}]).sum().backward()
    torch.optim.AdamW(model.parameters(), fused=True).step()


def _run(spec: RunSpec, supervised: bool, say: Any) -> int:
    held = control.Control()
    if supervised:
        held = control.Supervised(spec.lease_s)
        held.listen(sys.stdin)
    if spec.device == "cpu" or not Path("/dev/nvidiactl").exists():
        os.nice(10)  # the web and the answers go first
    from worker.trainer.loop import train

    stopped = False
    for message in train(spec, held):
        say(message)
        stopped = message["kind"] == "stopped"
    return Exit.STOPPED if stopped else Exit.DONE


def _keep(asked: dict[str, Any], say: Any) -> int:
    os.nice(10)  # nobody waits for it as for an answer
    from worker.trainer.keeping import keep

    say(keep(RunSpec.from_json(asked["spec"]), asked["metrics"]))
    return Exit.DONE


def _failed(say: Any, trouble: Trouble) -> int:
    say({"kind": "failed", "code": trouble.code, "text": trouble.text, "remedy": trouble.remedy})
    return trouble.status


def _named(problem: Exception) -> Trouble:
    """A cause and a remedy for what the machine or a library threw."""
    from worker.trainer.checkpoints import disk_full, is_disk_full

    if machine.ran_out(problem):
        return Trouble(
            "out_of_memory",
            _("Ran out of memory."),
            _("The run tries again with smaller parts; or lower the batch in tokens, the longest text, or choose LoRA."),
            Exit.OUT_OF_MEMORY,
        )
    if is_disk_full(problem):
        return disk_full()
    return Trouble(
        "crash",
        _("The training ended on an error that it did not expect: %s") % type(problem).__name__,
        _("It is tried again by itself. If it keeps failing, the worker's log says more."),
        Exit.CRASHED,
    )


if __name__ == "__main__":
    status = int(main())
    sys.stdout.flush()
    os._exit(status)  # nothing is left to do; the threads of the libraries need not be waited for
