"""What the stack finds out before it changes anything: the real checks, each in a poorer world."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.stacks import CTL

ORDINARY_TOOLS = """
    bash awk cat cut date df dirname env find flock git grep head id ls mkdir paste printf ps
    readlink realpath rm sed setsid sha256sum sleep sort stat tail touch tr uname wc
"""


def preflight(state: Path, *wrapper: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `ctl up` in another world; it must fail before it changes anything."""
    environment = os.environ | {"CLINIC_STATE": str(state)} | variables
    environment.pop("CLINIC_PORTS", None)
    environment |= {name: value for name, value in variables.items() if name == "CLINIC_PORTS"}
    done = subprocess.run(
        [*wrapper, str(CTL), "up"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Nothing was changed" in done.stderr
    assert not state.exists()
    return done


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder that is not there, and must not be there afterwards."""
    return tmp_path / "state"


def path_without(folder: Path, *missing: str) -> str:
    """A PATH on which everything the checks themselves use can be found, but not `missing`."""
    folder.mkdir()
    for tool in {*ORDINARY_TOOLS.split(), "bwrap", "mmdebstrap", "tar", "make", "newuidmap"} - set(
        missing
    ):
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    return str(folder)


def test_missing_tools_are_all_named_with_the_command_that_installs_them(
    tmp_path: Path, state: Path
) -> None:
    path = path_without(tmp_path / "bin", "bwrap", "mmdebstrap", "make")
    cache = tmp_path / "cache"  # an empty one: mmdebstrap is needed only to build the tree
    done = preflight(state, PATH=path, CLINIC_CACHE=str(cache), CLINIC_DEBIAN_MIRROR="file:/none")
    assert "apt-get install bubblewrap mmdebstrap make" in done.stderr
    assert not cache.exists()


def test_too_little_disk_is_said_in_numbers(tmp_path: Path, state: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = f'mount -t tmpfs -o size=50m none {small} && exec "$@"'
    done = preflight(
        state,
        *("unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, "bash"),
        CLINIC_CACHE=str(small / "cache"),
        CLINIC_DEBIAN_MIRROR="file:/none",
        CLINIC_INSTALL_TOOLS="no",
    )
    assert "Too little disk" in done.stderr
    assert "50 MB free and 6000 MB are needed" in done.stderr
    assert "CLINIC_CACHE" in done.stderr


def test_forbidden_user_namespaces_point_to_the_containers(state: Path) -> None:
    # The limit holds in this namespace and below it only.
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    done = preflight(state, *("unshare", "--user", "--map-root-user", "bash", "-c", script, "bash"))
    assert "forbids user namespaces" in done.stderr
    assert "docker-compose.yaml" in done.stderr


def test_everything_wrong_is_said_at_once(tmp_path: Path, state: Path) -> None:
    path = path_without(tmp_path / "bin", "bwrap")
    done = preflight(state, PATH=path, CLINIC_PORTS="80", CLINIC_STATE=str(state))
    assert "bubblewrap" in done.stderr
    assert "CLINIC_PORTS is '80'" in done.stderr
    assert done.stderr.count("\n  - ") == 2


def test_a_folder_nobody_may_write_to_is_named(state: Path) -> None:
    done = preflight(state, CLINIC_CACHE="/usr/clinic")
    assert "/usr/clinic" in done.stderr
