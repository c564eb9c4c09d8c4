"""``srlab app``: an upload through the server that the page talks to."""

import os
import shutil
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from tests.extensions.report.browser import CHROMIUM, open_page
from tests.extensions.upscale.pictures import RGB

import srlab
from srlab.checkpoints import save_official
from srlab.extensions.console.main import main
from srlab.extensions.upscale.choosing import choose
from srlab.extensions.upscale.page import build_page, enlarge_upload, serve
from srlab.tasks.restoration import Restoration

try:
    import gradio_client
except ModuleNotFoundError:
    gradio_client = None
needs_gradio = pytest.mark.skipif(gradio_client is None, reason="needs Gradio, the extra app")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    save_official(srlab.create_model("edsr_baseline", scale=2, depth=1, dim=4), path)
    return path


@contextmanager
def served(model):
    """The address of a page that offers ``model`` first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = build_page([str(model)], device="cpu")
    serve(page, host="127.0.0.1", port=port, block=False)
    yield f"http://127.0.0.1:{port}"
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(weights):
    with served(weights) as address:
        yield gradio_client.Client(address, verbose=False)


@needs_gradio
@pytest.mark.slow
def test_the_download_is_what_srlab_upscale_writes(client, weights, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(RGB).save(photo)
    upload = gradio_client.handle_file(str(photo))
    slider, result, text = client.predict(upload, str(weights), None, "auto", False, api_name="/enlarge")
    assert main(["upscale", str(photo), "--model", str(weights), "--device", "cpu"]) == 0
    expected = np.asarray(Image.open(tmp_path / "photo_x2.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(result)), expected)
    assert [Image.open(each).size for each in slider] == [Image.open(result).size] * 2
    assert Path(result).name == "photo_x2.png"
    assert "EDSR x2" in text


@needs_gradio
@pytest.mark.slow
def test_faults_are_messages(client, weights, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    upload = gradio_client.handle_file(str(tmp_path / "text.png"))
    with pytest.raises(gradio_client.exceptions.AppError, match="not an image of a supported format"):
        client.predict(upload, str(weights), None, "auto", False, api_name="/enlarge")
    with pytest.raises(gradio_client.exceptions.AppError, match="choose a photograph first"):
        client.predict(None, str(weights), None, "auto", False, api_name="/enlarge")


BUTTON = "[...document.querySelectorAll('button')].find(each => each.innerText.trim() === 'Enlarge')"


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def enlarge_in_browser(page, address, photo, label, size):
    """Upload ``photo``, press the button, and wait for ``label`` and two pictures of ``size``."""
    page.go(address)
    page.wait_for(f"!!document.querySelector('input[type=file]') && !!{BUTTON}")
    page.choose_file("input[type=file]", photo)
    page.wait_for(
        f"document.body.innerText.includes('{photo.name}') || !!document.querySelector('a[download]')"
    )
    page.evaluate(f"{BUTTON}.click()")
    page.wait_for(f"document.body.innerText.includes('{label}')")
    shown = f"[...document.querySelectorAll('img')].filter(each => each.naturalWidth === {size[0]})"
    page.wait_for(f"{shown}.length >= 2")
    assert page.evaluate(f"{shown}.every(each => each.naturalHeight === {size[1]})")


@needs_gradio
@pytest.mark.slow
@needs_chromium
def test_in_a_browser_a_photograph_is_uploaded_enlarged_and_compared(client, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(RGB).save(photo)
    with open_page(tmp_path / "profile") as page:
        enlarge_in_browser(page, client.src, photo, "EDSR x2", (40, 24))


@pytest.fixture
def pictured(tmp_path, monkeypatch):
    """A photograph and trained ELAN-light x4 in the working folder; where docs/app.md's pictures go."""
    folder, weights = (os.environ.get(name) for name in ("SRLAB_PICTURES", "SRLAB_WEIGHTS"))
    if not folder or not weights:
        pytest.skip("writes the pictures of docs/app.md: set SRLAB_PICTURES to a folder, and SRLAB_WEIGHTS")
    target = Path(folder).absolute()
    target.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.chelsea()).resize((113, 75), Image.Resampling.BICUBIC).save("chelsea.png")
    shutil.copy(Path(weights, "ELAN-light_LSR_x4_unofficial.pth"), "elan_light_x4.pth")
    return Path("chelsea.png").absolute(), Path("elan_light_x4.pth"), target


@pytest.mark.slow
def test_before_and_after_are_pictured(pictured, tmp_path):
    """Oracle: the original, to which the network must be closer than bicubic interpolation."""
    photo, model, folder = pictured
    upscaler = choose(str(model), device="cpu")
    before, after, _ = enlarge_upload(photo, tmp_path / "out", upscaler, None, Restoration(tile="auto"))
    both = [Image.open(path) for path in (before, after)]
    sheet = Image.new("RGB", (648, 260), "white")
    for place, image in zip((0, 328), both, strict=True):
        sheet.paste(image.crop((66, 20, 386, 280)), (place, 0))
    sheet.save(folder / "before_after.webp", quality=90)
    original = Image.fromarray(skimage.data.chelsea()).resize(both[0].size, Image.Resampling.BICUBIC)
    errors = [np.square(np.asarray(each) - np.asarray(original, float)).mean() for each in both]
    assert errors[1] < errors[0]


@needs_gradio
@pytest.mark.slow
@needs_chromium
def test_the_page_is_pictured(pictured, tmp_path):
    photo, model, folder = pictured
    with served(model) as address, open_page(tmp_path / "profile", width=1000) as page:
        enlarge_in_browser(page, address, photo, "ELAN x4", (452, 300))
        page.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == 1000
        image.convert("RGB").save(folder / "app.webp", quality=90)


@needs_gradio
@pytest.mark.slow
def test_nothing_is_reported_or_shared(client):
    assert client.config["analytics_enabled"] is False
    assert not client.config.get("is_colab")
    assert client.src.startswith("http://127.0.0.1:")


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert 'pip install -e ".[app]"' in capsys.readouterr().err
