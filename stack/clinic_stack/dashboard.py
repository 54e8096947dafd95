"""The dashboard: its npm packages and its built pages, each made once into the cache."""

import shutil
from pathlib import Path

from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.fetch import COMPLETE, mark_used
from clinic_stack.files import fingerprint, tree_fingerprint
from clinic_stack.progress import Progress

FETCHED_FROM = ("package.json", "package-lock.json", ".npmrc")
BUILT_FROM = ("index.html", "vite.config.ts", "tsconfig.json", "src", "public")


def _source(config: Config) -> Path:
    return config.checkout / "services" / "dashboard"


def packages(config: Config) -> Path:
    """The folder that holds `node_modules`, one a lock file."""
    lock = tree_fingerprint(_source(config) / name for name in FETCHED_FROM)
    return config.cache / f"dashboard-packages-{lock}"


def files(config: Config) -> Path:
    """The folder of the built pages, one a state of the source."""
    source = tree_fingerprint(_source(config) / name for name in BUILT_FROM)
    return config.cache / f"dashboard-files-{fingerprint(source, packages(config).name)}"


def build(config: Config, progress: Progress) -> None:
    """Fetch the packages that the lock names, by the machine's own npm settings, and build."""
    home, pages = packages(config), files(config)
    if not (home / COMPLETE).exists():
        with progress.step("Dashboard's packages", "70 MB: React, Vite and what checks them"):
            _fetch(config, home)
    if not (pages / COMPLETE).exists():
        with progress.step("Dashboard, built"):
            _build(config, home, pages)
    for used in (home, pages):
        mark_used(used)
    # For the checks, and for an editor.
    link = _source(config) / "node_modules"
    if link.is_symlink() and link.readlink() != home / "node_modules":
        link.unlink()
    if not link.exists():
        link.symlink_to(home / "node_modules")


def _fetch(config: Config, home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name in FETCHED_FROM:
        shutil.copy(_source(config) / name, home / name)
    python = config.venv / "bin" / "python"
    # No package's own program runs while it is installed; none of these needs one.
    run(
        *(python, config.stack / "clinic_stack" / "node.py", "npm", "ci", "--ignore-scripts"),
        *("--no-audit", "--no-fund", "--cache", config.cache / "npm"),
        log=_log(config),
        cwd=home,
    )
    (home / COMPLETE).touch()


def _build(config: Config, home: Path, pages: Path) -> None:
    new = pages.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(pages, ignore_errors=True)
    place = new / "source"
    place.mkdir(parents=True)
    for name in (*BUILT_FROM, *FETCHED_FROM):
        here = _source(config) / name
        (shutil.copytree if here.is_dir() else shutil.copy)(here, place / name)
    (place / "node_modules").symlink_to(home / "node_modules")
    python = config.venv / "bin" / "python"
    vite = home / "node_modules" / "vite" / "bin" / "vite.js"
    run(
        *(python, config.stack / "clinic_stack" / "node.py", "node", vite, "build"),
        *("--outDir", new / "pages", "--emptyOutDir"),
        log=_log(config),
        cwd=place,
    )
    (new / "pages" / COMPLETE).touch()
    (new / "pages").rename(pages)
    shutil.rmtree(new)


def _log(config: Config) -> Path:
    return config.cache / "log" / "dashboard.log"
