"""What holds for the repository as a whole: locks, documents, and what never belongs there."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Where packages come from is the machine's setting; a path of one machine means nothing elsewhere.
FORBIDDEN = {
    "a package registry": re.compile(
        r"https?://[\w.-]*(pypi|pythonhosted|npmjs|crates|deb\.debian|repo1?\.maven)[\w.-]*", re.I
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a home folder": re.compile(r"/(home|Users)/[a-z]\w+/|/root/"),
}
TEXT_SUFFIXES = {
    ".cfg", ".conf", ".csv", ".html", ".ini", ".j2", ".js", ".json", ".md", ".po", ".py", ".rst",
    ".sh", ".sql", ".toml", ".ts", ".tsx", ".txt", ".xml", ".yaml", ".yml", "",
}  # fmt: skip


def tracked_files() -> list[Path]:
    """Return the files git tracks or would: a mistake is seen before it is committed."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_the_listing_finds_the_repository() -> None:
    assert Path(__file__) in tracked_files()


@pytest.mark.parametrize(("what", "pattern"), FORBIDDEN.items(), ids=FORBIDDEN)
def test_no_file_names(what: str, pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_files()
        if path.suffix in TEXT_SUFFIXES and path != Path(__file__)
        for match in [pattern.search(path.read_text(errors="replace"))]
        if match
    ]
    assert not found, f"{what} is named in {found}"


def locked(lock: str) -> dict[str, str]:
    """Return the version that a lock file holds of each distribution."""
    lines = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", (ROOT / lock).read_text(), re.M
    )
    return {canonicalize_name(name): version for name, version in lines}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        pytest.param("requirements.txt", PYPROJECT["project"]["dependencies"], id="runtime"),
        pytest.param(
            "requirements-dev.txt",
            PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"],
            id="dev",
        ),
    ],
)
def test_a_lock_holds_what_pyproject_asks_for(lock: str, wanted: list[str]) -> None:
    versions = locked(lock)
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{lock} lacks {name}: run `make lock`"
        assert requirement.specifier.contains(versions[name]), (
            f"{lock} holds {name} {versions[name]}: run `make lock`"
        )


def test_the_locks_agree_with_one_another() -> None:
    runtime = locked("requirements.txt")
    assert runtime
    other = locked("requirements-dev.txt")
    assert {name: other.get(name) for name in runtime} == runtime, "run `make lock`"


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [path for path in tracked_files() if path.suffix == ".md"]
    assert documents
    dead = [
        f"{document.relative_to(ROOT)} -> {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
        if "://" not in target and not target.startswith("mailto:")
        if not (document.parent / target).exists()
    ]
    assert not dead
