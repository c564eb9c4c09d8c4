"""The page in a real browser, from disk: no network is asked, nothing fails, everything can be used."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extensions.report.browser import CHROMIUM, open_page
from srlab.extensions.report import compare, read_runs, write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine: the page was not tried in a browser"
    ),
]
ZOOM = "getComputedStyle(document.querySelectorAll('.patch')[{}]).getPropertyValue('--zoom')"


@pytest.fixture(scope="module")
def address(sweep, tmp_path_factory):
    page = write_report(compare(read_runs(sweep)), tmp_path_factory.mktemp("page"), title="a night's sweep")
    return page.as_uri()


@pytest.fixture(scope="module")
def shown(address, tmp_path_factory):
    with open_page(tmp_path_factory.mktemp("profile")) as page:
        page.prefer("light")
        page.go(address)
        yield page


def column(page, place):
    rows = f"[...document.querySelectorAll('#ablation tbody tr')].map(row => row.cells[{place}].dataset.sort)"
    return page.evaluate(rows)


def centre(page, selector):
    page.evaluate(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    box = page.evaluate(
        f"(() => {{ const box = document.querySelector({selector!r}).getBoundingClientRect(); "
        "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
    )
    return box[0], box[1]


def click(page, selector):
    x, y = centre(page, selector)
    for kind in ("mousePressed", "mouseReleased"):
        page.mouse(kind, x, y, button="left", clickCount=1)


def together(transforms):
    """Equal but for fractions of a pixel, as frames differ in width."""
    return np.ptp(np.array(transforms), axis=0).max() < 0.1


def test_it_opens_without_network_and_without_errors(shown, address):
    requests = [each["params"]["request"]["url"] for each in shown.events if "request" in each["params"]]
    assert requests[0] == address
    assert all(url == address or url.startswith("data:") for url in requests)
    assert [each for each in shown.events if each["method"] != "Network.requestWillBeSent"] == []
    assert shown.evaluate("document.querySelectorAll('tr[data-config]').length") == 9
    loaded = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert shown.evaluate(loaded)


def test_light_dark_and_narrow_look_as_they_should(shown, tmp_path):
    """Pictures go to SRLAB_SCREENSHOTS, to be looked at, where that is set."""
    folder = Path(os.environ.get("SRLAB_SCREENSHOTS", tmp_path))
    corners = {}
    for scheme in ("light", "dark"):
        shown.prefer(scheme)
        shown.screenshot(folder / f"report-{scheme}.png")
        corners[scheme] = np.array(Image.open(folder / f"report-{scheme}.png").convert("L"))[5, 5]
    shown.prefer("light")
    assert corners["light"] > 240
    assert corners["dark"] < 40
    shown.resize(390, 844)
    shown.screenshot(folder / "report-narrow.png")
    width = shown.evaluate("document.documentElement.scrollWidth")
    shown.resize(1280, 900)
    assert width == 390, "the page itself never scrolls sideways"


def test_colours_can_be_chosen_against_the_system(shown):
    background = "getComputedStyle(document.documentElement).backgroundColor"
    before = shown.evaluate(background)
    click(shown, "#theme")
    after = shown.evaluate(background)
    assert (before, after) == ("rgb(255, 255, 255)", "rgb(20, 23, 26)")
    click(shown, "#theme")
    assert shown.evaluate(background) == before


def test_the_table_sorts_by_click_and_by_key(shown):
    heading = "#ablation thead th:nth-child(5)"
    click(shown, f"{heading} button")
    values = column(shown, 4)
    numbers = [float(value) for value in values if value]
    assert numbers == sorted(numbers)
    assert values[-1] == "", "what has no score stays below"
    shown.press("Enter", text="\r")
    numbers = [float(value) for value in column(shown, 4) if value]
    assert numbers == sorted(numbers, reverse=True)
    assert column(shown, 4)[-1] == ""
    assert shown.evaluate(f"document.querySelector({heading!r}).getAttribute('aria-sort')") == "descending"
    click(shown, "#ablation thead th:nth-child(1) button")
    assert column(shown, 0) == [str(number) for number in range(1, 10)]


def test_a_marked_row_stands_out_in_every_plot(shown):
    click(shown, "tr[data-config='7'] .pick")
    assert (
        shown.evaluate("document.querySelector(\"tr[data-config='7'] .pick\").getAttribute('aria-pressed')")
        == "true"
    )
    opacity = "getComputedStyle(document.getElementById('{}')).opacity"
    shown.wait_for(opacity.format("pareto-latency-point-1") + " < 0.3")
    assert shown.evaluate(opacity.format("pareto-latency-point-7")) == "1"
    assert shown.evaluate(opacity.format("curves-curve-7-part0")) == "1"
    shown.wait_for(opacity.format("curves-curve-1-part1") + " < 0.3")
    click(shown, "tr[data-config='7'] .pick")
    shown.wait_for(opacity.format("pareto-latency-point-1") + " == 1")


def test_a_point_says_what_it_is_under_the_pointer_and_by_keyboard(shown):
    x, y = centre(shown, "#pareto-latency-point-7")
    shown.mouse("mouseMoved", x, y)
    tip = "document.getElementById('tooltip')"
    assert "7: window_sizes=[16,16,16], n_share=0" in shown.evaluate(f"{tip}.textContent")
    assert not shown.evaluate(f"{tip}.hidden")
    shown.press("Escape")
    assert shown.evaluate(f"{tip}.hidden")
    shown.evaluate("document.getElementById('pareto-latency-point-4').focus()")
    assert "4: window_sizes=[8,8,8]" in shown.evaluate(f"{tip}.textContent")
    shown.press("Enter", text="\r")
    assert shown.evaluate("document.querySelector(\"tr[data-config='4']\").classList.contains('picked')")
    shown.press("Enter", text="\r")
    shown.evaluate("document.activeElement.blur()")


def test_pictures_of_a_row_zoom_and_move_together(shown):
    transforms = (
        "[...document.querySelectorAll('.patch')[0].querySelectorAll('img')]"
        ".map(image => new DOMMatrix(getComputedStyle(image).transform))"
        ".map(matrix => [matrix.a, matrix.e, matrix.f])"
    )
    other = shown.evaluate(ZOOM.format(1))
    start = shown.evaluate(transforms)
    x, y = centre(shown, ".patch .view")
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    assert shown.evaluate(transforms) == start, "a wheel over a picture that was not clicked scrolls the page"
    click(shown, ".patch .view")
    x, y = centre(shown, ".patch .view")
    shown.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    shown.wait_for(f"{ZOOM.format(0)} > 1.5")
    zoomed = shown.evaluate(transforms)
    assert len(zoomed) > 2
    assert together(zoomed)
    shown.mouse("mousePressed", x, y, button="left", clickCount=1)
    shown.mouse("mouseMoved", x + 30, y, button="left", buttons=1)
    shown.mouse("mouseReleased", x + 30, y, button="left", clickCount=1)
    moved = shown.evaluate(transforms)
    assert together(moved)
    assert moved[0][1] == pytest.approx(zoomed[0][1] + 30, abs=0.1), "it follows the pointer"
    for key in ("-", "ArrowLeft", "+", "ArrowUp"):
        before = shown.evaluate(transforms)
        shown.press(key)
        assert shown.evaluate(transforms) != before, key
    shown.press("0")
    assert shown.evaluate(transforms) == start
    assert shown.evaluate(ZOOM.format(1)) == other


def test_two_fingers_zoom(shown):
    shown.resize(390, 844)
    shown.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    x, y = centre(shown, ".patch .view")
    before = float(shown.evaluate(ZOOM.format(0)))
    shown.touch("touchStart", [(x - 10, y), (x + 10, y)])
    for distance in (15, 20, 30, 40):
        shown.touch("touchMove", [(x - distance, y), (x + distance, y)])
    shown.touch("touchEnd", [])
    zoom = float(shown.evaluate(ZOOM.format(0)))
    shown.call("Emulation.setTouchEmulationEnabled", enabled=False)
    shown.resize(1280, 900)
    assert zoom / before == pytest.approx(4.0, rel=0.05), "the fingers are four times as far apart"


def test_without_script_the_content_is_there(address, tmp_path):
    with open_page(tmp_path / "profile") as page:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.navigate", url=address)
        page.wait_for("document.readyState === 'complete' && document.querySelectorAll('tr').length > 9")
        assert page.evaluate("[...document.querySelectorAll('.needs-script')].every(each => each.hidden)")
        transform = page.evaluate("getComputedStyle(document.querySelector('.view img')).transform")
        assert transform == "matrix(1, 0, 0, 1, 0, 0)", "patches are shown whole"
        assert page.evaluate("document.querySelector('.run summary').offsetHeight") > 0
