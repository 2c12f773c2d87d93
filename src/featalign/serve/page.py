"""A page to try the models in a browser, on the same application. Nothing of it is loaded from elsewhere."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.responses import RedirectResponse

from featalign.errors import FeatalignError
from featalign.serve.ending import Ending
from featalign.serve.question import Question
from featalign.serve.service import Service
from featalign.serve.trying import KeptImages, Shown, crop_html, legend_html, parse_resolution, segment

PATH = "/try"
THE_IMAGE = "the image"
_RESOLUTIONS = ("0.5 ×", "1 ×", "2 ×", "4 ×")
_STYLE = Path(__file__).with_name("page.css")
_KEPT_SECONDS = 600


def mount_page(app: FastAPI) -> None:
    """Add the page to an application of :func:`~featalign.serve.create_app`, at ``/``."""
    service: Service = app.state.service
    page = Page(service)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse(f"{PATH}/")

    app.add_middleware(Ending, path=PATH, stopping=service.stopping)  # the page's heartbeat beats for ever
    gr.mount_gradio_app(
        app,
        page.blocks(),
        path=PATH,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        max_file_size=service.settings.max_body,
        theme=_theme(),
        css=_STYLE.read_text(encoding="utf-8"),
    )


class Page:
    """Components and what happens at them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.names = list(service.models)
        self._asked: defaultdict[str | None, set[asyncio.Timeout]] = defaultdict(set)

    def blocks(self) -> gr.Blocks:
        """The page."""
        kept = (_KEPT_SECONDS // 10, _KEPT_SECONDS)
        with gr.Blocks(title="featalign", analytics_enabled=False, delete_cache=kept, fill_width=True) as blocks:
            gr.HTML("<h1>featalign</h1><p>Drop an image. Click a point in it to see what the model thinks there.</p>")
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=320):
                    self._build_inputs()
                    self._build_point()
                with gr.Column(scale=3, min_width=420):
                    self._build_outputs()
            self._connect()
            blocks.unload(self.close)
        return blocks.queue(default_concurrency_limit=8)

    def _build_inputs(self) -> None:
        self.image = gr.Image(
            label="Image",
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            height=340,
            elem_id="image",
            buttons=[],
        )
        with gr.Row():
            self.model = gr.Dropdown(self.names, value=self.names[0], label="Model", elem_id="model")
            others = [THE_IMAGE, *self.names]
            self.other = gr.Dropdown(others, value=THE_IMAGE, label="Compare with", elem_id="other")
        with gr.Row():
            self.resolution = gr.Dropdown(
                list(_RESOLUTIONS),
                value="1 ×",
                label="Output resolution",
                info="of the image, or HEIGHTxWIDTH",
                allow_custom_value=True,
                elem_id="resolution",
            )
            self.tint = gr.Slider(0.1, 1, value=0.6, step=0.1, label="Colour", info="1 hides the image", elem_id="tint")
        with gr.Row():
            self.scales = gr.CheckboxGroup(
                [0.5, 0.75, 1.0, 1.25, 1.5], value=[1.0], label="Average over scales", elem_id="scales"
            )
            self.flip = gr.Checkbox(False, label="and the mirror image", elem_id="flip")

    def _build_outputs(self) -> None:
        self.slider = gr.ImageSlider(
            label="Answer", type="pil", format="png", interactive=False, max_height=560, elem_id="slider"
        )
        with gr.Row():
            self.legend = gr.HTML(elem_id="legend")
            self.file = gr.DownloadButton("Labels as PNG", visible=False, size="sm", elem_id="download")

    def _build_point(self) -> None:
        with gr.Row():
            self.around = gr.HTML(elem_id="around", min_width=200)
            self.first = gr.Label(
                label="At the point", num_top_classes=4, min_width=140, visible=False, elem_id="first"
            )
            self.second = gr.Label(
                label="At the point", num_top_classes=4, min_width=140, visible=False, elem_id="second"
            )
        self.kept = gr.State(KeptImages({}), time_to_live=_KEPT_SECONDS)

    def _connect(self) -> None:
        shown = [self.slider, self.legend, self.file]
        points = [self.around, self.first, self.second]
        self.image.change(self.begin, None, [*points, self.kept], show_progress="hidden", api_visibility="private")
        inputs: list[Any] = [self.model, self.other, self.resolution, self.tint, self.scales, self.flip]
        for change in (self.image.change, *(part.input for part in inputs)):
            change(self.show, [self.image, *inputs], shown, api_visibility="private", trigger_mode="always_last")
        self.image.select(
            self.point, [self.image, self.model, self.other, self.kept], [*points, self.kept], api_visibility="private"
        )

    def begin(self) -> tuple[Any, ...]:
        """Another image: what was said of the last one goes."""
        return "", gr.update(visible=False), gr.update(visible=False), KeptImages({})

    async def show(
        self,
        image: str | None,
        model: str,
        other: str,
        resolution: str,
        tint: float,
        scales: list[float],
        flip: bool,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        """The slider's two pictures, the legend and the file."""
        if image is None:
            return None, "", gr.update(visible=False)
        data = Path(image).read_bytes()
        async with self.asking(request.session_hash):
            natural = (await self.service.pixels(data, model=model)).shape
            size = parse_resolution(resolution, (natural[0], natural[1]))
            question = Question(size=size, scales=tuple(sorted(scales)) or (1.0,), flip=flip)
            found = await segment(self.service, data, question, model=model, tint=tint)
            left, title = found.photo, f"{model}, {found.size[0]} x {found.size[1]}"
            if other != THE_IMAGE:
                left = (await segment(self.service, data, question, model=other, tint=tint)).picture
        names = gr.update(value=(left, found.picture), label=f"left: {other} · right: {model}")
        return (
            names,
            legend_html(found.shares, found.classes, title),
            gr.update(value=_file(image, found), visible=True),
        )

    async def point(
        self, image: str, model: str, other: str, kept: KeptImages, event: gr.SelectData, request: gr.Request
    ) -> tuple[Any, ...]:
        """Class probabilities where the image was clicked."""
        data, place = Path(image).read_bytes(), (int(event.index[0]), int(event.index[1]))
        second = gr.update(visible=False)
        async with self.asking(request.session_hash):
            first = await kept.ask(self.service, data, place, model=model)
            if other not in (THE_IMAGE, model):
                values = await kept.ask(self.service, data, place, model=other)
                second = gr.update(value=values, label=other, visible=True)
            around = crop_html(await self.service.pixels(data, model=model), place)
        return around, gr.update(value=first, label=model, visible=True), second, kept

    @asynccontextmanager
    async def asking(self, session: str | None) -> AsyncIterator[None]:
        """What is wrong, the page says. What a tab has asked is given up when it is closed."""
        try:
            async with asyncio.timeout(None) as asked:
                answers = self._asked[session]
                answers.add(asked)
                try:
                    yield
                finally:
                    answers.discard(asked)
        except (FeatalignError, TimeoutError) as error:
            raise gr.Error(str(error) or "the tab was closed", print_exception=False) from error

    async def close(self, request: gr.Request) -> None:
        """A tab is closed, and nobody waits for its answers any more."""
        for asked in self._asked.pop(request.session_hash, ()):
            asked.reschedule(asyncio.get_running_loop().time())


def _file(image: str, found: Shown) -> str:
    """The label file where Gradio may send it from: beside the upload, and deleted with it."""
    descriptor, name = tempfile.mkstemp(prefix="labels-", suffix=".png", dir=Path(image).parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(found.labels)
    return name


def _theme() -> gr.themes.Base:
    """Fonts of the reader's system: the default theme's would come from another host."""
    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "monospace"])
