"""The OpenAPI document against the service: Schemathesis makes requests of it and judges every answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serve.conftest import make_model
from serve.processes import service

from featalign.models import save_model

CONFIG = """
[checks]
# No document can say that a product of two sides is limited: 413 is what valid requests for too much get; or which
# models find objects: 409 is what others say.
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "413"]
"""


def test_sizes_in_the_document(client):
    parameters = client.get("/openapi.json").json()["paths"]["/v1/segment"]["post"]["parameters"]
    assert [p["schema"]["pattern"] for p in parameters if p["name"] in ("size", "input_size")] == [
        r"^([1-9][0-9]{0,4}(x[1-9][0-9]{0,4})?)?$"
    ] * 2


def test_forms_in_the_document_have_no_further_fields(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    forms = {name: schema for name, schema in schemas.items() if "image" in schema["properties"]}
    assert len(forms) == 3 and all(schema["additionalProperties"] is False for schema in forms.values())


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "a-token-for-tests"])
def test_schemathesis_finds_nothing(tmp_path, token):
    pytest.importorskip("schemathesis", reason="needs schemathesis")
    save_model(make_model(0), tmp_path / "model")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    limits = ("--set", "max_answer_pixels=10000", "--set", "max_network_pixels=10000")
    secret = ("--token", token) if token else ()
    with service(tmp_path / "model", *limits, *secret, log=tmp_path / "log") as (_, address):
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", f"{address}/openapi.json"]
        command += ["--checks", "all", "--max-examples", "15", "--max-time", "60", "--continue-on-failure"]
        command += ["-H", f"Authorization: Bearer {token}"] if token else []
        hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
        found = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **hooks}, cwd=tmp_path)
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-1000:]
    assert "Selected: 9/9" in found.stdout
