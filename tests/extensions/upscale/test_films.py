"""``srlab upscale film.mp4``: times, sound, colours, depth, rotation; faults."""

import signal
import struct
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from srlab.extensions.console.main import main

try:
    import av
except ModuleNotFoundError:
    av = None
needs_av = pytest.mark.skipif(av is None, reason="needs PyAV, the extra video")

IRREGULAR = (0, 1, 2, 5, 6, 9, 15, 16)  # in units of 1/24 s


def upscale(*words):
    return main(["upscale", *map(str, words), "--model", "bicubic", "--device", "cpu"])


def film(
    path, times=IRREGULAR, pixel_format="yuv420p", sound=True, size=(32, 24), codec="libx264", level=None
):
    """A film with a moving ramp, or of one level of luma and chroma, with AAC sound."""
    with av.open(str(path), "w") as written:
        video = written.add_stream(codec, rate=24, options={"crf": "1", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, pixel_format
        context = video.codec_context
        context.time_base = Fraction(1, 24)
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        context.sample_aspect_ratio = Fraction(4, 3)
        audio = written.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, time in enumerate(times):
            frame = av.VideoFrame(*size, pixel_format)
            depth = 2 ** (frame.format.components[0].bits - 8)
            for index, plane in enumerate(frame.planes):
                lines = np.zeros((plane.height, plane.line_size // (1 if depth == 1 else 2)), int)
                ramp = 60 + (np.arange(lines.shape[1]) * 2 + number) % 90 if index == 0 else 128
                lines += ramp if level is None else level
                plane.update((lines * depth).astype("u1" if depth == 1 else "<u2").tobytes())
            frame.pts, frame.time_base = time, Fraction(1, 24)
            written.mux(video.encode(frame))
        written.mux(video.encode(None))
        if audio is not None:
            noise = np.random.default_rng(0).normal(0, 0.1, (1, 1024)).astype(np.float32)
            for number in range(max(1, 8000 * (times[-1] + 1) // 24 // 1024)):
                sound_frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
                sound_frame.sample_rate, sound_frame.pts = 8000, 1024 * number
                written.mux(audio.encode(sound_frame))
            written.mux(audio.encode(None))
    return path


def frames(path):
    with av.open(str(path)) as opened:
        return list(opened.decode(video=0))


def times(path):
    with av.open(str(path)) as opened:
        return [frame.pts * frame.time_base for frame in opened.decode(video=0)]


def sound(path):
    with av.open(str(path)) as opened:
        return [(float(p.pts * p.time_base), bytes(p)) for p in opened.demux(audio=0) if p.dts is not None]


@needs_av
def test_times_and_sound_are_those_of_the_original(tmp_path):
    source = film(tmp_path / "a.mp4")
    assert upscale(source, "-s", 2) == 0
    result = tmp_path / "a_x2.mp4"
    assert times(result) == times(source) == [Fraction(each, 24) for each in IRREGULAR]
    assert sound(result) == sound(source)
    assert len(sound(source)) > 3


@needs_av
def test_subtitles_are_copied(tmp_path):
    texts, source = tmp_path / "a.srt", tmp_path / "b.mkv"
    texts.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n\n2\n00:00:00,400 --> 00:00:00,600\nBye\n")
    with (
        av.open(str(film(tmp_path / "a.mp4", sound=False))) as pictures,
        av.open(str(texts)) as lines,
        av.open(str(source), "w") as written,
    ):
        inputs = [opened.streams[0] for opened in (pictures, lines)]
        copies = [written.add_stream_from_template(stream) for stream in inputs]
        for opened, copy in zip((pictures, lines), copies, strict=True):
            for packet in opened.demux():
                if packet.dts is not None:
                    packet.stream = copy
                    written.mux(packet)

    def subtitles(path):
        with av.open(str(path)) as opened:
            packets = opened.demux(subtitles=0)
            return [(p.pts * p.time_base, p.duration, bytes(p)) for p in packets if p.dts is not None]

    assert upscale(source, "-s", 2) == 0
    assert subtitles(tmp_path / "b_x2.mkv") == subtitles(source)
    assert [text for _, _, text in subtitles(source)] == [b"Hello", b"Bye"]
    assert upscale(source, "-s", 2, "-o", tmp_path / "c.avi") == 2
    assert not (tmp_path / "c.avi").exists()


@needs_av
def test_size_shape_of_pixels_and_colours_are_marked(tmp_path):
    source = film(tmp_path / "a.mp4")
    assert upscale(source, "-s", 1.5, "-o", tmp_path / "b.mkv") == 0
    with av.open(str(tmp_path / "b.mkv")) as opened:
        context = opened.streams.video[0].codec_context
        assert (context.width, context.height) == (48, 36)
        assert context.sample_aspect_ratio == Fraction(4, 3)
        marks = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert [int(each) for each in marks] == [1, 1, 1, 1]


@needs_av
def test_odd_sides_become_even_and_this_is_said(tmp_path, capsys):
    assert upscale(film(tmp_path / "a.mp4"), "--size", "21x90") == 0
    assert "21x16 became 22x16: subsampled chroma needs even sides" in capsys.readouterr().out


@needs_av
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_levels_and_depth_are_kept(pixel_format, tmp_path):
    """A film of one colour stays this colour: the same matrix and range are used in both directions."""
    source = film(tmp_path / "a.mp4", pixel_format=pixel_format, sound=False, level=120)
    assert upscale(source, "-s", 2, "--crf", 1) == 0
    before, after = frames(source)[3], frames(tmp_path / "a_x2.mp4")[3]
    assert after.format.name == pixel_format
    unit = 2 ** (after.format.components[0].bits - 8)
    for old, new in zip(before.planes, after.planes, strict=True):
        dtype = "u1" if unit == 1 else "<u2"
        assert abs(int(np.frombuffer(old, dtype)[0]) - int(np.frombuffer(new, dtype)[0])) <= 1


@needs_av
def test_ten_bits_become_eight_where_the_codec_has_no_more_and_this_is_said(tmp_path, capsys):
    source = film(tmp_path / "a.mp4", pixel_format="yuv420p10le", sound=False)
    assert upscale(source, "-s", 2, "--codec", "libvpx-vp9", "-o", tmp_path / "b.webm") == 0
    assert "10 bits became 8, the most that libvpx-vp9 stores here" in capsys.readouterr().out


@needs_av
def test_a_film_that_was_held_upright_is_upright(tmp_path):
    """The matrix in the header says: turn clockwise. The left column, dark, is then the upper row."""
    source = film(tmp_path / "a.mp4", sound=False)
    data = source.read_bytes()
    one = 1 << 16
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    place = data.index(plain, data.index(b"tkhd"))
    source.write_bytes(data[:place] + turned + data[place + 36 :])
    assert upscale(source, "-s", 2) == 0
    result = frames(tmp_path / "a_x2.mp4")[0]
    assert (result.width, result.height, result.rotation) == (48, 64, 0)
    rows = result.to_ndarray()[:64].mean(axis=1)
    np.testing.assert_allclose(rows[[0, 20, 40, 60]], [60, 80, 100, 120], atol=2)
    with av.open(str(tmp_path / "a_x2.mp4")) as opened:
        assert opened.streams.video[0].sample_aspect_ratio == Fraction(3, 4)


@needs_av
def test_faults_are_named_and_leave_no_file(tmp_path, capsys):
    source = film(tmp_path / "a.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film" * 100)
    silent = tmp_path / "sound.mkv"
    with av.open(str(source)) as opened, av.open(str(silent), "w") as written:
        copy = written.add_stream_from_template(opened.streams.audio[0])
        for packet in opened.demux(audio=0):
            if packet.dts is not None:
                packet.stream = copy
                written.mux(packet)
    before = sorted(tmp_path.iterdir())
    for words, reason in [
        ([broken], "not a film of a supported format, or encrypted, or damaged"),
        ([silent], "it has no video stream"),
        ([source, "--codec", "nothing"], "FFmpeg has no such encoder here"),
        ([source, "-o", tmp_path / "b.webm"], "'webm' format does not support 'libx264' codec"),
        ([source, "-o", tmp_path / "b.gif"], "a film's suffix is one of"),
        ([source, "--quality", 90], "--quality is for pictures"),
        ([source, tmp_path], "give films and pictures in two commands"),
    ]:
        assert upscale(*words) == 2, words
        assert reason in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@needs_av
def test_ctrl_c_leaves_no_file_and_results_are_not_replaced_unasked(tmp_path, monkeypatch, capsys):
    source = film(tmp_path / "a.mp4")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("srlab.extensions.upscale.films.enlarge", interrupted)
        assert upscale(source, "-s", 2) == 130
    assert list(tmp_path.iterdir()) == [source]
    assert upscale(source, "-s", 2) == 0
    assert upscale(source, "-s", 2) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert upscale(source, "-s", 2, "--overwrite") == 0


# Programs started in the background of a script ignore SIGINT.
_INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from srlab.extensions.console.main import main
raise SystemExit(main(["upscale", *sys.argv[1:], "--model", "bicubic", "--device", "cpu"]))
"""


@needs_av
@pytest.mark.slow
def test_a_signal_ends_the_command_and_an_older_result_stays(tmp_path):
    """1000 frames take at least five seconds; the signal arrives while they are written."""
    source = film(tmp_path / "a.mp4", times=range(1000), size=(192, 128), sound=False)
    result, partial = tmp_path / "a_x2.mp4", tmp_path / ".a_x2.mp4.partial"
    result.write_bytes(b"older")
    words = [sys.executable, "-c", _INTERRUPTED, str(source), "--scale", "2", "--overwrite"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (partial.exists() and partial.stat().st_size) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("stopped\n")
    assert result.read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a_x2.mp4"]


_MEASURE = """
import resource, sys
from srlab.extensions.console.main import main
words = sys.argv[1:]
assert main(["upscale", *words, "--scale", "2", "--model", "bicubic", "--device", "cpu"]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@needs_av
@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Were the frames kept, as float32 images, 160 more of 192x128 and their results would take 235 MB."""
    peaks = []
    for count in (40, 200):
        source = film(tmp_path / f"{count}.mp4", times=range(count), size=(192, 128))
        words = [sys.executable, "-c", _MEASURE, str(source)]
        printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        peaks.append(int(printed.split()[-1]) / 1024)
        result = tmp_path / f"{count}_x2.mp4"
        assert times(result) == times(source)
        assert len(times(result)) == count
        assert sound(result) == sound(source)
    assert peaks[1] - peaks[0] < 60, f"megabytes at most: {peaks}"


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").touch()
    assert upscale(tmp_path / "a.mp4") == 2
    assert 'pip install -e ".[video]"' in capsys.readouterr().err
