"""Keycloak's admin API, by ``python-keycloak``.

:class:`KeycloakRealmAdmin` speaks names where Keycloak wants ids, answers a realm in the words of
the realm file, and turns every failure into a ``ClinicError``. It decides nothing.

https://www.keycloak.org/docs-api/latest/rest-api/index.html
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import requests
from keycloak import KeycloakOpenIDConnection
from keycloak.exceptions import (
    KeycloakAuthenticationError,
    KeycloakConnectionError,
    KeycloakError,
)

from clinic.errors import PermanentError, TransientError

TIMEOUT_S = 20
"""A permission import takes Keycloak up to 3 s on a busy machine."""

Json = dict[str, Any]

# Fields of a role or scope reference that Keycloak needs to recognise it.
_ROLE_KEYS = ("id", "name", "clientRole", "containerId")


class KeycloakRealmAdmin:
    """An administrator of the whole server (realm ``master``), for one run.

    Args:
        url: Keycloak's address, for instance ``http://127.0.0.1:18220``.
        login: The administrator's name.
        password: The administrator's password.
        ca_file: Certificates to trust when `url` is https; None trusts what `requests` trusts.

    Raises:
        TransientError: Keycloak does not answer, or answers 5xx.
        PermanentError: The login is refused.
    """

    def __init__(self, url: str, login: str, password: str, ca_file: str | None = None) -> None:
        self._url = url
        self._login = login
        self._connection = KeycloakOpenIDConnection(
            server_url=url,
            username=login,
            password=password,
            realm_name="master",
            client_id="admin-cli",
            verify=ca_file or True,
            timeout=TIMEOUT_S,
        )
        doing = "Logging in to Keycloak"
        with self._errors(doing):
            try:
                self._connection.get_token()
            except KeycloakError as e:
                # 400 is `invalid_grant`: also what a locked or unfinished account gets
                if e.response_code in {400, 401}:
                    raise self._refused(doing) from e
                raise

    # -- HTTP -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Name what was being done and whether to try again."""
        try:
            yield
        except KeycloakAuthenticationError as e:
            raise self._refused(doing) from e
        except (KeycloakConnectionError, requests.RequestException) as e:
            raise TransientError(
                f"{doing} at {self._url}: no answer ({type(e).__name__}). Is Keycloak running?"
            ) from e
        except KeycloakError as e:
            code = e.response_code or 0
            kind = TransientError if code in {0, 409, 429} or code >= 500 else PermanentError
            raise kind(f"{doing} at {self._url}: Keycloak answers {code}.") from e

    def _refused(self, doing: str) -> PermanentError:
        return PermanentError(
            f"{doing} at {self._url} as {self._login!r}: refused. "
            "Check KEYCLOAK_ADMIN and KEYCLOAK_ADMIN_PASSWORD."
        )

    def _call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """One request to ``/admin/realms/…``; the decoded answer, or None when it has none.

        404 answers None to GET and DELETE: what is not there is not an error here.
        """
        doing = f"{method.upper()} /admin/realms{path}"
        url = f"admin/realms{path}"
        params = {k: v for k, v in query.items() if v is not None}
        with self._errors(doing):
            if method == "get":
                response = self._connection.raw_get(url, **params)
            elif method == "delete":
                # python-keycloak's own signature says dict; role lists are JSON arrays
                response = self._connection.raw_delete(url, data=json.dumps(body or {}))
            else:
                send = {"post": self._connection.raw_post, "put": self._connection.raw_put}[method]
                response = send(url, data=json.dumps(body))
        status = response.status_code
        if status == 404 and method in {"get", "delete"}:
            return None
        if status >= 400:
            message = _message(response)
            if status in {409, 429} or status >= 500:
                raise TransientError(f"{doing}: Keycloak answers {status} {message}")
            raise PermanentError(f"{doing}: Keycloak answers {status} {message}")
        return response.json() if response.content and method in {"get", "post"} else None

    # -- Reading ----------------------------------------------------------------------------------

    def export(self, realm: str, clients: Sequence[str], users: Sequence[str]) -> Json | None:
        """A realm in the words of the realm file: names only, with what the file may speak of.

        Args:
            realm: Its name.
            clients: Client ids whose settings, mappers, scopes and permissions are wanted. Ids
                that do not exist are left out of the answer.
            users: User names to look for. The answer holds the names of those that exist.

        Returns:
            None when there is no such realm.
        """
        settings = self._call("get", f"/{realm}")
        if settings is None:
            return None
        roles = self._call("get", f"/{realm}/roles", briefRepresentation="false", max=1000)
        found = [c for name in clients if (c := self._client(realm, name)) is not None]
        answer: Json = {
            **settings,
            "roles": {"realm": [self._role(realm, role) for role in roles]},
            "groups": [
                {"name": g["name"], "realmRoles": self._mapped(f"/{realm}/groups/{g['id']}")}
                for g in self._call("get", f"/{realm}/groups", max=1000)
            ],
            "clients": [self._export_client(realm, client) for client in found],
            "scopeMappings": [],
            "clientScopeMappings": {},
            "users": [{"username": u} for u in users if self._user_id(realm, u)],
        }
        for client in found:
            self._export_mappings(realm, client, answer)
        return answer

    def _role(self, realm: str, role: Json) -> Json:
        composites: list[str] = []
        if role.get("composite"):
            held = self._call("get", f"/{realm}/roles-by-id/{role['id']}/composites/realm")
            composites = [r["name"] for r in held]
        return {
            "name": role["name"],
            "description": role.get("description", ""),
            "composites": {"realm": composites},
        }

    def _export_client(self, realm: str, client: Json) -> Json:
        base = f"/{realm}/clients/{client['id']}"
        answer = {**client, "protocolMappers": client.get("protocolMappers", [])}
        if client.get("authorizationServicesEnabled"):
            answer["authorizationSettings"] = self._call(
                "get", f"{base}/authz/resource-server/settings"
            )
        return answer

    def _export_mappings(self, realm: str, client: Json, answer: Json) -> None:
        base, name = f"/{realm}/clients/{client['id']}", client["clientId"]
        mappings = self._call("get", f"{base}/scope-mappings") or {}
        roles = [r["name"] for r in mappings.get("realmMappings", [])]
        if roles:
            answer["scopeMappings"].append({"client": name, "roles": roles})
        for owner, mapping in mappings.get("clientMappings", {}).items():
            answer["clientScopeMappings"].setdefault(owner, []).append(
                {"client": name, "roles": [r["name"] for r in mapping["mappings"]]}
            )
        if client.get("serviceAccountsEnabled"):
            user = self._call("get", f"{base}/service-account-user")
            given = self._call("get", f"/{realm}/users/{user['id']}/role-mappings") or {}
            answer["users"].append(
                {
                    "username": user["username"],
                    "serviceAccountClientId": name,
                    "clientRoles": {
                        owner: [r["name"] for r in mapping["mappings"]]
                        for owner, mapping in given.get("clientMappings", {}).items()
                    },
                }
            )

    def _mapped(self, base: str) -> list[str]:
        mappings = self._call("get", f"{base}/role-mappings/realm") or []
        return [role["name"] for role in mappings]

    def _client(self, realm: str, name: str) -> Json | None:
        found = self._call("get", f"/{realm}/clients", clientId=name)
        client: Json | None = found[0] if found else None
        return client

    def _client_id(self, realm: str, name: str) -> str:
        client = self._client(realm, name)
        if client is None:
            raise TransientError(f"Looking up client {name!r} of realm {realm}: it is gone.")
        return str(client["id"])

    def _group_id(self, realm: str, name: str) -> str:
        group = self._call("get", f"/{realm}/group-by-path/{quote(name)}")
        if group is None:
            raise TransientError(f"Looking up group {name!r} of realm {realm}: it is gone.")
        return str(group["id"])

    def _user_id(self, realm: str, name: str) -> str | None:
        found = self._call("get", f"/{realm}/users", username=name, exact="true")
        return str(found[0]["id"]) if found else None

    def _realm_roles(self, realm: str, names: frozenset[str]) -> list[Json]:
        roles = [self._call("get", f"/{realm}/roles/{quote(name)}") for name in sorted(names)]
        return [{k: r[k] for k in _ROLE_KEYS} for r in roles if r is not None]

    def _client_roles(self, realm: str, owner: str, names: frozenset[str]) -> list[Json]:
        base = f"/{realm}/clients/{self._client_id(realm, owner)}/roles"
        roles = [self._call("get", f"{base}/{quote(name)}") for name in sorted(names)]
        return [{k: r[k] for k in _ROLE_KEYS} for r in roles if r is not None]

    # -- Single steps -----------------------------------------------------------------------------

    def create_realm(self, settings: Json) -> None:
        """Make a realm with Keycloak's own defaults beside the given settings."""
        self._call("post", "", settings)
        self._connection.get_token()  # the old token says nothing of the new realm

    def update_realm(self, realm: str, settings: Json) -> None:
        """Change the given settings; attributes that are not given stay."""
        attributes = settings.get("attributes")
        if attributes is not None:
            present = (self._call("get", f"/{realm}") or {}).get("attributes", {})
            settings = {**settings, "attributes": {**present, **attributes}}
        self._call("put", f"/{realm}", settings)

    def put_role(self, realm: str, name: str, description: str) -> None:
        """Make a realm role, or change its description."""
        body = {"name": name, "description": description}
        if self._call("get", f"/{realm}/roles/{quote(name)}") is None:
            self._call("post", f"/{realm}/roles", body)
        else:
            self._call("put", f"/{realm}/roles/{quote(name)}", body)

    def set_composites(self, realm: str, name: str, roles: frozenset[str]) -> None:
        """Let a realm role hold exactly these realm roles."""
        path = f"/{realm}/roles/{quote(name)}/composites"
        held = self._call("get", f"{path}/realm") or []
        self._replace(path, held, self._realm_roles(realm, roles))

    def create_group(self, realm: str, name: str) -> None:
        """Make a top-level group."""
        self._call("post", f"/{realm}/groups", {"name": name})

    def set_group_roles(self, realm: str, name: str, roles: frozenset[str]) -> None:
        """Let a group give exactly these realm roles."""
        path = f"/{realm}/groups/{self._group_id(realm, name)}/role-mappings/realm"
        self._replace(path, self._call("get", path) or [], self._realm_roles(realm, roles))

    def put_client(self, realm: str, settings: Json) -> None:
        """Make a client, or change the given settings."""
        client = self._client(realm, settings["clientId"])
        if client is None:
            self._call("post", f"/{realm}/clients", settings)
            return
        attributes = {**client.get("attributes", {}), **settings.get("attributes", {})}
        changed = {**client, **settings, "attributes": attributes}
        self._call("put", f"/{realm}/clients/{client['id']}", changed)

    def put_mapper(self, realm: str, client: str, mapper: Json) -> None:
        """Make a client's protocol mapper, or change it."""
        path = f"/{realm}/clients/{self._client_id(realm, client)}/protocol-mappers/models"
        present = {m["name"]: m["id"] for m in self._call("get", path) or []}
        if mapper["name"] in present:
            mapper_id = present[mapper["name"]]
            self._call("put", f"{path}/{mapper_id}", {**mapper, "id": mapper_id})
        else:
            self._call("post", path, mapper)

    def delete_mapper(self, realm: str, client: str, name: str) -> None:
        """Remove a client's protocol mapper."""
        path = f"/{realm}/clients/{self._client_id(realm, client)}/protocol-mappers/models"
        for mapper in self._call("get", path) or []:
            if mapper["name"] == name:
                self._call("delete", f"{path}/{mapper['id']}")

    def set_client_scopes(self, realm: str, client: str, kind: str, scopes: frozenset[str]) -> None:
        """Let a client have exactly these ``default`` or ``optional`` client scopes."""
        path = f"/{realm}/clients/{self._client_id(realm, client)}/{kind}-client-scopes"
        ids = {s["name"]: s["id"] for s in self._call("get", f"/{realm}/client-scopes") or []}
        unknown = scopes - ids.keys()
        if unknown:
            raise PermanentError(
                f"Setting the {kind} scopes of client {client!r}: realm {realm} has no client "
                f"scope {', '.join(sorted(unknown))}."
            )
        present = {s["name"] for s in self._call("get", path) or []}
        for name in sorted(present - scopes):
            self._call("delete", f"{path}/{ids[name]}")
        for name in sorted(scopes - present):
            self._call("put", f"{path}/{ids[name]}", {})

    def set_token_roles(
        self, realm: str, client: str, owner: str | None, roles: frozenset[str]
    ) -> None:
        """Let a client's tokens carry exactly these roles, of the realm or of client `owner`."""
        base = f"/{realm}/clients/{self._client_id(realm, client)}/scope-mappings"
        if owner is None:
            path, wanted = f"{base}/realm", self._realm_roles(realm, roles)
        else:
            path = f"{base}/clients/{self._client_id(realm, owner)}"
            wanted = self._client_roles(realm, owner, roles)
        self._replace(path, self._call("get", path) or [], wanted)

    def set_service_roles(self, realm: str, client: str, owner: str, roles: frozenset[str]) -> None:
        """Give a client's service account exactly these roles of client `owner`."""
        client_id = self._client_id(realm, client)
        user = self._call("get", f"/{realm}/clients/{client_id}/service-account-user")
        owner_id = self._client_id(realm, owner)
        path = f"/{realm}/users/{user['id']}/role-mappings/clients/{owner_id}"
        wanted = self._client_roles(realm, owner, roles)
        self._replace(path, self._call("get", path) or [], wanted)

    def set_permissions(self, realm: str, client: str, settings: Json) -> None:
        """Let a client's resource server have exactly these settings, resources and policies.

        Keycloak's import adds and changes but removes nothing, so what is not wanted goes first:
        whoever interrupts this leaves too few permissions, never too many.
        """
        base = f"/{realm}/clients/{self._client_id(realm, client)}/authz/resource-server"
        for kind in ("policy", "resource", "scope"):
            plural = {"policy": "policies", "resource": "resources", "scope": "scopes"}[kind]
            wanted = {item["name"] for item in settings[plural]}
            for item in self._call("get", f"{base}/{kind}", max=1000) or []:
                if item["name"] not in wanted:
                    item_id = item.get("id") or item["_id"]
                    self._call("delete", f"{base}/{kind}/{item_id}")
        self._call("post", f"{base}/import", settings)

    def create_user(self, realm: str, user: Json) -> None:
        """Make an account with its groups and its first password."""
        self._call("post", f"/{realm}/users", user)

    def _replace(self, path: str, present: list[Json], wanted: list[Json]) -> None:
        """Make a list of roles exactly what is wanted, by adding and removing."""
        names, kept = {r["name"] for r in wanted}, {r["name"] for r in present}
        gone = [{k: r[k] for k in _ROLE_KEYS} for r in present if r["name"] not in names]
        new = [r for r in wanted if r["name"] not in kept]
        if gone:
            self._call("delete", path, gone)
        if new:
            self._call("post", path, new)

    # -- The administrator ------------------------------------------------------------------------

    def set_own_password(self, password: str) -> None:
        """Give the administrator that is logged in another password, for good.

        Also ends Keycloak's mark of a temporary administrator, which it puts on the account that it
        made at its first start.
        """
        user_id = self._user_id("master", self._login)
        user = self._call("get", f"/master/users/{user_id}") if user_id else None
        if user is None:
            raise PermanentError(f"Changing a password: there is no administrator {self._login!r}.")
        attributes = dict(user.get("attributes", {}))
        if attributes.pop("is_temporary_admin", None):
            self._call("put", f"/master/users/{user_id}", {**user, "attributes": attributes})
        credential = {"type": "password", "value": password, "temporary": False}
        self._call("put", f"/master/users/{user_id}/reset-password", credential)


def _message(response: requests.Response) -> str:
    """Keycloak's own words, short. It does not repeat what was sent to it."""
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    return str(body.get("errorMessage") or body.get("error_description") or body.get("error", ""))[
        :300
    ]
