"""Labels of points: boxes read from the SVG, measured by Pillow, intersect neither labels nor markers."""

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import compare, pareto_figure, read_runs
from srlab.extensions.report.drawing import save_figure
from srlab.extensions.report.labels import place_labels

SVG = "{http://www.w3.org/2000/svg}"
FONT = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 750)
WIDE = "[4, 8, 16, 32, 64, 12]"  # 22 characters and the row


def crowd(count, *, step):
    """(cost, PSNR): ``count`` points on a spiral, by ``step`` of the range that two more points span."""
    ring = [(20 + step * k * math.cos(k), 30 + 0.1 * step * k * math.sin(k)) for k in range(count - 2)]
    return [(10, 29), *ring, (30, 31)]


CLUSTERS = {
    "pairs": [(10, 30.0), (10.1, 30.001), (20, 30.5), (20.1, 30.49), (30, 30.6), (30.1, 30.6), (15, 30.2)],
    "equal": [(10, 30.0)] * 5 + [(11, 31.0)],
    "twelve": crowd(12, step=0.1),
    "thirty": crowd(30, step=0.05),
}


def drawn(folder, points):
    """SVG of runs with these costs and scores, whose names have 2 to 26 characters."""
    for number, (cost, psnr) in enumerate(points):
        windows = WIDE if number % 3 else "[8]"
        write_run(
            folder / f"{number:02}", psnr=psnr, latency_ms=cost, n_share=number, window_sizes=windows,
            timing={"p10_ms": cost, "p90_ms": cost},
        )  # fmt: skip
    save_figure(pareto_figure(compare(read_runs(folder))), folder / "pareto.svg")
    return ElementTree.parse(folder / "pareto.svg").getroot()


def by_number(root, kind):
    found = {each.get("id"): each for each in root.iter(f"{SVG}g")}
    return {
        int(name.rpartition("-")[2]): each for name, each in found.items() if name and name.startswith(kind)
    }


def text_box(group):
    """(left, top, right, bottom) of a label, ``y`` downwards, from its anchor, alignment and baseline."""
    text = group.find(f"{SVG}text")
    style = text.get("style")
    size = float(re.search(r"font-size: ([\d.]+)px", style).group(1))
    anchor = re.search(r"text-anchor: (\w+)", style)
    x, y = float(text.get("x")), float(text.get("y"))
    left, top, right, bottom = (each * size / 750 for each in FONT.getbbox(text.text, anchor="ls"))
    shift = {"start": 0, "middle": 0.5, "end": 1}[anchor.group(1) if anchor else "start"] * (right - left)
    return x + left - shift, y + top, x + right - shift, y + bottom


def marker_box(root, group):
    """Of the outline that ``use`` repeats: the largest coordinate of its path around its centre."""
    use = next(group.iter(f"{SVG}use"))
    outline = use.get("{http://www.w3.org/1999/xlink}href").removeprefix("#")
    path = next(each for each in root.iter(f"{SVG}path") if each.get("id") == outline)
    half = max(abs(float(each)) for each in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", path.get("d")))
    x, y = float(use.get("x")), float(use.get("y"))
    return x - half, y - half, x + half, y + half


def intersect(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def distance(box, marker):
    x, y = (marker[0] + marker[2]) / 2, (marker[1] + marker[3]) / 2
    return math.hypot(max(box[0] - x, 0, x - box[2]), max(box[1] - y, 0, y - box[3]))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_labels_of_close_points_intersect_neither_each_other_nor_markers(tmp_path, cluster):
    root = drawn(tmp_path, CLUSTERS[cluster])
    labels = {number: text_box(each) for number, each in by_number(root, "label-").items()}
    markers = {number: marker_box(root, each) for number, each in by_number(root, "point-").items()}
    leaders = by_number(root, "leader-")
    assert labels.keys() == markers.keys() == set(range(1, len(CLUSTERS[cluster]) + 1))
    assert leaders.keys() < labels.keys()
    width, height = map(float, root.get("viewBox").split()[2:])
    for number, box in labels.items():
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= width
        assert box[3] <= height
        assert not any(intersect(box, marker) for marker in markers.values()), number
        adjacent = distance(box, markers[number]) < 9  # half a marker, 3 points to the text, its side bearing
        assert adjacent != (number in leaders), number
    in_words = any(each.text.endswith(WIDE.replace(" ", "")) for each in root.iter(f"{SVG}text"))
    rows_only = "labels are rows of the table" in {each.text for each in root.iter(f"{SVG}text")}
    assert (in_words, rows_only) == (cluster != "thirty", cluster == "thirty")
    assert not [pair for pair in itertools.combinations(labels, 2) if intersect(*map(labels.get, pair))]


sizes = st.tuples(st.floats(4, 120), st.just(9.0))
positions = st.tuples(st.floats(0, 300), st.floats(0, 200))


@settings(max_examples=12)
@given(st.lists(st.tuples(positions, sizes), min_size=1, max_size=8))
def test_placed_boxes_keep_their_size_and_are_apart(drawn_points):
    anchors, extents = zip(*drawn_points, strict=True)
    places = place_labels(anchors, extents, radius=4, bounds=(-20, -20, 320, 220))
    markers = [(x - 4, y - 4, x + 4, y + 4) for x, y in anchors]
    boxes = [place.box for place in places if place]
    for place, extent in zip(places, extents, strict=True):
        if place:
            left, bottom, right, top = place.box
            assert (right - left, top - bottom) == pytest.approx(extent)
            assert min(left, bottom) >= -20
            assert right <= 320
            assert top <= 220
            assert not any(intersect(place.box, marker) for marker in markers)
    assert not any(intersect(*pair) for pair in itertools.combinations(boxes, 2))


def test_what_has_no_room_is_not_placed():
    """A label wider than the bounds, next to one that fits."""
    anchors, bounds = [(50.0, 50.0), (20.0, 20.0)], (0.0, 0.0, 100.0, 100.0)
    first, second = place_labels(anchors, [(101.0, 9.0), (20.0, 9.0)], radius=4, bounds=bounds)
    assert first is None
    assert second is not None
    assert second.leader is None
