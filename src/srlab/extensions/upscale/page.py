"""The page of ``srlab app``, made with Gradio (the extra ``app``)."""

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from srlab.checkpoints.shipped import shipped_weights
from srlab.extensions.optional_packages import import_optional
from srlab.extensions.upscale.choosing import Upscaler, choose, default_target
from srlab.extensions.upscale.jobs import run_job
from srlab.extensions.upscale.planning import Job
from srlab.extensions.upscale.stamps import Recipe
from srlab.extensions.upscale.writing import DEFAULT_QUALITY, SUFFIXES, Format
from srlab.tasks.restoration import Restoration

_BICUBIC = "bicubic"
_TILES = ("auto", "0", "128", "256", "512")


def _gradio() -> Any:
    return import_optional("gradio", purpose="srlab app", extra="app")


def enlarge_upload(
    photo: Path, folder: Path, upscaler: Upscaler, scale: float | None, options: Restoration
) -> tuple[Path, Path, str]:
    """Enlarge one file, by the network and, to compare, by bicubic interpolation.

    Args:
        photo: the file.
        folder: where results are written, by the photograph's name.
        upscaler: the network.
        scale: output over input side; None: the network's own.
        options: tiles and self-ensemble.

    Returns:
        The file by bicubic interpolation (PNG), the file by the network (JPEG and WebP stay so, all else
        becomes PNG), and a sentence.

    Raises:
        ValueError: what the file's or the network's fault is.
    """
    target = default_target(upscaler.network, scale, None)
    kind: Format = SUFFIXES.get(photo.suffix.lower(), "png")
    kind = "png" if kind == "tif" else kind  # browsers do not show TIFF
    before = Job(photo, folder / f"{photo.stem}_{target}_bicubic.png", "png")
    after = Job(photo, folder / f"{photo.stem}_{target}.{kind}", kind)
    plain = choose(_BICUBIC, device="cpu")
    for job, chosen in ((before, plain), (after, upscaler)):
        outcome = run_job(job, Recipe(chosen, target, options, DEFAULT_QUALITY), overwrite=True)
        if outcome.state != "written":
            raise ValueError(outcome.reason)
    rate = f"{upscaler.label}, {target}: {outcome.megapixels:.2f} megapixels in {outcome.seconds:.1f} s"
    return before.destination, after.destination, ". ".join([rate, *outcome.notes])


def build_page(models: Sequence[str], *, device: str = "auto") -> Any:
    """Gradio's ``Blocks``, to be served by :func:`serve`.

    Args:
        models: run folders and files of weights to offer beside what needs no file; they are loaded once
            now, so that faults appear at the start.
        device: cpu, cuda, cuda:1 or auto.

    Raises:
        ValueError: Gradio is not installed; no such network or device.
        FileNotFoundError: no such file.
    """
    gradio = _gradio()

    @lru_cache(maxsize=4)
    def load(model: str, scale: float | None) -> Upscaler:
        return choose(model, scale=scale, device=device)

    for model in models:
        load(model, None)
    with gradio.Blocks(title="srlab", analytics_enabled=False) as page:
        gradio.Markdown("# srlab: enlarge a photograph")
        with gradio.Row():
            photo = gradio.File(label="Photograph", type="filepath", file_types=["image", ".tif", ".tiff"])
            with gradio.Column():
                choices = [*models, *shipped_weights(), _BICUBIC]
                model = gradio.Dropdown(choices, value=choices[0], label="Network")
                scale = gradio.Number(0, label="Scale (0: the network's own)", minimum=0)
                tile = gradio.Dropdown(list(_TILES), value="auto", label="Tile (0: none)")
                ensemble = gradio.Checkbox(label="Ensemble of eight flips and turns (8 times the time)")
                button = gradio.Button("Enlarge", variant="primary")
        report = gradio.Markdown()
        slider = gradio.ImageSlider(label="Bicubic | network", type="filepath", interactive=False)
        result = gradio.File(label="Full quality", interactive=False)
        button.click(
            _handler(gradio, load),
            [photo, model, scale, tile, ensemble],
            [slider, result, report],
            api_name="enlarge",
            concurrency_limit=1,
        )
    return page


def _handler(gradio: Any, load: Callable[[str, float | None], Upscaler]) -> Callable[..., Any]:
    """What the button calls; errors become messages on the page."""

    def enlarge(
        photo: str | None, model: str, scale: float | None, tile: str, ensemble: bool
    ) -> tuple[tuple[str, str], str, str]:
        if photo is None:
            raise gradio.Error("choose a photograph first")
        side: int | Literal["auto"] = "auto" if tile == "auto" else int(tile)
        folder = Path(tempfile.mkdtemp(prefix="srlab_app_"))
        try:
            before, after, text = enlarge_upload(
                Path(photo),
                folder,
                load(model, scale or None),
                scale or None,
                Restoration(tile=side, ensemble=ensemble),
            )
        except (ValueError, OSError) as error:
            raise gradio.Error(str(error)) from error
        return (str(before), str(after)), str(after), text

    return enlarge


def serve(page: Any, *, host: str, port: int, block: bool = True) -> None:
    """Serve ``page``, without a public link, and without fonts from elsewhere.

    Args:
        page: of :func:`build_page`.
        host: address to listen at.
        port: to listen at.
        block: wait for Ctrl-C.

    Raises:
        OSError: the port is taken.
        KeyboardInterrupt: Ctrl-C.
    """
    gradio = _gradio()
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        theme=theme,
        ssr_mode=False,
    )
    if block:
        try:
            page.server.thread.join()
        finally:
            page.close(verbose=False)
