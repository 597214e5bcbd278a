"""Fetches a model of the hub for a data worker: safetensors, configuration and tokenizer of one pinned commit, nothing else."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from webapp.catalog.fitting import fit_tokenizer
from webapp.catalog.models import ModelVersion, fields_of, skill_of
from webapp.work.models import WorkItem
from worker.weights import PICKLES, TOKENIZER_FILES, Unusable, look

log = logging.getLogger(__name__)
WANTED = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "README.md"),
    *TOKENIZER_FILES,
    *("merges.txt", "*.spm", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
)
SMALL = 64 * 1024**2  # bytes; anything wanted that is not weights is smaller
WATCH_S = 1.0
LEFT_S = 600  # so old is a draft of which no row knows, when it is taken for left over


class Refused(Exception):
    """The model cannot be fetched; the message is for people and says what to do."""


def fetch_model(item: WorkItem) -> None:
    """Do what `item` asks for. Harmless when done twice; the outcome stands on the model."""
    model = ModelVersion.objects.filter(pk=item.subject, state=ModelVersion.State.FETCHING, deleted_at=None).first()
    if model is None:
        return
    part = model.draft
    try:
        commit, facts = fetch(model.source.split("@")[0], part, lambda done, total: note(model, done, total))
        fit_tokenizer(part)
    except (Refused, Unusable) as refusal:
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
    settle(model, progress={"done": min(done, total), "total": total})


def fetch(name: str, folder: Path, on_progress: Any) -> tuple[str, dict[str, Any]]:
    """Fetch `name` into `folder`; (commit, fields of the model). Raises Refused or Unusable with a sentence."""
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return cached(name, folder)
    try:
        info = HfApi().model_info(name, files_metadata=True, timeout=15)
        files = chosen({file.rfilename: file.size or 0 for file in info.siblings or []})
        commit, total = str(info.sha), sum(files.values())
        folder.mkdir(parents=True, exist_ok=True)
        with watched(folder, total, on_progress):
            for file in files:
                hf_hub_download(name, file, revision=commit, local_dir=folder, etag_timeout=15)
    except Refused:
        raise
    except GatedRepoError:
        raise Refused(_("This model is gated: its owner requires an access request on the hub. Choose another model.")) from None
    except RepositoryNotFoundError:
        raise Refused(_("The hub has no public model with that name. Check the spelling.")) from None
    except OfflineModeIsEnabled:
        return cached(name, folder)
    except HfHubHTTPError as error:
        log.warning("could not fetch %s: %s", name, error)
        raise Refused(_("The hub answered with an error. Try again in a few minutes.")) from None
    except OSError as error:
        if error.errno == 28:
            raise Refused(_("The disk is full. Free some space and try again.")) from None
        log.warning("could not fetch %s: %s", name, error)
        return cached(name, folder)
    except Exception as error:  # the hub client passes the errors of its HTTP library on
        log.warning("could not fetch %s: %r", name, error)
        return cached(name, folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return commit, facts_of(folder, dict(vars(info.card_data)) if info.card_data else {})


def cached(name: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """What an earlier use of the hub left on this machine, when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = Path(snapshot_download(name, local_files_only=True, allow_patterns=list(WANTED)))
    except (LocalEntryNotFoundError, OSError, ValueError):
        reason = _("The hub cannot be reached and this machine has no copy of the model. Check the network or HF_ENDPOINT, then try again.")
        raise Refused(reason) from None
    files = chosen({file.name: file.stat().st_size for file in snapshot.iterdir() if file.is_file()})
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(snapshot / file, folder / file)
    return snapshot.name, facts_of(folder, {})


def chosen(files: dict[str, int]) -> dict[str, int]:
    """Those of `files` (name -> bytes) that are fetched. Raises Refused when they are none, or too many bytes."""
    wanted = {name: size for name, size in files.items() if "/" not in name and any(fnmatch(name, pattern) for pattern in WANTED)}
    weights = [name for name in wanted if name.endswith(".safetensors")]
    if not weights and any(name.endswith(PICKLES) for name in files):
        raise Refused(
            _("This model has no safetensors weights, only formats that can run code when they are opened. Choose another model.")
        )
    if not weights:
        raise Refused(_("There are no weights in the safetensors format in this model. Choose another model."))
    if any(size > SMALL for name, size in wanted.items() if name not in weights):
        raise Refused(_("A file of this model is far larger than it should be. Choose another model."))
    total = sum(wanted.values())
    if total > settings.MODEL_LIMIT:
        sizes = {"size": f"{total / 1e9:.1f}", "limit": f"{settings.MODEL_LIMIT / 1e9:.1f}"}
        raise Refused(_("The model is %(size)s GB large and at most %(limit)s GB are allowed (MODEL_LIMIT). Choose a smaller one.") % sizes)
    settings.FILES.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(settings.FILES).free < 2 * total:
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


@contextmanager
def watched(folder: Path, total: int, on_progress: Any) -> Iterator[None]:
    """Tell how many bytes lie in `folder`, once a second, while something fills it."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(WATCH_S):
            on_progress(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()), total)
        connection.close()  # this thread's own

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
