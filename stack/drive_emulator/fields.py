"""The ``fields`` parameter: which parts of an answer are wanted. An unknown one is a 400.

Source: https://developers.google.com/workspace/drive/api/guides/fields-parameter
"""

from __future__ import annotations

from typing import Any

from drive_emulator.errors import invalid

Tree = dict[str, Any]  # name -> Tree; a leaf is {}; a free-form mapping is {"*": {}}

FREE: Tree = {"*": {}}
FILE: Tree = {
    **{
        name: {}
        for name in (
            "kind", "id", "name", "mimeType", "description", "starred", "trashed",
            "explicitlyTrashed", "trashedTime", "parents", "driveId", "createdTime",
            "modifiedTime", "size", "quotaBytesUsed", "md5Checksum", "sha1Checksum",
            "sha256Checksum", "webViewLink", "version", "originalFilename",
        )
    },
    "appProperties": FREE,
    "properties": FREE,
    "owners": {"kind": {}, "displayName": {}, "emailAddress": {}, "me": {}},
}  # fmt: skip
FILE_LIST: Tree = {"kind": {}, "incompleteSearch": {}, "nextPageToken": {}, "files": FILE}
USER: Tree = {"kind": {}, "displayName": {}, "emailAddress": {}, "me": {}}
QUOTA: Tree = {"limit": {}, "usage": {}, "usageInDrive": {}, "usageInDriveTrash": {}}
ABOUT: Tree = {"kind": {}, "user": USER, "storageQuota": QUOTA, "maxUploadSize": {}}
DRIVE: Tree = {"kind": {}, "id": {}, "name": {}}
DRIVE_LIST: Tree = {"kind": {}, "nextPageToken": {}, "drives": DRIVE}
IDS: Tree = {"kind": {}, "space": {}, "ids": {}}

DEFAULT_FILE: Tree = {"kind": {}, "id": {}, "name": {}, "mimeType": {}}


def parse(text: str, known: Tree) -> Tree:
    """Return the mask that the parameter says: ``id,files(id,appProperties/x)``.

    Raises:
        DriveError: 400, for what is not known or not well formed.
    """
    mask, end = _group(text, 0, known, is_inner=False)
    if end != len(text):
        raise invalid(f"Invalid field selection {text}")
    return mask


def _group(text: str, at: int, known: Tree, *, is_inner: bool) -> tuple[Tree, int]:
    mask: Tree = {}
    while True:
        path, at = _path(text, at)
        place, inside = mask, known
        for name in path:
            if name == "*" and "*" not in inside:
                place.update(inside)
                place, inside = {}, {}
                continue
            if name not in inside and "*" not in inside:
                raise invalid(f"Invalid field selection {name}")
            inside = inside.get(name, {})
            place = place.setdefault(name, {})
        if text[at : at + 1] == "(":
            inner, at = _group(text, at + 1, inside, is_inner=True)
            place.update(inner)
        if text[at : at + 1] == ",":
            at += 1
            continue
        if is_inner:
            if text[at : at + 1] != ")":
                raise invalid(f"Invalid field selection {text}")
            at += 1
        return mask, at


def _path(text: str, at: int) -> tuple[list[str], int]:
    begin = at
    while at < len(text) and text[at] not in "(),":
        at += 1
    names = [name.strip() for name in text[begin:at].split("/")]
    if not all(names):
        raise invalid(f"Invalid field selection {text}")
    return names, at


def apply(value: Any, mask: Tree) -> Any:
    """Return the wanted parts of an answer."""
    if isinstance(value, list):
        return [apply(one, mask) for one in value]
    if not mask or not isinstance(value, dict):
        return value
    if "*" in mask:
        return value
    return {name: apply(value[name], inner) for name, inner in mask.items() if name in value}
