"""The API's description is true: schemathesis asks for all of it, rightly and wrongly, and finds no fault."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from core.option_table import OPTIONS
from tests.fakes import FakeEngine
from tests.live_server import live_server

_EXAMPLES = 12
_FILES_ARE_RANDOM = [positive_data_acceptance]  # what is no sound is refused, which a schema cannot tell
OPERATIONS = (
    "GET /health", "GET /healthz", "GET /readyz", "POST /generate", "GET /jobs", "GET /jobs/{job_id}",
    "DELETE /jobs/{job_id}", "GET /jobs/{job_id}/result", "POST /clear_cache", "POST /avatars",
    "GET /avatars", "GET /avatars/{token}", "DELETE /avatars/{token}", "GET /avatars/{token}/thumbnail",
    "POST /upload",
)  # fmt: skip


@dataclass(frozen=True)
class Described:
    """A running server and its operations as it describes them."""

    url: str
    operations: dict[str, Any]
    session: requests.Session


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    home = tmp_path_factory.mktemp("home")
    with (
        live_server(home, FakeEngine(), ("rest",), rate_per_minute=1_000_000) as server,
        requests.Session() as session,
    ):
        schema = schemathesis.openapi.from_dict(session.get(server.http + "/openapi.json").json())
        found = [result.ok() for result in schema.get_all_operations()]
        yield Described(server.http, {each.label: each for each in found}, session)


def test_every_operation_is_described_and_tried(described: Described) -> None:
    assert set(described.operations) == set(OPERATIONS)
    form = described.operations["POST /generate"].definition.raw["requestBody"]["content"]
    assert set(OPTIONS) < set(form["multipart/form-data"]["schema"]["properties"])


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.name
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_fault_is_found(described: Described, name: str, mode: GenerationMode) -> None:
    @given(case=described.operations[name].as_strategy(generation_mode=mode))
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.call_and_validate(
            base_url=described.url, session=described.session, excluded_checks=_FILES_ARE_RANDOM
        )

    try:
        ask()
    except Unsatisfiable:  # an operation without parameters cannot be asked wrongly
        assert mode is GenerationMode.NEGATIVE and "{" not in name and not name.startswith("POST")


def test_answers_that_go_well_are_as_described(described: Described, speech: bytes) -> None:
    files = {"source": ("a.png", b"a"), "audio": ("a.wav", speech)}
    for name, sent, data, status in (
        ("POST /generate", files, {}, 200),
        ("POST /generate", files, {"wait": "false"}, 202),
        ("POST /avatars", {"source": files["source"]}, {}, 201),
        ("POST /upload", files, {}, 200),
    ):
        method, path = name.split()
        answer = described.session.request(method, described.url + path, files=sent, data=data)
        assert answer.status_code == status
        described.operations[name].validate_response(answer)
    for path in ("/jobs", "/avatars"):
        answer = described.session.get(described.url + path)
        assert answer.json()
        described.operations[f"GET {path}"].validate_response(answer)


@pytest.fixture
def speech(short_speech: Any) -> bytes:
    return short_speech.read_bytes()
