"""benchmarks/exported_files.py completes a record and says of each missing file why it is missing."""

import json
import sys

from benchmarks import exported_files


def test_only_files_that_the_record_lacks_are_written(monkeypatch, tmp_path):
    asked = []

    def row(name, weights, form, dtype, *, minutes):
        asked.append((name, weights, form, dtype))
        return {"network": name, "format": form, "dtype": dtype, "fault": "none was written"}

    path = tmp_path / "record.json"
    earlier = {"network": "rcan", "format": "pt2", "dtype": "float32", "seconds": 1.5}
    path.write_text(json.dumps({"note": "kept", "files": [earlier]}))
    words = ["--networks", "rcan", "--formats", "onnx", "pt2", "--weights", "rcan=a.pth"]
    monkeypatch.setattr(sys, "argv", ["exported_files.py", str(path), *words])
    monkeypatch.setattr(exported_files, "exported", row)
    exported_files.main()
    assert asked == [
        ("rcan", "a.pth", "onnx", "float32"),
        ("rcan", "a.pth", "onnx", "float16"),
        ("rcan", "a.pth", "pt2", "float16"),
    ]
    record = json.loads(path.read_text())
    assert record["note"] == "kept"
    assert record["files"][0] == earlier
    assert len(record["files"]) == 4
    exported_files.main()
    assert len(asked) == 3


def test_a_file_that_takes_too_long_is_recorded_with_that_reason():
    row = exported_files.exported("edsr_baseline", None, "pt2", "float32", minutes=0.001)
    assert row["fault"] == "not done in 0.001 minutes"
    assert (row["network"], row["weights"]) == ("edsr_baseline", exported_files.FRESH)
