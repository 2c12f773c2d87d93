"""Who may ask, and how long they may take."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import quote

import pytest

from featalign.errors import ConfigError
from featalign.serve import Settings
from featalign.serve.auth import cookie, is_called_by
from featalign.serve.guard import Guard

TOKEN = "correct-horse"
LOCAL = [(b"host", b"localhost")]


def test_without_the_token_nothing_but_health(serve, send):
    client = serve(token=TOKEN)
    for path in ("/v1/models", "/metrics", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 401
    response = send(client)
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/models", headers={"Authorization": "Bearer wrong-horse"}).status_code == 401
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    assert send(client).status_code == 200


def test_tokens_of_any_sign_open(serve):
    token = """a;b"c,d+e&f#g%h'i=j\\k?l/m"""
    client = serve(token=token)
    assert client.get("/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert client.get(f"/v1/models?token={quote(token, safe='')}").status_code == 200
    assert client.get("/v1/models").status_code == 200, "by the cookie"


@pytest.mark.parametrize("foreign", ["a/b=1", "(x)=1", 'x={"a":1}', "=", "x"])
def test_cookies_of_other_services_do_no_harm(serve, foreign):
    client = serve(token=TOKEN)
    header = {"Authorization": f"Bearer {TOKEN}", "Cookie": foreign}
    assert client.get("/v1/models", headers=header).status_code == 200
    assert client.get("/v1/models", headers={"Cookie": f"{foreign}; {cookie(TOKEN).split(';')[0]}"}).status_code == 200
    assert client.get("/v1/models", headers={"Cookie": foreign}).status_code == 401


def test_a_browser_gets_a_cookie_for_the_token(serve):
    client = serve(token=TOKEN)
    response = client.get(f"/docs?token={TOKEN}", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/docs")
    assert "HttpOnly" in response.headers["set-cookie"] and "SameSite=Strict" in response.headers["set-cookie"]
    assert client.get("/docs").status_code == 200
    away = client.get(f"//elsewhere.example?token={TOKEN}", follow_redirects=False)
    assert not away.headers.get("location", "/").startswith("//")


def test_the_document_says_that_a_token_is_needed(serve):
    client = serve(token=TOKEN)
    document = client.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_foreign_names_and_pages(client, send):
    called = client.get("/v1/models", headers={"Host": "attacker.example"})
    assert called.status_code == 403 and "--allow-host" in called.json()["detail"]
    image = {"image": b"x"}
    foreign = client.post("/v1/segment", files=image, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403 and "another site" in foreign.json()["detail"]


@pytest.mark.parametrize("host", ["me.example", "ME.example:80", "a.b.example", "[::1]:8000", "127.0.0.1:1"])
def test_names_it_is_called_by(host):
    names = ("me.example", "*.b.example", "[::1]", "127.0.0.1")
    assert is_called_by(host, names) and is_called_by(host, ("*",))


@pytest.mark.parametrize("host", ["", "b.example", "xme.example", "me.example.evil", "me.example:80:80", "[::2]"])
def test_names_it_is_not_called_by(host):
    assert not is_called_by(host, ("me.example", "*.b.example", "[::1]", "::1"))


def test_a_foreign_page_gets_no_cookie(serve):
    client = serve(token=TOKEN)
    answer = client.get(f"/?token={TOKEN}", headers={"Host": "attacker.example"}, follow_redirects=False)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_a_full_queue_says_when_to_come_back(serve, send, monkeypatch):
    started, go = threading.Event(), threading.Event()
    client = serve(queue=1)

    def slow(self, images):
        started.set()
        go.wait(10)
        return [images[0][..., 0] * 0]

    monkeypatch.setattr("featalign.serve.networks.Segment.__call__", slow)
    first = threading.Thread(target=send, args=(client,))
    first.start()
    assert started.wait(10)
    response = send(client)
    go.set()
    first.join()
    assert response.status_code == 503 and response.headers["retry-after"] == "1"
    assert send(client).status_code == 200


def test_what_takes_too_long_is_given_up(serve, send, monkeypatch):
    go = threading.Event()
    client = serve(timeout=0.2)
    with monkeypatch.context() as patch:
        patch.setattr("featalign.serve.networks.Segment.__call__", lambda self, images: go.wait(10))
        response = send(client)
        go.set()
    assert response.status_code == 504 and "0.2 s" in response.json()["detail"]


def test_what_takes_too_long_is_stopped(serve, send, monkeypatch, predictor):
    client, layers = serve(timeout=0.3), []
    layer = predictor.model.encode

    def endless(images):
        while len(layers) < 10_000:  # what would take minutes
            layers.append(layer(images))

    with monkeypatch.context() as patch:
        patch.setattr(predictor.model, "encode", endless)
        assert send(client).status_code == 504
    assert send(client).status_code == 200, "the network is free at once"
    assert len(layers) < 10_000


def receive_with(guard: Guard, *messages, pause: float = 0.0, headers=()):
    """Sends messages through the guard; status, and the body that the application got."""
    got, sent = [], []

    async def application(scope, receive, send):
        got.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        await asyncio.sleep(pause)
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    waiting = list(messages)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [*LOCAL, *headers], "query_string": b""}
    guard.app = application
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], got


def chunk(size: int, more: bool):
    return {"type": "http.request", "body": bytes(size), "more_body": more}


def test_bodies_arrive_whole():
    guard = Guard(None, settings=Settings())
    assert receive_with(guard, chunk(3, True), chunk(4, False)) == (200, [bytes(7)])


def test_slow_uploads_end():
    guard = Guard(None, settings=Settings(upload_timeout=0.1))
    status, got = receive_with(guard, *[chunk(1, True)] * 50, pause=0.03)
    assert (status, got) == (408, [])


def test_all_bodies_together_have_a_limit():
    guard = Guard(None, settings=Settings(max_pending=10))
    assert receive_with(guard, chunk(11, False)) == (503, [])
    assert receive_with(guard, chunk(10, False)) == (200, [bytes(10)]), "what was refused takes no room"
    assert receive_with(guard, chunk(10, False)) == (200, [bytes(10)]), "nor does what was answered"


def test_many_bodies_at_once_are_refused_but_not_what_supervisors_ask():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def main():
        guard, arrives = Guard(application, settings=Settings(queue=1)), asyncio.Event()

        async def ask(method: str):
            sent = []

            async def receive():
                await arrives.wait()
                return chunk(1, False)

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": method, "path": "/", "query_string": b"", "headers": LOCAL}
            await guard(scope, receive, send)
            return sent[0]["status"], dict(sent[0]["headers"]).get(b"retry-after")

        begun = [asyncio.create_task(ask("POST")) for _ in range(4)]
        await asyncio.sleep(0)
        assert await ask("POST") == (503, b"1") and await ask("GET") == (200, None)
        arrives.set()
        assert await asyncio.gather(*begun) == [(200, None)] * 4
        assert await ask("POST") == (200, None)

    asyncio.run(main())


def test_a_declared_length_is_enough_to_refuse():
    guard = Guard(None, settings=Settings(max_body=5))
    status, _ = receive_with(guard, chunk(0, False), headers=[(b"content-length", b"6")])
    assert status == 413


@pytest.mark.parametrize(
    "wrong", [{"queue": 0}, {"timeout": -1}, {"token": "short"}, {"token": "two words"}, {"token": "schlüssel"}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ConfigError, match="serve"):
        Settings(**wrong)


def test_metrics(client, send):
    send(client)
    send(client, image=b"")
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'featalign_requests_total{method="POST",route="/v1/segment",status="200"} 1.0' in text
    assert 'featalign_requests_total{method="POST",route="/v1/segment",status="422"} 1.0' in text
    assert 'route="other",status="404"' in text and "nowhere" not in text
    assert "featalign_requests_admitted 0.0" in text and "process_resident_memory_bytes" in text
