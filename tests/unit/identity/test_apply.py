from unittest.mock import create_autospec

import pytest
from clinic.errors import PermanentError, TransientError
from clinic.identity.apply import RealmAdmin, apply
from clinic.identity.realm import state

FILE = {
    "realm": "clinic",
    "accessTokenLifespan": 60,
    "groups": [{"name": "pharmacy", "realmRoles": []}],
}
WANT = state(FILE)


@pytest.fixture
def admin():
    return create_autospec(RealmAdmin, instance=True)


def test_nothing_is_changed_when_nothing_differs(admin):
    admin.export.return_value = FILE
    assert apply(WANT, admin) == []
    assert [call[0] for call in admin.method_calls] == ["export"]


def test_what_was_changed_is_compared_once_more(admin):
    admin.export.side_effect = [None, FILE]
    changes = apply(WANT, admin)
    assert [str(change) for change in changes] == ["create realm clinic", "create group pharmacy"]
    admin.create_realm.assert_called_once_with({"realm": "clinic", "accessTokenLifespan": 60})
    assert admin.export.call_count == 2


def test_another_run_that_was_faster_does_no_harm(admin):
    admin.export.side_effect = [None, {"realm": "clinic", "accessTokenLifespan": 60}, FILE]
    admin.create_realm.side_effect = TransientError("409: there is one")
    pauses = []
    changes = apply(WANT, admin, pause=pauses.append)
    assert [str(change) for change in changes] == ["create group pharmacy"]
    assert len(pauses) == 1


def test_a_keycloak_that_stays_away_is_given_up_on(admin):
    admin.export.side_effect = TransientError("no answer")
    with pytest.raises(TransientError, match="no answer"):
        apply(WANT, admin, pause=lambda _: None)
    assert admin.export.call_count == 4


def test_a_value_that_keycloak_does_not_keep_is_named(admin):
    admin.export.return_value = {**FILE, "accessTokenLifespan": 300}
    with pytest.raises(PermanentError, match=r"accessTokenLifespan"):
        apply(WANT, admin)


def test_a_refusal_is_not_tried_again(admin):
    admin.export.side_effect = PermanentError("403")
    with pytest.raises(PermanentError, match="403"):
        apply(WANT, admin)
    assert admin.export.call_count == 1
