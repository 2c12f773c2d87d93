"""The page to try a service: what it computes, and a browser that uses it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from serve.conftest import make_model
from serve.processes import service as started

from featalign.models import save_model
from featalign.serve import Settings, create_app
from featalign.serve.answers import ClassShare
from featalign.serve.problems import RequestError
from featalign.serve.question import Question
from featalign.serve.trying import KeptImages, crop_html, legend_html, parse_resolution, segment
from featalign.spec import Classes

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1 ×", (30, 40)),
        ("0.5 ×", (15, 20)),
        ("2x", (60, 80)),
        (".25x", (8, 10)),
        ("1.3333333x", (40, 53)),
        ("1080 x 1920", (1080, 1920)),
        (" 7x9 ", (7, 9)),
    ],
)
def test_resolutions(text, size):
    assert parse_resolution(text, (30, 40)) == size


@pytest.mark.parametrize("text", ["", "big", "0x5", "1x2x3", "-1 ×", "9" * 400 + " ×", "9" * 5000 + "x1"])
def test_resolutions_that_are_none(text):
    with pytest.raises(RequestError, match="HEIGHTxWIDTH"):
        parse_resolution(text, (30, 40))


def within(predictor, scenario):
    """Runs ``scenario(service)`` while the service runs."""

    async def main():
        service = create_app({"small": predictor}, Settings()).state.service
        async with service.running():
            return await scenario(service)

    return asyncio.run(main())


def test_pictures_have_the_asked_resolution(predictor, photo, png):
    async def scenario(service):
        return [await segment(service, png, Question(size=(96, 128)), model="small", tint=tint) for tint in (0.5, 1)]

    tinted, colours = within(predictor, scenario)
    labels = predictor(photo, size=(96, 128)).labels
    assert tinted.photo.size == tinted.picture.size == colours.picture.size == (128, 96)
    expected = np.array(predictor.model.classes.colors)[labels]
    np.testing.assert_array_equal(np.asarray(colours.picture), expected)
    blended = (np.asarray(tinted.photo).astype(float) + expected) / 2
    assert np.abs(np.asarray(tinted.picture) - blended).max() <= 1


def test_a_click_asks_the_pixel_under_it(predictor, photo, png):
    kept = KeptImages({})

    async def scenario(service):
        first = await kept.ask(service, png, (10, 20), model="small")
        service.sessions.drop(kept.ids["small"])  # as time would
        again = await kept.ask(service, png, (10, 20), model="small")
        _, direct = await service.query(kept.ids["small"], [(10.5 / 64, 20.5 / 48)])
        return first, again, direct[0]

    first, again, direct = within(predictor, scenario)
    assert list(first) == list(predictor.model.classes.names)
    assert list(first.values()) == pytest.approx(direct.tolist())
    assert list(again.values()) == pytest.approx(direct.tolist())


def test_names_of_classes_are_text_not_markup():
    classes = Classes.named(["<script>", "b"])
    shown = legend_html([ClassShare(id=0, name="<script>", share=1)], classes, "<i>")
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<i>" not in shown.replace("<i style", "")


def test_what_a_closed_tab_has_asked_is_given_up(predictor):
    gradio = pytest.importorskip("gradio", reason="needs featalign[try]")
    from featalign.serve.page import Page

    async def scenario(service):
        page, stopped = Page(service), []

        async def ask(tab, seconds):
            async with page.asking(tab):
                try:
                    await asyncio.sleep(seconds)
                except asyncio.CancelledError:
                    stopped.append(tab)
                    raise

        closed, open_ = asyncio.create_task(ask("closed", 60)), asyncio.create_task(ask("open", 0.1))
        await asyncio.sleep(0)
        await page.close(SimpleNamespace(session_hash="closed"))
        await open_
        with pytest.raises(gradio.Error, match="the tab was closed"):
            await closed
        assert stopped == ["closed"]

    within(predictor, scenario)


def test_the_crop_is_centred_on_the_point(photo):
    assert "x 3, y 4" in crop_html(photo, (3, 4))


@pytest.mark.slow
def test_in_a_browser(tmp_path):
    """Drop an image, compare two models at twice the resolution, click a point; nothing is asked of another host."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    pytest.importorskip("gradio", reason="needs featalign[try]")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} does not exist; apt-get install chromium")
    for seed, name in enumerate(("first", "second")):
        save_model(make_model(seed), tmp_path / name)
    picture = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(picture)
    hosts, token = set(), "a-token-for-tests"
    arguments = (tmp_path / "first", tmp_path / "second", "--demo", "--token", token)
    with started(*arguments, log=tmp_path / "log") as (_, address), playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=QUIET.split())
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.on("request", lambda request: hosts.add(re.sub(r"^(\w+://[^/]*).*", r"\1", request.url[:200])))
        assert page.goto(address).status == 401
        page.goto(f"{address}/?token={token}")
        page.set_input_files("#image input[type=file]", picture)
        page.wait_for_selector("text=first, 48 x 64")
        page.click("#other input")
        page.click('[role=option]:has-text("second")')
        page.wait_for_selector("text=left: second · right: first")
        page.click("#resolution input")
        page.click('[role=option]:has-text("2 ×")')
        page.wait_for_selector("text=first, 96 x 128")
        page.wait_for_function("document.querySelector('#slider img').naturalWidth == 128")
        page.click("#image img")
        page.wait_for_selector("#second:has-text('class')")
        assert re.fullmatch(r"x \d+, y \d+", page.inner_text(".fa-crop").strip())
        page.fill("#resolution input", "9x9x9")
        page.press("#resolution input", "Enter")
        page.wait_for_selector("text=expected a factor like")
        page.screenshot(path=tmp_path / "page.png")
        document = page.goto(f"{address}/docs")
        page.wait_for_selector("#operations-images-segment_v1_segment_post")
        browser.close()
    assert document.status == 200
    assert {host for host in hosts if not host.startswith(("data:", "blob:"))} == {address}, hosts
    assert "Traceback" not in (tmp_path / "log").read_text()
