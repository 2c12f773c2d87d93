"""The command in a process: stopping gracefully, and what it refuses to start with."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image
from serve.conftest import encoded, make_model
from serve.processes import service
from typer.testing import CliRunner

import featalign
from featalign.cli.app import app
from featalign.cli.serving import make_settings, named_runs
from featalign.errors import ConfigError
from featalign.models import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    save_model(make_model(0), folder)
    return folder


def test_a_stopping_service_answers_what_it_has_begun(model, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (256, 384, 3), dtype=np.uint8)
    answers = []
    with service(model, log=tmp_path / "log") as (process, address):

        def ask():
            files = {"image": encoded(photo)}
            answers.append(httpx.post(f"{address}/v1/segment", params={"scales": [1, 2]}, files=files, timeout=60))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        while "featalign_requests_admitted 2.0" not in httpx.get(f"{address}/metrics", timeout=60).text:
            assert any(thread.is_alive() for thread in threads), "answered before it could be stopped"
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(60) in (0, -signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{address}/health")
    expected = featalign.Predictor(featalign.load(model), device="cpu", scales=(1, 2))(photo).labels
    for answer in answers:
        assert answer.status_code == 200
        assert (np.asarray(Image.open(io.BytesIO(answer.content))) == expected).mean() > 0.995
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_killed_in_the_middle_of_many_images_and_started_again_it_loses_none(model, tmp_path):
    photos = [np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8) for seed in range(24)]
    answers: dict[int, bytes] = {}
    running = threading.Event()

    def client(address: str, numbers: range) -> None:
        """Sends each image until it is answered, as whoever wants all of them does."""
        for number in numbers:
            while number not in answers:
                running.wait()
                with contextlib.suppress(httpx.TransportError):
                    answer = httpx.post(f"{address}/v1/segment", files={"image": encoded(photos[number])}, timeout=60)
                    assert answer.status_code == 200, answer.text
                    answers[number] = answer.content

    with service(model, log=tmp_path / "first") as (process, address):
        clients = [threading.Thread(target=client, args=(address, range(i, 24, 4)), daemon=True) for i in range(4)]
        for thread in clients:
            thread.start()
        running.set()
        while len(answers) < 6:
            time.sleep(0.01)
        running.clear()
        process.kill()
        process.wait()
    before = set(answers)
    assert 6 <= len(before) < 24, "answered before it could be killed"
    port = int(address.rsplit(":", 1)[1])
    with service(model, log=tmp_path / "second", port=port):
        running.set()
        for thread in clients:
            thread.join(120)
    own = featalign.Predictor(featalign.load(model), device="cpu")
    assert sorted(answers) == list(range(24))
    for number, png in answers.items():
        assert (np.asarray(Image.open(io.BytesIO(png))) == own(photos[number]).labels).mean() > 0.995, number


def test_a_slow_upload_ends_with_its_connection(model, tmp_path):
    with service(model, "--set", "upload_timeout=0.5", log=tmp_path / "log") as (_, address):
        port = int(address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            head = "POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nbegun"
            connection.sendall(head.encode())
            received = b"".join(iter(lambda: connection.recv(4096), b""))  # until the service closes
    assert received.startswith(b"HTTP/1.1 408") and b"did not arrive within 0.5 s" in received


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert isinstance(result.exception, featalign.errors.FeatalignError), result.output
    return str(result.exception)


def test_a_port_that_is_taken(model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "choose another" in refused(str(model), "--port", str(other.getsockname()[1]))


def test_a_run_that_is_not_there():
    assert "no such folder" in refused("nowhere", "--port", "0")


def test_limits_that_are_none(model):
    assert 'did you mean "timeout"?' in refused(str(model), "--set", "timout=3")
    assert "expected int" in refused(str(model), "--set", "queue=many")
    assert "must be positive" in refused(str(model), "--set", "queue=0")


def test_effort(model, monkeypatch):
    begun = {}
    monkeypatch.setattr("featalign.cli.serving.run_service", lambda models, *rest, **others: begun.update(models))
    options = [str(model), "--port", "0", "--mode", "adaptive", "--effort", "0.25"]
    result = CliRunner().invoke(app, ["serve", *options])
    assert result.exit_code == 0, result.output
    assert [one.effort for one in begun.values()] == [0.25]
    assert "the dial of mode" in refused(str(model), "--port", "0", "--mode", "dense", "--effort", "0.25")


def test_missing_packages_are_named(model, monkeypatch):
    monkeypatch.setattr("featalign.cli.serving._PACKAGES", ("a_package_nobody_has",))
    assert refused(str(model)) == "serve needs a_package_nobody_has: pip install 'featalign[serve]'"


def test_names_of_runs(tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    assert named_runs([f"{tmp_path}/lr=0.1"]) == {"lr=0.1": tmp_path / "lr=0.1"}
    assert list(named_runs([f"{tmp_path}/first", f"{tmp_path}/second/model", "third=anywhere"])) == [
        "first",
        "second",
        "third",
    ]
    with pytest.raises(ConfigError, match="NAME="):
        named_runs(["a/run", "b/run"])


def test_names_of_this_machine():
    loopback = make_settings("127.0.0.1", token=None, hosts=(), overrides=[])
    assert "localhost" in loopback.hosts and "*" not in loopback.hosts
    assert make_settings("0.0.0.0", token=None, hosts=(), overrides=[]).hosts == ("*",)
    assert "me.example" in make_settings("0.0.0.0", token=None, hosts=("me.example",), overrides=["timeout=2.5"]).hosts
