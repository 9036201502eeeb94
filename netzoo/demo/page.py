"""The page, built with Gradio. It loads nothing from other hosts, and Gradio reports nothing."""

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Read when Gradio is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr

from netzoo.data.files import read_file
from netzoo.demo.classifiers import ImageRun
from netzoo.demo.translators import TextRun
from netzoo.errors import UserError, unknown_name

MAX_UPLOAD = 32 << 20
_SANS = ("system-ui", "sans-serif")
_MONO = ("ui-monospace", "monospace")
STYLE = """
.gradio-container { max-width: 1080px !important; margin: auto; }
#title, #caption { text-align: center; }
#title h1 { font-weight: 300; letter-spacing: .04em; }
#scores .bar { height: .5em; }
#examples .grid-container { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 6px; }
#examples .grid-wrap { overflow: hidden; min-height: 0; max-height: none; }
#examples .caption-label { font-size: .7em; padding: 1px 5px; max-width: 100%; }
#examples .caption-label { inset: auto 2px 2px auto; }
.error { border-left: 4px solid #dc2626; padding: .5em 1em; background: #fef2f2; color: #7f1d1d; }
footer { display: none !important; }
"""


def theme() -> Any:
    """Return the colours of the documentation, with the fonts of the reader's system."""
    return gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=_SANS, font_mono=_MONO)


def create_page(runs: Sequence[ImageRun | TextRun], folder: Path) -> Any:
    """Return the page for runs, with a tab for images and one for sentences if there are both.

    `folder` is for the files that the page shows.
    """
    images = {run.title: run for run in runs if isinstance(run, ImageRun)}
    texts = {run.title: run for run in runs if isinstance(run, TextRun)}
    with gr.Blocks(analytics_enabled=False, title="netzoo") as page:
        gr.Markdown("# netzoo", elem_id="title")
        if images and texts:
            with gr.Tab("Images"):
                _image_tab(images, folder)
            with gr.Tab("Sentences"):
                _text_tab(texts, folder)
        elif images:
            _image_tab(images, folder)
        else:
            _text_tab(texts, folder)
    return page


def _image_tab(runs: dict[str, ImageRun], folder: Path) -> None:
    first = next(iter(runs.values()))
    examples = first.examples(folder)
    with gr.Row():
        run = gr.Dropdown(list(runs), value=first.title, label="Run", elem_id="run")
        layer = gr.Dropdown(first.layers, value=first.layer, label="Layer", elem_id="layer")
    caption = gr.HTML(html.escape(first.caption), elem_id="caption")
    with gr.Row(equal_height=False):
        with gr.Column():
            picture = gr.Image(
                label="Picture", sources=["upload", "clipboard"], height=400, elem_id="picture"
            )
            message = gr.HTML(elem_id="message", padding=False, visible=False)
            gallery = _gallery(examples) if examples else None
        with gr.Column():
            heat_map = gr.Image(
                label="Where the network looks",
                interactive=False,
                buttons=["download", "fullscreen"],
                height=400,
                elem_id="heat-map",
            )
            scores = gr.Label(label="Classes", show_heading=False, elem_id="scores")

    def explain(picture: dict | None, title: str, name: str) -> tuple[Any, Any, Any]:
        if not picture:
            return None, None, _message(None)
        try:
            data = read_file(Path(picture["path"]), "the picture")
            return *_known(runs, title).explain(data, name), _message(None)
        except UserError as error:
            return None, None, _message(error)

    def switch(picture: dict | None, title: str) -> tuple[Any, ...]:
        try:
            chosen = _known(runs, title)
        except UserError as error:
            return None, None, _message(error), gr.skip(), gr.skip()
        layers = gr.Dropdown(chosen.layers, value=chosen.layer)
        results = explain(picture, title, chosen.layer)
        return *results, layers, html.escape(chosen.caption)

    # Without Gradio's preprocessing, which would decode the picture by itself.
    raw = {"preprocess": False, "api_visibility": "private", "show_progress": "minimal"}
    shown = [scores, heat_map, message]
    picture.change(explain, [picture, run, layer], shown, **raw)
    layer.input(explain, [picture, run, layer], shown, **raw)
    run.input(switch, [picture, run], [*shown, layer, caption], **raw)
    if gallery:
        paths = [str(path) for path, _ in examples]

        def pick(event: gr.SelectData) -> str:
            return paths[event.index]

        gallery.select(pick, None, picture, api_visibility="private")


def _gallery(examples: Sequence[tuple[Path, str]]) -> Any:
    gr.HTML("Or choose an image of the test split:", padding=False)
    return gr.Gallery(
        [(str(path), name) for path, name in examples],
        show_label=False,
        columns=5,
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )


def _text_tab(runs: dict[str, TextRun], folder: Path) -> None:
    first = next(iter(runs.values()))
    with gr.Row(equal_height=False):
        with gr.Column():
            sentence = gr.Textbox(label="Sentence", lines=3, max_length=2000, elem_id="sentence")
            button = gr.Button("Translate", variant="primary", elem_id="translate")
            run = gr.Dropdown(list(runs), value=first.title, label="Run", elem_id="text-run")
            message = gr.HTML(elem_id="text-message", padding=False, visible=False)
        with gr.Column():
            translation = gr.Textbox(label="Translation", lines=3, elem_id="translated")
            attention = gr.Image(
                show_label=False,
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="attention",
            )

    def translate(text: str, title: str) -> tuple[Any, Any, Any]:
        try:
            found = _known(runs, title).translate(text, folder)
        except UserError as error:
            return "", None, _message(error)
        return found.text, found.figure and str(found.figure), _message(None)

    raw = {"api_visibility": "private"}
    for event in (button.click, sentence.submit, run.input):
        event(translate, [sentence, run], [translation, attention, message], **raw)


def _known(runs: dict[str, Any], title: str) -> Any:
    """Return a run; the title comes from the browser."""
    if title not in runs:
        raise unknown_name("run", str(title), runs)
    return runs[title]


def _message(error: UserError | None) -> Any:
    text = f'<p class="error">{html.escape(str(error))}</p>' if error else ""
    return gr.HTML(text, visible=error is not None)


def open_page(page: Any, host: str, port: int, folder: Path) -> None:
    """Open the page at an address, in threads of its own; `folder` has the files it shows."""
    page.queue(max_size=32)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=[],
        run_history=False,
        max_file_size=MAX_UPLOAD,
        allowed_paths=[str(folder)],
        theme=theme(),
        css=STYLE,
    )
