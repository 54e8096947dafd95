"""The *Test* button of connections that are document stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clinic.errors import ClinicError

if TYPE_CHECKING:
    from clinic.documents.store import DocumentStore


class _StoreHook(Protocol):
    def get_store(self, root_folder: str) -> DocumentStore: ...


def logged_in(hook: _StoreHook) -> tuple[bool, str]:
    """Log in, and say who is logged in and where, or what is wrong."""
    try:
        store = hook.get_store("")
        try:
            return True, store.check()
        finally:
            store.close()
    except ClinicError as error:
        return False, str(error)
