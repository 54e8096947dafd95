import pytest
from clinic.errors import PermanentError
from clinic.identity.realm import (
    Change,
    Realm,
    authorization_settings,
    differences,
    parse,
    permissions,
    placeholders,
    plan,
    state,
    substitute,
    without_demo_accounts,
)

PERMISSIONS = {
    "allowRemoteResourceManagement": False,
    "policyEnforcementMode": "ENFORCING",
    "decisionStrategy": "AFFIRMATIVE",
    "scopes": ["GET", "LIST"],
    "resources": [{"name": "Dag", "scopes": ["GET", "LIST"]}],
    "policies": [
        {
            "name": "Read",
            "type": "scope",
            "config": {"resources": ["Dag"], "scopes": ["GET"], "applyPolicies": ["Is-Viewer"]},
        },
        {
            "name": "Is-Viewer",
            "type": "role",
            "config": {"roles": [{"id": "Viewer", "required": False}]},
        },
    ],
}

FILE = {
    "realm": "clinic",
    "accessTokenLifespan": 60,
    "supportedLocales": ["es", "en"],
    "roles": {
        "realm": [
            {"name": "Viewer", "description": "reads"},
            {"name": "User", "description": "runs", "composites": {"realm": ["Viewer"]}},
        ]
    },
    "groups": [{"name": "pharmacy", "realmRoles": ["User"]}],
    "scopeMappings": [{"client": "airflow", "roles": ["Viewer", "User"]}],
    "clientScopeMappings": {"realm-management": [{"client": "sync", "roles": ["view-users"]}]},
    "clients": [
        {
            "clientId": "airflow",
            "secret": "s3cret",
            "attributes": {"a": "1"},
            "defaultClientScopes": ["basic"],
            "protocolMappers": [{"name": "aud", "config": {"included.client.audience": "airflow"}}],
            "authorizationSettings": PERMISSIONS,
        },
        {"clientId": "sync", "serviceAccountsEnabled": True},
    ],
    "users": [
        {
            "username": "service-account-sync",
            "serviceAccountClientId": "sync",
            "clientRoles": {"realm-management": ["view-users"]},
        },
        {"username": "ana", "groups": ["/pharmacy"], "credentials": [{"value": "her-password"}]},
    ],
}


def server_with(**changed):
    """What a server that was made from FILE exports, with something changed since."""
    return state({**FILE, **changed})


def with_client(**changed):
    airflow, sync = FILE["clients"]
    return server_with(clients=[{**airflow, **changed}, sync])


def said(changes):
    assert all(isinstance(change, Change) for change in changes)
    return [str(change) for change in changes]


class TestPlaceholders:
    def test_values_take_the_place_of_names_inside_longer_text(self):
        realm = {"realm": "r", "url": "${HOST}/callback", "list": ["${HOST}"]}
        filled = substitute(realm, {"HOST": "https://x"})
        assert filled == {"realm": "r", "url": "https://x/callback", "list": ["https://x"]}

    def test_the_file_itself_is_not_changed(self):
        realm = {"realm": "r", "secret": "${S}"}
        substitute(realm, {"S": "1"})
        assert realm["secret"] == "${S}"

    def test_a_field_of_a_json_object_is_read(self):
        realm = {"realm": "r", "password": "${DEMO[ana-1]}"}
        assert substitute(realm, {"DEMO": '{"ana-1": "pw"}'})["password"] == "pw"

    def test_every_missing_name_is_named_at_once(self):
        realm = {"realm": "r", "a": "${ONE}", "b": "${TWO}", "c": "${MAP[x]}", "d": "${THREE}"}
        with pytest.raises(PermanentError) as error:
            substitute(realm, {"TWO": "", "MAP": '{"y": "1"}', "THREE": "3"})
        assert "ONE" in str(error.value)
        assert "TWO" in str(error.value)
        assert "MAP[x]" in str(error.value)
        assert "THREE" not in str(error.value)

    @pytest.mark.parametrize("value", ["", "not json", "[1]", '{"x": ""}', '{"x": 5}', "null"])
    def test_a_broken_json_object_counts_as_missing(self, value):
        with pytest.raises(PermanentError, match=r"MAP\[x\]"):
            substitute({"realm": "r", "a": "${MAP[x]}"}, {"MAP": value})

    def test_a_value_is_not_expanded_a_second_time(self):
        realm = {"realm": "r", "a": "${A}"}
        assert substitute(realm, {"A": "${B}", "B": "secret"})["a"] == "${B}"

    def test_a_value_cannot_break_out_of_its_place(self):
        realm = parse("realm: r\nsecret: ${S}\n")
        assert substitute(realm, {"S": 'x"\nadmin: true'}) == {
            "realm": "r",
            "secret": 'x"\nadmin: true',
        }

    def test_names_are_listed_as_they_are_written(self):
        assert placeholders({"a": "${X}-${Y[k-1]}", "b": ["${X}"]}) == {"X", "Y[k-1]"}


class TestParse:
    @pytest.mark.parametrize("text", ["realm: [", "[]", "a: 1", "realm: 5", ""])
    def test_what_is_no_realm_file_is_refused(self, text):
        with pytest.raises(PermanentError, match="Reading the realm file"):
            parse(text)

    def test_ids_are_refused_and_named(self):
        with pytest.raises(PermanentError, match=r"groups\[0\]\.id"):
            parse("realm: r\ngroups: [{id: 1, name: a}]")

    def test_client_scopes_are_refused(self):
        with pytest.raises(PermanentError, match="clientScopes"):
            parse("realm: r\nclientScopes: []")

    def test_a_role_named_in_a_policy_is_no_id_of_a_server(self):
        parse("realm: r\npolicies: [{config: {roles: [{id: Viewer}]}}]")


def test_demo_accounts_can_be_left_out():
    users = [{"username": "demo-ana"}, {"username": "ana"}]
    assert without_demo_accounts({"realm": "r", "users": users})["users"] == [{"username": "ana"}]


class TestPlan:
    def test_a_server_that_is_as_declared_needs_nothing(self):
        assert plan(state(FILE), state(FILE)) == []

    def test_an_empty_server_gets_everything_in_an_order_that_works(self):
        changes = said(plan(state(FILE), Realm("clinic", None)))
        assert changes[0] == "create realm clinic"

        def place(text):
            return next(n for n, change in enumerate(changes) if change.startswith(text))

        assert place("create role User") < place("update role's roles User")
        assert place("create role User") < place("update group's roles pharmacy")
        assert place("create client sync") < place("update token's roles airflow")
        assert place("update permissions airflow") < place("create account ana")
        assert place("create group pharmacy") < place("create account ana")
        assert len(changes) == 15

    def test_a_changed_setting_is_put_back(self):
        assert said(plan(state(FILE), server_with(accessTokenLifespan=86400))) == [
            "update realm clinic (accessTokenLifespan)"
        ]

    def test_what_the_file_does_not_speak_of_stays(self):
        have = server_with(
            somethingElse=True,
            roles={"realm": [*FILE["roles"]["realm"], {"name": "offline_access"}]},
            groups=[*FILE["groups"], {"name": "made-by-hand", "realmRoles": ["Viewer"]}],
        )
        assert plan(state(FILE), have) == []

    def test_lists_of_names_have_no_order(self):
        assert plan(state(FILE), server_with(supportedLocales=["en", "es"])) == []

    def test_roles_that_somebody_added_to_a_group_are_taken_away(self):
        have = server_with(groups=[{"name": "pharmacy", "realmRoles": ["User", "Admin"]}])
        assert said(plan(state(FILE), have)) == ["update group's roles pharmacy (-Admin)"]

    def test_a_role_that_lost_the_one_below_it_gets_it_back(self):
        roles = [
            {"name": "Viewer", "description": "reads"},
            {"name": "User", "description": "runs"},
        ]
        assert said(plan(state(FILE), server_with(roles={"realm": roles}))) == [
            "update role's roles User (+Viewer)"
        ]

    def test_roles_that_a_token_may_carry_are_compared_both_ways(self):
        have = server_with(scopeMappings=[{"client": "airflow", "roles": ["Viewer", "Admin"]}])
        assert said(plan(state(FILE), have)) == ["update token's roles airflow (+User, -Admin)"]

    def test_a_service_account_with_too_many_rights_loses_them(self):
        account = {
            "username": "service-account-sync",
            "serviceAccountClientId": "sync",
            "clientRoles": {"realm-management": ["view-users", "realm-admin"], "account": ["x"]},
        }
        assert said(plan(state(FILE), server_with(users=[account, {"username": "ana"}]))) == [
            "update service account's roles sync (x)",
            "update service account's roles sync (realm-admin)",
        ]

    def test_the_service_account_of_a_client_that_declares_none_is_left_alone(self):
        account = {
            "username": "service-account-airflow",
            "serviceAccountClientId": "airflow",
            "clientRoles": {"airflow": ["uma_protection"]},
        }
        assert plan(state(FILE), server_with(users=[*FILE["users"], account])) == []

    def test_an_account_that_exists_is_never_touched(self):
        moved = {"username": "ana", "groups": ["/elsewhere"], "enabled": False}
        assert plan(state(FILE), server_with(users=[FILE["users"][0], moved])) == []

    def test_a_missing_account_is_made(self):
        (change,) = plan(state(FILE), server_with(users=[FILE["users"][0]]))
        assert str(change) == "create account ana"
        assert change.value == FILE["users"][1]

    def test_no_change_says_a_secret(self):
        changes = [
            *plan(state(FILE), Realm("clinic", None)),
            *plan(state(FILE), with_client(secret="other")),
        ]
        text = " ".join(said(changes))
        assert "airflow (secret)" in text
        assert "s3cret" not in text
        assert "other" not in text
        assert "her-password" not in text

    def test_mappers_are_made_changed_and_removed(self):
        have = with_client(protocolMappers=[{"name": "groups", "config": {}}])
        assert said(plan(state(FILE), have)) == [
            "create mapper airflow (aud)",
            "delete mapper airflow (groups)",
        ]
        have = with_client(
            protocolMappers=[{"name": "aud", "config": {"included.client.audience": "odoo"}}]
        )
        assert said(plan(state(FILE), have)) == [
            "update mapper airflow (aud, config.included.client.audience)"
        ]

    def test_client_scopes_are_compared_both_ways(self):
        have = with_client(defaultClientScopes=["basic", "email"])
        assert said(plan(state(FILE), have)) == ["update default scopes airflow (email)"]


class TestPermissions:
    def change(self, **changed):
        return plan(state(FILE), with_client(authorizationSettings={**PERMISSIONS, **changed}))

    def test_keycloaks_own_form_and_order_compare_equal(self):
        exported = authorization_settings(permissions(PERMISSIONS))
        for policy in exported["policies"]:
            assert all(isinstance(value, str) for value in policy["config"].values())
        exported["policies"].reverse()
        assert plan(state(FILE), with_client(authorizationSettings=exported)) == []

    def test_policies_come_before_the_permissions_made_of_them(self):
        names = [p["name"] for p in authorization_settings(permissions(PERMISSIONS))["policies"]]
        assert names == ["Is-Viewer", "Read"]

    def test_a_permission_that_the_file_no_longer_has_goes(self):
        extra = {"name": "Create-all", "type": "scope", "config": {"scopes": ["GET"]}}
        changes = self.change(policies=[*PERMISSIONS["policies"], extra])
        assert said(changes) == ["update permissions airflow (-Create-all)"]

    def test_a_permission_that_was_widened_is_put_back(self):
        read, viewer = PERMISSIONS["policies"]
        wide = {**read, "config": {**read["config"], "scopes": ["GET", "LIST"]}}
        assert said(self.change(policies=[wide, viewer])) == ["update permissions airflow (~Read)"]

    def test_a_negated_policy_is_another_policy(self):
        read, viewer = PERMISSIONS["policies"]
        changes = self.change(policies=[read, {**viewer, "logic": "NEGATIVE"}])
        assert said(changes) == ["update permissions airflow (~Is-Viewer)"]

    def test_a_resource_that_appeared_goes(self):
        changes = self.change(resources=[*PERMISSIONS["resources"], {"name": "Default Resource"}])
        assert said(changes) == ["update permissions airflow (-Default Resource)"]

    def test_another_decision_strategy_is_put_back(self):
        changes = self.change(decisionStrategy="UNANIMOUS")
        assert said(changes) == ["update permissions airflow (~decisionStrategy)"]


@pytest.mark.parametrize(
    ("want", "have", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ()),
        ({"a": {"b": "1"}}, {"a": {"b": "2"}}, ("a.b",)),
        ({"a": {"b": "1"}}, {}, ("a.b",)),
        ({"a": []}, {}, ()),
        ({"a": ""}, {"a": None}, ()),
        ({"a": False}, {}, ("a",)),
        ({"a": ["x"]}, {"a": ["x", "y"]}, ("a",)),
        ({"a": ["x"]}, {"a": "x"}, ("a",)),
        ({"a": "1"}, {"a": 1}, ("a",)),
    ],
)
def test_only_what_is_wanted_is_compared(want, have, expected):
    assert differences(want, have) == expected
