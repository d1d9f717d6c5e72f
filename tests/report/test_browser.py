"""The page in a real browser: nothing is fetched, nothing runs, every figure is drawn, it fits a phone, it prints."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from html import unescape

import pytest
import torch
from PIL import Image

from saliency_ext.report import Example, write_report
from tests.report.samples import DELETION, FIDELITY, POINTING, RANDOM, curved, result, results_of, values

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on PATH")

MAGENTA = (255, 0, 255)
# Reads the report inside a frame; the report itself may run nothing.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><iframe id="f" src="index.html" width="WIDTH" height="900"></iframe>
<pre id="out"></pre>
<script>onload = () => { const w = document.getElementById("f").contentWindow, d = w.document;
const box = e => { const b = e.getBoundingClientRect(); return [b.width, b.height]; };
document.getElementById("out").textContent = JSON.stringify({
 scroll: d.documentElement.scrollWidth, client: d.documentElement.clientWidth,
 images: [...d.images].map(i => [i.complete ? i.naturalWidth : 0, ...box(i)]),
 panels: [...d.querySelectorAll("details[open] svg.panel")].map(box),
 curves: [...d.querySelectorAll("details[open] polyline")].map(p => { const b = p.getBBox(); return [b.width, b.height]; }),
 strips: [...d.querySelectorAll("svg.strip circle")].map(box),
 colours: [...d.querySelectorAll("polyline.most")].slice(0, 1).map(e => w.getComputedStyle(e).stroke),
 paper: w.getComputedStyle(d.body).backgroundColor,
 fetched: w.performance.getEntriesByType("resource").map(e => e.name), ran: typeof w.ran, title: d.title}); };</script>"""


@contextmanager
def counting_server():
    """An address, and the paths that were asked for there."""
    requested = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()
        server.server_close()


def browse(folder, *options):
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
    words += ["--disable-component-update", "--no-first-run", f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout


def probed(folder, width, *options):
    (folder / "probe.html").write_text(PROBE.replace("WIDTH", str(width)))
    text = browse(folder, "--allow-file-access-from-files", "--dump-dom", *options, f"file://{folder / 'probe.html'}")
    return json.loads(unescape(re.search(r'<pre id="out">(.*?)</pre>', text, re.S)[1]))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with counting_server() as (address, requested):
        nasty = f'<script>ran = 1; fetch("{address}/script")</script><img src="{address}/image" onerror="ran = 2">'
        table = {}
        for seed, (name, mean) in enumerate(((nasty, 0.6), ("grad_cam_random_weights", 0.1), ("random", 0.0))):
            table[name, "fidelity"] = curved(FIDELITY, mean, seed=seed)
            table[name, "deletion"] = result(DELETION, values(1 - mean, seed=seed))
            table[name, "pointing_game_target_minus_distractor"] = result(POINTING, values(mean, seed=seed))
        picture = torch.zeros(32, 32, 3, dtype=torch.uint8)
        picture[:] = torch.tensor(MAGENTA)
        maps = {name: torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) for name in (nasty, "random")}
        write_report(
            results_of(table),
            folder / "index.html",
            methods={"random": RANDOM},
            facts={"data": nasty},
            examples=[Example(nasty, picture, maps)] * 2,
        )
        yield folder, address, requested


def test_the_harness_sees_what_a_page_fetches(page):
    folder, address, requested = page
    own = folder / "own"
    own.mkdir()
    (own / "index.html").write_text(f'<img src="{address}/control"><script>ran = 1</script>')
    result = probed(own, 800)
    assert "/control" in requested and result["fetched"] == [f"{address}/control"] and result["ran"] == "number"
    requested.clear()


def test_nothing_is_fetched_nothing_runs_and_everything_is_drawn(page):
    folder, _, requested = page
    result = probed(folder, 1200)
    assert requested == [] and result["fetched"] == [] and result["ran"] == "undefined"
    assert result["title"].startswith("Which saliency method")
    assert len(result["images"]) == 1 + 2 * 3 and all(width > 0 and w > 20 and h > 10 for width, w, h in result["images"])
    assert len(result["panels"]) == 3 and all(w > 150 and h > 100 for w, h in result["panels"])
    assert len(result["curves"]) == 6 and all(w > 100 and h > 20 for w, h in result["curves"])
    assert len(result["strips"]) == 9 and all(w > 5 for w, _ in result["strips"])
    assert result["paper"] == "rgb(255, 255, 255)" and result["colours"] == ["rgb(194, 65, 12)"]


def test_it_fits_a_phone(page):
    result = probed(page[0], 360)
    assert result["scroll"] <= result["client"] <= 360, "only tables scroll sideways, not the page"
    assert all(w <= 360 for _, w, _ in result["images"]) and all(w <= 360 for w, _ in result["panels"])


def test_dark_is_dark(page):
    result = probed(page[0], 900, "--blink-settings=preferredColorScheme=0")
    assert result["paper"] == "rgb(20, 23, 27)" and result["colours"] == ["rgb(255, 155, 92)"]


def test_the_screen_shows_curves_and_pictures(page, tmp_path):
    shot = tmp_path / "shot.png"
    browse(page[0], "--window-size=1200,4000", f"--screenshot={shot}", f"file://{page[0] / 'index.html'}")
    colours = dict((colour, count) for count, colour in Image.open(shot).convert("RGB").getcolors(2**24))
    assert colours.get(MAGENTA, 0) > 5000, "the picture of the example"
    assert colours.get((194, 65, 12), 0) > 200, "the curve of the most relevant pixels"
    assert colours.get((11, 87, 164), 0) > 200, "the curve of the least relevant ones"


def test_it_prints_on_a_few_pages(page, tmp_path):
    target = tmp_path / "page.pdf"
    browse(page[0], f"--print-to-pdf={target}", "--no-pdf-header-footer", f"file://{page[0] / 'index.html'}")
    content = target.read_bytes()
    assert content.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 30
