"""The running API against its own OpenAPI document, with cases that nobody thought of."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

pytestmark = pytest.mark.stack

# What a schema cannot say: a count of a movement that is no count, a cursor of another list.
LEFT_OUT = [positive_data_acceptance]


def test_no_case_finds_a_fault(api):
    """Every operation but the stream, which does not end by itself."""
    with api.client() as client:
        document = client.get("/api/openapi.json").json()
    del document["paths"]["/api/events"]
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 14
    headers = {"Authorization": f"Bearer {api.token()}"}
    for operation in operations:

        @settings(
            max_examples=12,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def every_case(case):
            case.call_and_validate(base_url=api.url, headers=headers, excluded_checks=LEFT_OUT)

        every_case()
    assert httpx.get(f"{api.url}/api/health", trust_env=False).status_code == 200
