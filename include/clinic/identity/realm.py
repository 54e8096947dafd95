"""The realm file: read it, fill in its secrets, and say what differs from what Keycloak has.

Everything here is pure. Two states have one form, :class:`Realm`: the one the file asks for
(``keycloak/clinica-realm.yaml``) and the one a server exports in the same words.
:func:`plan` compares them and answers the :class:`Change` objects that lead from one to the other;
:mod:`clinic.identity.apply` carries them out.

Rules that hold for every comparison:

* Only what the file names is compared. Keycloak's defaults, and what people added by hand that the
  file does not speak of (an account, a group, a client), stay as they are.
* Lists of names are sets: Keycloak answers them in no order.
* Permissions of a client are compared whole, in both directions. A permission the file no longer
  has would otherwise stay open, since one that says yes is enough.
* An account that exists is left alone, whatever the file says of its password or groups.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from clinic.errors import PermanentError

Json = dict[str, Any]
"""A representation in Keycloak's own words."""

DEMO_PREFIX = "demo-"
"""User names of the accounts that exist to try things with."""

PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?:\[([^\]{}]+)\])?\}")

# Compared on their own, not as settings of the realm or of the client.
_PARTS = ("roles", "groups", "clients", "users", "scopeMappings", "clientScopeMappings")
_CLIENT_PARTS = (
    "authorizationSettings",
    "protocolMappers",
    "defaultClientScopes",
    "optionalClientScopes",
)


# --- The file ------------------------------------------------------------------------------------


def parse(text: str) -> Json:
    """Read the realm file.

    Raises:
        PermanentError: It is not YAML, names no realm, or holds what it must not: an ``id`` (it
            belongs to one server) or ``clientScopes`` (they replace Keycloak's built-in ones, and
            tokens lose ``sub`` and their roles).
    """
    try:
        realm = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise PermanentError(f"Reading the realm file: it is not valid YAML: {e}") from e
    if not isinstance(realm, dict) or not isinstance(realm.get("realm"), str):
        raise PermanentError("Reading the realm file: it has no `realm: <name>`.")
    if "clientScopes" in realm:
        raise PermanentError(
            "Reading the realm file: `clientScopes` would replace Keycloak's built-in scopes, and "
            "tokens would lose `sub` and their roles. Put mappers on the clients."
        )
    ids = [path for path, key, _ in _walk(realm) if key in {"id", "_id"} and ".config." not in path]
    if ids:
        raise PermanentError(
            f"Reading the realm file: ids belong to one server, remove them: {', '.join(ids)}."
        )
    return realm


def placeholders(realm: Json) -> set[str]:
    """Names of the values the file takes from outside, as they are written: ``A``, ``B[key]``."""
    return {
        match.group(0)[2:-1]
        for _, _, value in _walk(realm)
        if isinstance(value, str)
        for match in PLACEHOLDER.finditer(value)
    }


def without_demo_accounts(realm: Json) -> Json:
    """The same file for a clinic that goes live: without the accounts named ``demo-…``."""
    users = [u for u in realm.get("users", []) if not u["username"].startswith(DEMO_PREFIX)]
    return {**realm, "users": users}


def substitute(realm: Json, values: Mapping[str, str]) -> Json:
    """Put values in the place of ``${NAME}`` and ``${NAME[key]}``.

    The second form reads the field ``key`` of the JSON object that the value holds.

    Args:
        realm: The file, as :func:`parse` answers it. It is not changed.
        values: Usually ``os.environ``.

    Raises:
        PermanentError: At least one value is missing or empty. The message names all of them and
            nothing was substituted: an empty client secret would be worse than no realm.
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in sorted(placeholders(realm)):
        match = PLACEHOLDER.fullmatch(f"${{{name}}}")
        value = _value(match.group(1), match.group(2), values) if match else None
        if value:
            found[name] = value
        else:
            missing.append(name)
    if missing:
        raise PermanentError(
            f"Filling in the realm file: no value for {', '.join(missing)}. "
            "Set them in the environment (stack.env has them); nothing was changed."
        )
    filled = _map_strings(
        realm, lambda text: PLACEHOLDER.sub(lambda m: found[m.group(0)[2:-1]], text)
    )
    assert isinstance(filled, dict)
    return filled


def _value(name: str, key: str | None, values: Mapping[str, str]) -> str | None:
    value = values.get(name)
    if key is None or not value:
        return value
    try:
        entry = json.loads(value).get(key)
    except (ValueError, AttributeError):
        return None
    return entry if isinstance(entry, str) else None


def _walk(tree: object, path: str = "", key: str = "") -> Iterator[tuple[str, str, object]]:
    """Every value below `tree` as (where it stands, its key, itself)."""
    yield path, key, tree
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _walk(value, f"{path}.{name}" if path else str(name), str(name))
    elif isinstance(tree, list):
        for n, value in enumerate(tree):
            yield from _walk(value, f"{path}[{n}]", "")


def _map_strings(tree: Any, change: Any) -> Any:
    if isinstance(tree, str):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _map_strings(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_map_strings(value, change) for value in tree]
    return tree


# --- The two states ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Permissions:
    """What one client's resource server allows (Keycloak's authorization services).

    https://www.keycloak.org/docs/latest/authorization_services/
    """

    settings: Json
    """``decisionStrategy`` and its like."""
    scopes: frozenset[str]
    resources: Mapping[str, frozenset[str]]
    """Resource name -> its scopes."""
    policies: Mapping[str, Json]
    """Name -> type, logic, decisionStrategy, and config with plain values, not JSON in strings."""


@dataclass(frozen=True)
class Client:
    """One program that asks Keycloak for tokens."""

    settings: Json
    mappers: Mapping[str, Json] | None
    """None: the file says nothing about them."""
    default_scopes: frozenset[str] | None
    optional_scopes: frozenset[str] | None
    scope_roles: frozenset[str] = frozenset()
    """Realm roles its tokens may carry."""
    client_scope_roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Other client -> roles of that client its tokens may carry."""
    service_roles: Mapping[str, frozenset[str]] | None = None
    """Other client -> roles of that client its service account has. None: the file says nothing
    of that account, and Keycloak's own choice stays (``airflow`` needs its ``uma_protection``)."""
    permissions: Permissions | None = None


@dataclass(frozen=True)
class Realm:
    """A realm, declared or as a server has it. Names stand for objects; there are no ids."""

    name: str
    settings: Json | None
    """None: the server has no such realm."""
    roles: Mapping[str, Json] = field(default_factory=dict)
    """Name -> ``{"description": str, "composites": frozenset[str]}``."""
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Top-level group's name -> realm roles it gives."""
    clients: Mapping[str, Client] = field(default_factory=dict)
    users: Mapping[str, Json] = field(default_factory=dict)
    """User name -> representation. Of a server's accounts only the name counts."""


def state(realm: Json) -> Realm:
    """The state that a file, parsed and filled in, asks for, or that a server's export tells."""
    service_roles = {
        user["serviceAccountClientId"]: {
            client: frozenset(roles) for client, roles in user.get("clientRoles", {}).items()
        }
        for user in realm.get("users", [])
        if "serviceAccountClientId" in user
    }
    scope_roles = {m["client"]: frozenset(m["roles"]) for m in realm.get("scopeMappings", [])}
    client_scope_roles: dict[str, dict[str, frozenset[str]]] = {}
    for owner, mappings in realm.get("clientScopeMappings", {}).items():
        for mapping in mappings:
            client_scope_roles.setdefault(mapping["client"], {})[owner] = frozenset(
                mapping["roles"]
            )
    return Realm(
        name=realm["realm"],
        settings={k: v for k, v in realm.items() if k not in _PARTS},
        roles={
            role["name"]: {
                "description": role.get("description", ""),
                "composites": frozenset(role.get("composites", {}).get("realm", [])),
            }
            for role in realm.get("roles", {}).get("realm", [])
        },
        groups={g["name"]: frozenset(g.get("realmRoles", [])) for g in realm.get("groups", [])},
        clients={
            client["clientId"]: Client(
                settings={k: v for k, v in client.items() if k not in _CLIENT_PARTS},
                mappers=(
                    {m["name"]: m for m in client["protocolMappers"]}
                    if "protocolMappers" in client
                    else None
                ),
                default_scopes=_names(client.get("defaultClientScopes")),
                optional_scopes=_names(client.get("optionalClientScopes")),
                scope_roles=scope_roles.get(client["clientId"], frozenset()),
                client_scope_roles=client_scope_roles.get(client["clientId"], {}),
                service_roles=service_roles.get(client["clientId"]),
                permissions=(
                    permissions(client["authorizationSettings"])
                    if "authorizationSettings" in client
                    else None
                ),
            )
            for client in realm.get("clients", [])
        },
        users={
            user["username"]: user
            for user in realm.get("users", [])
            if "serviceAccountClientId" not in user
        },
    )


def permissions(settings: Json) -> Permissions:
    """Read ``authorizationSettings``, from the file or from Keycloak's own export of them."""
    return Permissions(
        settings={
            key: settings[key]
            for key in (
                "allowRemoteResourceManagement",
                "policyEnforcementMode",
                "decisionStrategy",
            )
        },
        scopes=_scopes(settings.get("scopes", [])),
        resources={r["name"]: _scopes(r.get("scopes", [])) for r in settings.get("resources", [])},
        policies={
            p["name"]: {
                "type": p["type"],
                "logic": p.get("logic", "POSITIVE"),
                "decisionStrategy": p.get("decisionStrategy", "UNANIMOUS"),
                "config": {key: _plain(value) for key, value in (p.get("config") or {}).items()},
            }
            for p in settings.get("policies", [])
        },
    )


def authorization_settings(wanted: Permissions) -> Json:
    """The same permissions in Keycloak's words, as its ``import`` endpoint takes them.

    Policies that others are made of come first: the import resolves names as it goes.
    """
    policies = sorted(
        wanted.policies.items(), key=lambda item: "applyPolicies" in item[1]["config"]
    )
    return {
        **wanted.settings,
        "scopes": [{"name": name} for name in sorted(wanted.scopes)],
        "resources": [
            {"name": name, "scopes": [{"name": scope} for scope in sorted(scopes)]}
            for name, scopes in wanted.resources.items()
        ],
        "policies": [
            {
                "name": name,
                **policy,
                "config": {
                    key: value if isinstance(value, str) else json.dumps(value)
                    for key, value in policy["config"].items()
                },
            }
            for name, policy in policies
        ],
    }


def _names(values: list[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _scopes(scopes: Iterable[str | Json]) -> frozenset[str]:
    return frozenset(s if isinstance(s, str) else s["name"] for s in scopes)


def _plain(value: Any) -> Any:
    """A policy's config value without its JSON wrapping, lists in one order."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:  # text, such as a pattern
            return value
    return sorted(value, key=json.dumps) if isinstance(value, list) else value


# --- The difference ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One thing to do. `str()` says it to a person without any value, which may be a secret."""

    action: str
    """``create``, ``update`` or ``delete``."""
    what: str
    """``realm``, ``role``, ``group``, ``client``, ``mapper``, ``scopes``, ``permissions``, …"""
    name: str
    """The object's name; of a part of a client, the client's."""
    fields: tuple[str, ...] = ()
    """What differs, for people."""
    value: Any = None
    """What is wanted, for whoever carries it out."""

    def __str__(self) -> str:
        """``update client odoo (redirectUris)``."""
        tail = f" ({', '.join(self.fields)})" if self.fields else ""
        return f"{self.action} {self.what} {self.name}{tail}"


def plan(want: Realm, have: Realm) -> list[Change]:
    """What has to be done, in an order in which it can be done, so that `have` becomes `want`."""
    return [
        *_plan_settings(want, have),
        *_plan_roles(want, have),
        *_plan_groups(want, have),
        *_plan_clients(want, have),
        *_plan_users(want, have),
    ]


def _plan_settings(want: Realm, have: Realm) -> Iterator[Change]:
    if have.settings is None:
        yield Change("create", "realm", want.name, value=want.settings)
    elif fields := differences(want.settings, have.settings):
        yield Change("update", "realm", want.name, fields, want.settings)


def _plan_roles(want: Realm, have: Realm) -> Iterator[Change]:
    for name, role in want.roles.items():
        current = have.roles.get(name)
        if current is None:
            yield Change("create", "role", name, value={"description": role["description"]})
        elif current["description"] != role["description"]:
            value = {"description": role["description"]}
            yield Change("update", "role", name, ("description",), value)
    for name, role in want.roles.items():  # once all of them exist
        current = have.roles.get(name, {"composites": frozenset()})
        yield from _plan_set("role's roles", name, role["composites"], current["composites"])


def _plan_groups(want: Realm, have: Realm) -> Iterator[Change]:
    for name, roles in want.groups.items():
        if name not in have.groups:
            yield Change("create", "group", name)
        yield from _plan_set("group's roles", name, roles, have.groups.get(name, frozenset()))


def _plan_clients(want: Realm, have: Realm) -> Iterator[Change]:
    for name, client in want.clients.items():
        current = have.clients.get(name)
        if current is None:
            yield Change("create", "client", name, value=client.settings)
            current = Client({}, mappers={}, default_scopes=None, optional_scopes=None)
        elif fields := differences(client.settings, current.settings):
            yield Change("update", "client", name, fields, client.settings)
        yield from _plan_mappers(name, client, current)
        # A new client gets the realm's default scopes from Keycloak, so `None` is not "none".
        for kind, wanted, present in (
            ("default scopes", client.default_scopes, current.default_scopes),
            ("optional scopes", client.optional_scopes, current.optional_scopes),
        ):
            if wanted is not None and wanted != present:
                fields = tuple(sorted(wanted ^ present)) if present is not None else ()
                yield Change("update", kind, name, fields, wanted)
    for name, client in want.clients.items():  # once all of them exist
        current = have.clients.get(name) or Client({}, None, None, None)
        yield from _plan_set("token's roles", name, client.scope_roles, current.scope_roles)
        for kind, wanted_by_owner, present_by_owner in (
            ("token's client roles", client.client_scope_roles, current.client_scope_roles),
            ("service account's roles", client.service_roles, current.service_roles or {}),
        ):
            if wanted_by_owner is None:
                continue
            for owner in sorted({*wanted_by_owner, *present_by_owner}):
                wanted = wanted_by_owner.get(owner, frozenset())
                present = present_by_owner.get(owner, frozenset())
                if wanted != present:
                    fields = tuple(sorted(wanted ^ present))
                    yield Change("update", kind, name, fields, (owner, wanted))
        if client.permissions is not None and client.permissions != current.permissions:
            fields = _permission_differences(client.permissions, current.permissions)
            yield Change("update", "permissions", name, fields, client.permissions)


def _plan_mappers(name: str, client: Client, current: Client) -> Iterator[Change]:
    if client.mappers is None:
        return
    present = current.mappers or {}
    for mapper, value in client.mappers.items():
        if mapper not in present:
            yield Change("create", "mapper", name, (mapper,), value)
        elif fields := differences(value, present[mapper]):
            yield Change("update", "mapper", name, (mapper, *fields), value)
    for mapper in present:
        if mapper not in client.mappers:
            yield Change("delete", "mapper", name, (mapper,))


def _plan_users(want: Realm, have: Realm) -> Iterator[Change]:
    for name, user in want.users.items():
        if name not in have.users:
            yield Change("create", "account", name, value=user)


def _plan_set(what: str, name: str, want: frozenset[str], have: frozenset[str]) -> Iterator[Change]:
    if want != have:
        signed = [*(f"+{n}" for n in sorted(want - have)), *(f"-{n}" for n in sorted(have - want))]
        yield Change("update", what, name, tuple(signed), want)


def differences(want: object, have: object, path: str = "") -> tuple[str, ...]:
    """Where `have` is not what `want` asks for, as dotted paths.

    Only keys of `want` are looked at. Lists of plain values are sets, and what is missing equals
    what is empty: Keycloak leaves empty values out of its answers.
    """
    if isinstance(want, dict):
        current = have if isinstance(have, dict) else {}
        return tuple(
            difference
            for key, value in want.items()
            for difference in differences(value, current.get(key), f"{path}.{key}" if path else key)
        )
    if isinstance(want, list) and all(not isinstance(v, dict | list) for v in want):
        same = isinstance(have, list | None) and set(want) == set(have or [])
        return () if same else (path,)
    if want in ("", [], None) and have in ("", [], {}, None):
        return ()
    return () if want == have else (path,)


def _permission_differences(want: Permissions, have: Permissions | None) -> tuple[str, ...]:
    """Names of what is added (+), removed (-) or not as declared (~)."""
    if have is None:
        return ()
    found: list[str] = [f"~{key}" for key in differences(want.settings, have.settings)]
    found += [f"+{name}" for name in sorted(want.scopes - have.scopes)]
    found += [f"-{name}" for name in sorted(have.scopes - want.scopes)]
    for wanted, present in ((want.resources, have.resources), (want.policies, have.policies)):
        found += [f"+{name}" for name in wanted if name not in present]
        found += [f"-{name}" for name in present if name not in wanted]
        found += [
            f"~{name}" for name in wanted if name in present and wanted[name] != present[name]
        ]
    return tuple(found)
