"""``srlab app``: an upload through the server that the page talks to."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.extensions.report.browser import CHROMIUM, open_page
from tests.extensions.upscale.pictures import RGB

import srlab
from srlab.checkpoints import save_official
from srlab.extensions.console.main import main
from srlab.extensions.upscale.page import build_page, serve

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


@pytest.fixture(scope="module")
def client(weights):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = build_page([str(weights)], device="cpu")
    serve(page, host="127.0.0.1", port=port, block=False)
    yield gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
    page.close(verbose=False)


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


@needs_gradio
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_a_photograph_is_uploaded_enlarged_and_compared(client, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(RGB).save(photo)
    with open_page(tmp_path / "profile") as page:
        page.go(client.src)
        page.wait_for(f"!!document.querySelector('input[type=file]') && !!{BUTTON}")
        page.choose_file("input[type=file]", photo)
        page.wait_for(
            "document.body.innerText.includes('photo.png') || !!document.querySelector('a[download]')"
        )
        page.evaluate(f"{BUTTON}.click()")
        page.wait_for("document.body.innerText.includes('EDSR x2')")
        shown = "[...document.querySelectorAll('img')].filter(each => each.naturalWidth === 40)"
        page.wait_for(f"{shown}.length >= 2")
        assert page.evaluate(f"{shown}.every(each => each.naturalHeight === 24)")
        page.screenshot(tmp_path / "page.png")


@needs_gradio
@pytest.mark.slow
def test_nothing_is_reported_or_shared(client):
    assert client.config["analytics_enabled"] is False
    assert not client.config.get("is_colab")
    assert client.src.startswith("http://127.0.0.1:")


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert 'pip install "srlab[app]"' in capsys.readouterr().err
