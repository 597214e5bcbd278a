"""Fetches a model of the hub for a data worker: safetensors, configuration and tokenizer of one pinned commit, nothing else."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from webapp.catalog.fitting import fit_tokenizer
from webapp.catalog.models import ModelVersion, fields_of, skill_of
from webapp.quota import OverQuota
from webapp.work.models import WorkItem
from worker.weights import PICKLES, TOKENIZER_FILES, Unusable, look

log = logging.getLogger(__name__)
WANTED = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "README.md"),
    *TOKENIZER_FILES,
    *("merges.txt", "*.spm", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
)
SMALL = 64 * 1024**2  # bytes; anything wanted that is not weights is smaller
MOST_LISTED = 10_000  # files in a repository; one with more is no model
MOST_FETCHED = 500  # files of one model
WATCH_S = 1.0
LEAST_BYTES, STALLED_S = 1024**2, 300.0  # so much must arrive in so many seconds
LEFT_S = 600  # so old is a draft of which no row knows, when it is taken for left over


class Refused(Exception):
    """The model cannot be fetched; the message is for people and says what to do."""


class Unwanted(Exception):
    """Whoever asked for the model has deleted it."""


class Lost(Exception):
    """The download ended without a word; it is worth another attempt."""


def fetch_model(item: WorkItem) -> None:
    """Do what `item` asks for. Harmless when done twice; the outcome stands on the model."""
    fetching = ModelVersion.objects.filter(pk=item.subject, state=ModelVersion.State.FETCHING, deleted_at=None)
    model = fetching.first()
    if model is None:
        return
    part = model.draft
    try:
        commit, facts = fetch(model.source.split("@")[0], part, lambda done, total: note(model, done, total), fetching.exists)
        fit_tokenizer(part)
        model.reserve(facts["bytes"])  # a short download is over before anybody has looked how large it is
    except Unwanted:
        shutil.rmtree(part, ignore_errors=True)
        if fetching.exists():
            raise Lost(f"{model} was deleted, and restored at once") from None
        return
    except (Refused, Unusable, OverQuota) as refusal:
        shutil.rmtree(part, ignore_errors=True)
        settle(model, state=ModelVersion.State.FAILED, reason=str(refusal))
        return
    shutil.rmtree(model.path, ignore_errors=True)
    part.rename(model.path)
    settle(model, state=ModelVersion.State.READY, source=f"{model.source.split('@')[0]}@{commit}", **facts)


def tidy() -> None:
    """Models on which nobody works any more have failed; what was left of the work goes."""
    working = WorkItem.objects.filter(subject=OuterRef("pk"), state__in=WorkItem.WAITING | WorkItem.LEASED)
    left = ModelVersion.objects.filter(~Exists(working), state=ModelVersion.State.FETCHING, deleted_at=None)
    left.update(
        state=ModelVersion.State.FAILED, reason=_("This broke off three times; the log of the data worker says why. Ask for it again.")
    )
    for draft in (settings.FILES / "models").glob("*.part"):
        wanted = ModelVersion.objects.filter(pk=draft.stem, state=ModelVersion.State.FETCHING, deleted_at=None)
        if time.time() - draft.stat().st_mtime > LEFT_S and not wanted.exists():
            shutil.rmtree(draft, ignore_errors=True)


def settle(model: ModelVersion, **fields: Any) -> None:
    ModelVersion.objects.filter(pk=model.pk, state=ModelVersion.State.FETCHING).update(**fields)


def note(model: ModelVersion, done: int, total: int) -> None:
    """Tell how far it is. Raises OverQuota as soon as it is known that it will not fit."""
    if total and total != model.progress.get("total"):
        model.reserve(total)
    model.progress = {"done": min(done, total), "total": total}
    settle(model, progress=model.progress)


def fetch(name: str, folder: Path, on_progress: Callable[[int, int], None], is_wanted: Callable[[], bool]) -> tuple[str, dict[str, Any]]:
    """Fetch `name` into `folder`, in a child that can be ended; (commit, fields of the model). Raises Refused or Unusable with a
    sentence, and Unwanted soon after `is_wanted` said no."""
    job = {"name": name, "folder": str(folder), "limit": settings.MODEL_LIMIT, "token": settings.HUB_TOKEN}
    with tempfile.TemporaryFile() as said, child(job, said) as process:
        try:
            attend(process, folder, said, on_progress, is_wanted)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        lines = heard(said)
    if not lines or "total" in lines[-1]:
        raise Lost(f"the download of {name} ended with status {process.returncode}")
    if refusal := lines[-1].get("refused"):
        raise Refused(refusal)
    return lines[-1]["commit"], facts_of(folder, lines[-1]["card"])


def child(job: dict[str, Any], said: IO[bytes]) -> subprocess.Popen[bytes]:
    from huggingface_hub import constants

    hidden = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")  # whoever runs the server has it for other things
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HF_ENDPOINT": constants.ENDPOINT, "HF_HUB_CACHE": str(constants.HF_HUB_CACHE)}
    environment |= {
        "HF_HUB_OFFLINE": str(int(constants.HF_HUB_OFFLINE)),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "webapp.catalog.download"],
        cwd=settings.ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=said,
        start_new_session=True,
    )
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
    return process


def attend(
    process: subprocess.Popen[bytes], folder: Path, said: IO[bytes], on_progress: Callable[[int, int], None], is_wanted: Callable[[], bool]
) -> None:
    """Until the child is gone: tell how far it is. Raises Unwanted, or Refused when hardly anything arrives."""
    arrived, since = 0, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_S)
            return
        if not is_wanted():
            raise Unwanted
        lines = heard(said)
        held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if lines:
            on_progress(held, lines[0].get("total", 0))
        if held >= arrived + LEAST_BYTES:
            arrived, since = held, time.monotonic()
        if time.monotonic() - since > STALLED_S:
            raise Refused(
                _("Hardly anything arrived from the hub for %(minutes)s minutes. Try again later.") % {"minutes": round(STALLED_S / 60)}
            )


def heard(said: IO[bytes]) -> list[dict[str, Any]]:
    said.seek(0)
    return [json.loads(line) for line in said.read().splitlines() if line.endswith(b"}")]


# --- in the child (webapp/catalog/download.py) ------------------------------------------------------------------------------
def download(name: str, folder: Path, limit: int, token: str, on_total: Callable[[int], None]) -> tuple[str, dict[str, Any]]:
    """(commit, card) of `name`, whose files lie in `folder` then. Raises Refused. No other token than `token` is sent."""
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return cached(name, folder, limit)
    try:
        info = HfApi(token=token or False).model_info(name, files_metadata=True, timeout=15)
        files = chosen({file.rfilename: file.size or 0 for file in info.siblings or []}, folder, limit)
        on_total(sum(files.values()))
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            hf_hub_download(name, file, revision=str(info.sha), local_dir=folder, etag_timeout=15, token=token or False)
    except Refused:
        raise
    except GatedRepoError:
        raise Refused(_("This model is gated: its owner requires an access request on the hub. Choose another model.")) from None
    except RepositoryNotFoundError:
        raise Refused(_("The hub has no public model with that name. Check the spelling.")) from None
    except OfflineModeIsEnabled:
        return cached(name, folder, limit)
    except HfHubHTTPError as error:
        log.warning("could not fetch %s: %s", name, error)
        raise Refused(_("The hub answered with an error. Try again in a few minutes.")) from None
    except OSError as error:
        if error.errno == 28:
            raise Refused(_("The disk is full. Free some space and try again.")) from None
        log.warning("could not fetch %s: %s", name, error)
        return cached(name, folder, limit)
    except Exception as error:  # the hub client passes the errors of its HTTP library on
        log.warning("could not fetch %s: %r", name, error)
        return cached(name, folder, limit)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return str(info.sha), card_of(info.card_data)


def card_of(data: Any) -> dict[str, Any]:
    known = dict(vars(data)) if data else {}
    return {name: json.loads(json.dumps(known.get(name), default=str)) for name in ("license", "language")}


def cached(name: str, folder: Path, limit: int) -> tuple[str, dict[str, Any]]:
    """What an earlier use of the hub left on this machine, when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = Path(snapshot_download(name, local_files_only=True, allow_patterns=list(WANTED)))
    except (LocalEntryNotFoundError, OSError, ValueError):
        reason = _("The hub cannot be reached and this machine has no copy of the model. Check the network or HF_ENDPOINT, then try again.")
        raise Refused(reason) from None
    files = chosen({file.name: file.stat().st_size for file in snapshot.iterdir() if file.is_file()}, folder, limit)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(snapshot / file, folder / file)
    return snapshot.name, {}


def chosen(files: dict[str, int], folder: Path, limit: int) -> dict[str, int]:
    """Those of `files` (name -> bytes) that are fetched. Raises Refused when they are none, or too many, or too many bytes."""
    if len(files) > MOST_LISTED:
        numbers = {"files": f"{len(files):,}", "most": f"{MOST_LISTED:,}"}
        raise Refused(_("This repository lists %(files)s files and at most %(most)s are looked at. Choose another model.") % numbers)
    wanted = {name: size for name, size in files.items() if "/" not in name and any(fnmatch(name, pattern) for pattern in WANTED)}
    weights = [name for name in wanted if name.endswith(".safetensors")]
    if not weights and any(name.endswith(PICKLES) for name in files):
        raise Refused(
            _("This model has no safetensors weights, only formats that can run code when they are opened. Choose another model.")
        )
    if not weights:
        raise Refused(_("There are no weights in the safetensors format in this model. Choose another model."))
    if len(wanted) > MOST_FETCHED:
        numbers = {"files": f"{len(wanted):,}", "most": f"{MOST_FETCHED:,}"}
        raise Refused(_("The model comes in %(files)s files and at most %(most)s are fetched. Choose another model.") % numbers)
    if any(size > SMALL for name, size in wanted.items() if name not in weights):
        raise Refused(_("A file of this model is far larger than it should be. Choose another model."))
    total = sum(wanted.values())
    if total > limit:
        sizes = {"size": f"{total / 1e9:.1f}", "limit": f"{limit / 1e9:.1f}"}
        raise Refused(_("The model is %(size)s GB large and at most %(limit)s GB are allowed (MODEL_LIMIT). Choose a smaller one.") % sizes)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.parent).free < 2 * total:
        raise Refused(_("There is not enough free disk space for this model. Free some space and try again."))
    return wanted


def facts_of(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    """The fields of the model that lies in `folder` now. Raises Unusable when it is not what it should be."""
    facts = fields_of(look(folder)) | skill_of(folder)
    languages = card.get("language") or []
    licence = card.get("license") or ""
    return facts | {
        "licence": str(licence[0] if isinstance(licence, list) and licence else licence)[:80],
        "languages": [str(language)[:20] for language in ([languages] if isinstance(languages, str) else languages)][:20],
    }
