"""Sees to it that transformers reads the tokenizer of a fetched model as it is written, in a short process of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from worker.weights import Unusable

log = logging.getLogger(__name__)
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # no key is needed to read files
LONGEST_S = 180.0


def fit_tokenizer(folder: Path) -> None:
    """Mend the folder where transformers reads it otherwise than tokenizer.json says. Raises Unusable where that cannot be done."""
    environment = {name: os.environ[name] for name in PASSED if name in os.environ} | {"TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "worker.nlp.tokenizing", str(folder.resolve())]
    try:
        done = subprocess.run(command, cwd=settings.ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST_S)
        said = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise Unusable(_("The tokenizer of this model takes far too long to open. Choose another model.")) from None
    except (ValueError, IndexError):
        log.warning("no word on the tokenizer of %s: %s", folder, done.stderr[-2000:])
        raise Unusable(_("The tokenizer of this model cannot be opened. Fetch the model again, or choose another one.")) from None
    if said["kind"] == "refused":
        raise Unusable(f"{_(said['text'])} {_(said['remedy'])}")
    if said["kind"] == "mended":
        log.info("mended the tokenizer of %s", folder)
