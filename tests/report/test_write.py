"""The page as text: complete, in order, self-contained, escaped, accessible, the same bytes each time."""

import builtins
import re
from html.parser import HTMLParser

import pytest
import torch

from saliency_ext.report import Example, write_report
from saliency_ext.report.data import gather
from saliency_ext.report.write import breakable, render
from tests.report.samples import DELETION, FIDELITY, POINTING, RANDOM, curved, result, results_of, values, with_status

NASTY = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
VOID = {"meta", "br", "img", "wbr", "input", "hr", "link"}


class Page(HTMLParser):
    """Tags with their attributes, and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open[-5:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def results(name="mine"):
    table = {}
    for seed, (own, mean) in enumerate(((name, 0.6), ("other", 0.3), ("random", 0.0))):
        table[own, "fidelity"] = curved(FIDELITY, mean, seed=seed)
        table[own, "deletion"] = result(DELETION, values(1 - mean, seed=seed))
        table[own, "pointing_game"] = with_status(POINTING, values(mean, seed=seed), [5], "undefined")
    return results_of(table)


def data(name="mine", **options):
    saliency = torch.linspace(-1, 1, 64).view(8, 8)
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    defaults = {"facts": {"model": "a net"}, "examples": [Example("a cat", picture, {name: saliency, "random": saliency})]}
    return gather(results(name), methods={"random": RANDOM}, **(defaults | options))


def test_sections_come_in_order():
    text = render(data())
    order = ["verdict", "table", "curves", "maps", "metrics", "parameters", "counters", "statuses"]
    assert re.findall(r'<section id="(\w+)"', text) == order
    assert text.index("among the best") < text.index("<table") if "among the best" in text else "leads under" in text
    assert text.count("<h1>") == 1


def test_the_page_needs_nothing_and_forbids_everything():
    page = Page(render(data()))
    assert not page.all("script") and not page.all("link") and not page.all("iframe") and not page.all("base")
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset", "background"):
            assert re.match(r"(data:image/png;base64,|#)", attributes.get(name, "#")), attributes
        assert not [name for name in attributes if name.startswith("on")], attributes
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "script" not in policy and "http" not in policy
    style = re.search(r"<style>(.*?)</style>", render(data()), re.S)[1]
    assert "@import" not in style and re.findall(r"url\(([^)]*)\)", style) == ["#hatch"] and "@font-face" not in style


def test_labels_are_escaped_wherever_they_appear():
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    text = render(
        data(
            NASTY,
            title=NASTY,
            samples=[NASTY] * 40,
            facts={NASTY: NASTY},
            controls=["other"],
            examples=[Example(NASTY, picture, {NASTY: torch.rand(8, 8)})],
        )
    )
    page = Page(text)
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    shown = "".join(page.text)
    assert shown.count("<script>alert(1)</script>") > 15, "it is shown as it is written"


def test_names_break_after_underscores_and_stay_escaped():
    assert str(breakable("grad_cam_<b>")) == "grad_<wbr>cam_<wbr>&lt;b&gt;"
    assert str(breakable("_x__y")) == "_<wbr>x__<wbr>y"


def test_figures_and_pictures_have_words():
    page = Page(render(data()))
    assert all(image.get("alt") for image in page.all("img")) and len(page.all("img")) == 4
    drawn = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(drawn) == 3 + 9 and all(svg.get("aria-hidden") == "true" for svg in page.all("svg") if svg.get("role") != "img")
    assert "title" in [tag for tag, _ in page.tags[page.tags.index(("svg", drawn[-1])) :]][:3]
    scrolling = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
    assert scrolling and all(each["tabindex"] == "0" and each["aria-label"] for each in scrolling)
    assert page.all("html") == [{"lang": "en"}]
    assert all("scope" in cell for cell in page.all("th"))


def test_table_says_the_means_the_controls_and_what_is_best():
    text = render(data())
    table = text[text.index('<table class="means">') : text.index('<div class="bars">')]
    mean = results().summary("mine", "fidelity").mean
    rows = table.split("<tr")
    first = next(row for row in rows if "mine" in row)
    assert f"{mean:.3f}" in first and "best" in first and "↑" in rows[1] and "↓" in rows[1]
    assert "higher is better" in rows[1] and "lower is better" in rows[1], "direction is said in words, too"
    assert '<span class="tag">control</span>' in next(row for row in rows if "random" in row)
    assert "over 39 images" in first, "fewer images than the others"


def test_counters_parameters_and_statuses_are_there():
    text = render(data(samples=[f"img {n}" for n in range(40)], masked_inputs={"requested": 12000, "run": 3000}))
    assert "12,000" in text and "9,000 (75%)" in text
    assert "img 5" in text and "undefined" in text and "every map under pointing_game" in text
    assert "a net" in text and "Petsiuk, Das, Saenko" in text and "probability" in text
    clean = results_of({("a", "deletion"): result(DELETION, values(0.5))})
    assert "Every map has a value on every image." in render(gather(clean))


def test_without_curves_and_pictures_these_sections_are_left_out():
    text = render(gather(results_of({("a", "deletion"): result(DELETION, values(0.5))})))
    assert 'id="curves"' not in text and 'id="maps"' not in text and 'href="#maps"' not in text
    Page(text)


def test_a_page_of_nothing_but_faults():
    nothing = {("a", "deletion"): with_status(DELETION, values(0.5, 3), [0, 1, 2], "method_failed")}
    text = render(gather(results_of(nothing)))
    Page(text)
    assert "n/a" in text and "the method raised an error" in text and "No method can be recommended" in text


def test_equal_results_give_equal_bytes_and_replace_the_old_file(tmp_path):
    target = tmp_path / "new" / "index.html"
    first = write_report(results(), target).read_bytes()
    assert write_report(results(), target).read_bytes() == first
    assert [path.name for path in target.parent.iterdir()] == ["index.html"]


def test_a_failure_leaves_the_old_page(tmp_path, monkeypatch):
    target = tmp_path / "index.html"
    target.write_text("old")
    monkeypatch.setattr("saliency_ext.report.write.page_of", lambda data: {})
    with pytest.raises(Exception, match="undefined"):
        write_report(results(), target)
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_page(tmp_path, monkeypatch):
    """The page is written as every other file of a run: flushed, then renamed."""
    target = tmp_path / "index.html"
    target.write_text("old")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saliency_ext._atomic_io.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(results(), target)
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_names_that_are_no_text_do_not_break_the_page():
    Page(render(data(samples=["\udce9.png"] * 40, facts={"file": "\udcff"})))


def test_missing_libraries_say_how_to_get_them(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name.split(".")[0] in ("jinja2", "PIL"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest, **options)

    plain = data(examples=[])
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"expected Jinja2 to be installed.*pip install 'saliency_ext\[report\]'"):
        render(plain)
