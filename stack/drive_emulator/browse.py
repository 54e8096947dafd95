"""Pages for a person who looks what was stored: only with ``--browse``, only on loopback.

They need no login, as no browser has one here; the real Drive asks for Google's.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from drive_emulator.errors import not_found
from drive_emulator.files import Files
from drive_emulator.storage import File, Storage

PAGE = """<!doctype html><meta charset="utf-8"><title>Emulated Drive</title>
<style>body{{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}
li{{list-style:none}}small{{color:#666}}</style>
<h1>Emulated Drive</h1><p>What was stored here, as a person would see it. Not Google's.</p>{tree}"""


class Browse:
    """The pages."""

    def __init__(self, storage: Storage, files: Files) -> None:
        self._storage = storage
        self._files = files

    async def index(self, _request: Request) -> Response:
        """Show all folders and files that are not in the trash."""
        shown = [one for one in self._storage.everything() if not self._storage.is_trashed(one)]
        ids = {one["id"] for one in shown}
        children: dict[str, list[File]] = {}
        for one in shown:
            parent = one["parents"][0]
            children.setdefault(parent if parent in ids else "", []).append(one)
        return HTMLResponse(PAGE.format(tree=_tree(children, "") or "<p>Nothing yet.</p>"))

    async def view(self, request: Request) -> Response:
        """Show one file in the browser."""
        file_id = request.path_params["file_id"]
        for file in self._storage.everything():
            if file["id"] == file_id and "size" in file:
                request.state.fault = None
                response = self._files.content(request, file)
                response.headers["Content-Disposition"] = "inline"
                response.headers["X-Content-Type-Options"] = "nosniff"
                response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
                return response
        raise not_found(file_id)


def _tree(children: dict[str, list[File]], parent: str) -> str:
    rows = []
    for one in sorted(children.get(parent, []), key=lambda file: file["name"]):
        name = escape(one["name"])
        if "size" in one:
            link = f'<a href="/file/d/{escape(one["id"])}/view">{name}</a>'
            rows.append(f"<li>{link} <small>{one['size']} bytes</small></li>")
        else:
            rows.append(f"<li><b>{name}</b>{_tree(children, one['id'])}</li>")
    return f"<ul>{''.join(rows)}</ul>" if rows else ""
