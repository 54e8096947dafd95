"""Make a Keycloak realm what its file says, and say what was changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from clinic.errors import PermanentError, TransientError
from clinic.identity.realm import Change, Json, Realm, authorization_settings, plan, state

ROUNDS = 4
"""Rounds of compare and change. One changes, the next finds nothing to do; the others are for
another run at the same time, or a Keycloak that is still starting."""

PAUSE_S = 1.0


class RealmAdmin(Protocol):
    """What this needs of a Keycloak: its realm in the file's words, and single steps by name.

    Each step may be done twice. A step raises ``TransientError`` when somebody else was faster,
    and is then planned anew.
    """

    def export(self, realm: str, clients: Sequence[str], users: Sequence[str]) -> Json | None:
        """The realm with the clients and accounts asked for, or None."""

    def create_realm(self, settings: Json) -> None:
        """Make a realm."""

    def update_realm(self, realm: str, settings: Json) -> None:
        """Change the given settings."""

    def put_role(self, realm: str, name: str, description: str) -> None:
        """Make a realm role, or change its description."""

    def set_composites(self, realm: str, name: str, roles: frozenset[str]) -> None:
        """Let a realm role hold exactly these realm roles."""

    def create_group(self, realm: str, name: str) -> None:
        """Make a top-level group."""

    def set_group_roles(self, realm: str, name: str, roles: frozenset[str]) -> None:
        """Let a group give exactly these realm roles."""

    def put_client(self, realm: str, settings: Json) -> None:
        """Make a client, or change the given settings."""

    def put_mapper(self, realm: str, client: str, mapper: Json) -> None:
        """Make a client's protocol mapper, or change it."""

    def delete_mapper(self, realm: str, client: str, name: str) -> None:
        """Remove a client's protocol mapper."""

    def set_client_scopes(self, realm: str, client: str, kind: str, scopes: frozenset[str]) -> None:
        """Let a client have exactly these ``default`` or ``optional`` client scopes."""

    def set_token_roles(
        self, realm: str, client: str, owner: str | None, roles: frozenset[str]
    ) -> None:
        """Let a client's tokens carry exactly these roles, of the realm or of client `owner`."""

    def set_service_roles(self, realm: str, client: str, owner: str, roles: frozenset[str]) -> None:
        """Give a client's service account exactly these roles of client `owner`."""

    def set_permissions(self, realm: str, client: str, settings: Json) -> None:
        """Let a client's resource server have exactly these settings, resources and policies."""

    def create_user(self, realm: str, user: Json) -> None:
        """Make an account with its groups and its first password."""


def apply(
    want: Realm, admin: RealmAdmin, *, pause: Callable[[float], None] = time.sleep
) -> list[Change]:
    """Change what differs until nothing does.

    Two runs at the same time end in the same realm: who comes second finds a step done (or is
    refused by Keycloak), compares again and goes on.

    Args:
        want: The declared state.
        admin: The server.
        pause: Called between two rounds that failed.

    Returns:
        What was changed, in the order it happened; empty when everything was as declared.

    Raises:
        PermanentError: Keycloak accepts a value but does not keep it, so that the comparison never
            comes out even. The message names the fields.
        TransientError: Keycloak could not be reached, or somebody else kept changing the realm.
    """
    done: list[Change] = []
    failure: TransientError | None = None
    changes: list[Change] = []
    for _ in range(ROUNDS):
        if failure:
            pause(PAUSE_S)
        failure = None
        try:
            changes = plan(want, current(want, admin))
            if not changes:
                return done
            for change in changes:
                perform(want.name, change, admin)
                done.append(change)
        except TransientError as e:
            failure = e
    if failure:
        raise failure
    raise PermanentError(
        f"Applying realm {want.name}: Keycloak does not keep what the file says. "
        f"Still different: {'; '.join(map(str, changes))}"
    )


def current(want: Realm, admin: RealmAdmin) -> Realm:
    """The server's realm, as far as `want` speaks of it."""
    exported = admin.export(want.name, list(want.clients), list(want.users))
    return Realm(want.name, settings=None) if exported is None else state(exported)


def perform(realm: str, change: Change, admin: RealmAdmin) -> None:
    """Carry out one change."""
    name, value = change.name, change.value
    match change.action, change.what:
        case "create", "realm":
            admin.create_realm(value)
        case "update", "realm":
            admin.update_realm(realm, value)
        case _, "role":
            admin.put_role(realm, name, value["description"])
        case _, "role's roles":
            admin.set_composites(realm, name, value)
        case "create", "group":
            admin.create_group(realm, name)
        case _, "group's roles":
            admin.set_group_roles(realm, name, value)
        case _, "client":
            admin.put_client(realm, value)
        case "delete", "mapper":
            admin.delete_mapper(realm, name, change.fields[0])
        case _, "mapper":
            admin.put_mapper(realm, name, value)
        case _, "default scopes":
            admin.set_client_scopes(realm, name, "default", value)
        case _, "optional scopes":
            admin.set_client_scopes(realm, name, "optional", value)
        case _, "token's roles":
            admin.set_token_roles(realm, name, None, value)
        case _, "token's client roles":
            admin.set_token_roles(realm, name, value[0], value[1])
        case _, "service account's roles":
            admin.set_service_roles(realm, name, value[0], value[1])
        case _, "permissions":
            admin.set_permissions(realm, name, authorization_settings(value))
        case "create", "account":
            admin.create_user(realm, value)
        case _:
            raise AssertionError(f"no way to carry out: {change}")
