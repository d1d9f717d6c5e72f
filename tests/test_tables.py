"""Tables of measurements: made from the committed JSON, each number where it belongs."""

import json

import pytest
from PIL import Image

from bench import forwards_table, masks_table
from bench.readme import RESULTS, between, table
from bench.studies import choices_table, photographs


def test_the_caption_names_every_run_and_no_op_comes_twice():
    def content(date, complete, *rows):
        meta = {"device_name": "CPU", "threads": 1, "torch": "2.13", "date": f"{date} 10:00 UTC", "complete": complete}
        timed = {
            "status": "timed",
            "target": 1.0,
            "ratio": 2.0,
            "ratio_low": 1.9,
            "ratio_high": 2.1,
            "met": True,
            "baseline": "x",
        }
        return {"meta": meta, "rows": [timed | {"op": op, "case": case} for op, case in rows]}

    def disturbed(content, op):
        content["rows"] = [row | ({"disturbed": True, "met": None} if row["op"] == op else {}) for row in content["rows"]]
        return content

    first = content("2026-01-02", True, ("rank", "a"), ("rank", "b"))
    second = content("2026-03-04", False, ("rank", "a"), ("engine", "c"))
    lines = table([first, second]).splitlines()
    assert "by `make bench` on CPU, 1 threads, torch 2.13, 2026-01-02; by `python -m bench --only engine` on" in lines[0]
    assert "2026-03-04: median" in lines[0]
    assert len(table([first, disturbed(second, "engine")]).splitlines()) == len(lines) - 1, "a disturbed row is not quoted"
    assert [line.split(" | ")[:2] for line in lines[4:]] == [["| rank", "a"], ["| rank", "b"], ["| engine", "c"]]


def test_the_tables_of_choices_are_the_committed_json():
    text = choices_table.README.read_text()
    made = choices_table.tables(choices_table.committed())
    assert between(text, made, choices_table.MARKS) == text
    rows = [line.split(" | ")[0].strip("| ") for line in made.splitlines() if line.startswith("| ")]
    assert {"blur", "learned", "occlusion", "rise", "mif", "lif", "fidelity", "fidelity less mif"} <= set(rows)


def test_the_table_of_photographs_is_that_of_its_numbers():
    content = json.loads((RESULTS / "photographs.json").read_text())
    page = photographs.PAGE.read_text()
    assert between(page, photographs.table(content), photographs.MARKS) == page
    pairs = [(row["method"], row["infill"]) for row in content["rows"]]
    assert sorted(pairs) == sorted((method, infill) for method in photographs.NAMES for infill in photographs.INFILLS)
    assert content["segments"]["now"]["fewest"] >= 16 and content["segments"]["now"]["at_most_15"] == 0
    assert sum(content["pictures"].values()) > 100


def test_the_table_of_photographs_shows_each_number_where_it_belongs():
    """Every number is another one; an interval that is missing is left out."""
    keys = iter(range(1, 100))
    segments = {when: {key: next(keys) for key in photographs.COLUMNS} for when in ("before", "now")}
    few = {"mean": 0.25, "low": None, "high": None}
    row = {"method": "lime", "infill": "blur", "better": None, "before": few, "now": {"mean": 0.5, "low": 0.125, "high": 0.75}}
    content = {"command": "c", "pictures": {"one": 3, "two": 4}, "segments": segments, "samples": 80, "steps": 5}
    content |= {"chosen": {"pictures": 6, "before": {"at_most_3": 2}}, "rows": [row | {"gain": few}]}
    lines = photographs.table(content).splitlines()
    assert lines[0].startswith("Segments per picture, of 7 pictures (3 of one, 4 of two), by `c`")
    assert lines[4].endswith("| 1 | 2 | 3 | 4 | 5 | 6 |") and lines[5].endswith("| 7 | 8 | 9 | 10 | 11 | 12 |")
    assert (
        "of the 6 of these" in lines[7]
        and "2 of them had" in lines[7]
        and "80 samples" in lines[7]
        and "10 of Smooth" in lines[7]
    )
    assert lines[-1] == "| LIME | blurred | 0.250 | 0.500 [0.125, 0.750] | +0.250 | neither |"


def test_pictures_become_windows_and_their_folders_may_be_missing(tmp_path, monkeypatch):
    wide = Image.new("L", (100, 50))
    wide.paste(255, (50, 0, 100, 50))
    made = photographs.window(wide)
    assert (made.size, made.mode) == ((224, 224), "RGB") and made.getpixel((10, 9))[0] == 0 and made.getpixel((213, 9))[0] == 255
    monkeypatch.setattr(photographs, "DEBIAN", tmp_path)
    assert list(photographs.composed([made])) == [] and list(photographs.composed([])) == []
    (tmp_path / "tuxpaint/stamps/a").mkdir(parents=True)
    Image.new("RGBA", (300, 300), (0, 255, 0, 255)).save(tmp_path / "tuxpaint/stamps/a/one.png")
    ((package, stamped),) = photographs.composed([made])
    assert package == "tuxpaint-stamps-default" and stamped.getpixel((112, 112)) == (0, 255, 0)
    assert stamped.getpixel((5, 5)) == made.getpixel((5, 5)), "around the stamp is the picture"
    inputs = photographs.as_inputs([made, stamped])
    assert inputs.shape == (2, 3, 224, 224) and float(inputs.min()) == pytest.approx(-127 / 128)


def test_tables_of_the_benchmark_page_are_made():
    assert masks_table.table().count("\n") > 10 and forwards_table.table().count("\n") > 30


def test_a_table_without_its_place_is_said():
    with pytest.raises(ValueError, match="expected one block between <!-- a --> and <!-- b -->, found 0"):
        between("no marks", "table", ("<!-- a -->", "<!-- b -->"))
