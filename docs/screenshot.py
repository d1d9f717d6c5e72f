"""The picture of the README: `python docs/screenshot.py [report/index.html [docs/report.png]]`, after `make demo`.

A real browser (chromium or chrome, headless) shows the real page; a style sheet leaves out what would not fit on one screen.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1180, 3000
MARGIN = 24
LIMIT = 300_000  # bytes
SHORTENED = """<style>
nav, .bars, #metrics, #parameters, #counters, #statuses, footer, #curves details:not([open]), .panels figure:nth-child(n+5),
#maps .note, #maps .maps ~ h3, #maps .maps ~ .maps { display: none }
h2 { margin-top: 1.5rem }
.maps { grid-template-columns: repeat(11, 1fr); gap: .5rem }
.panels { grid-template-columns: repeat(4, 1fr) }
</style>"""


def main(page: Path, picture: Path) -> None:
    """Writes the picture of a page."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on PATH: apt-get install chromium")
    if not page.is_file():
        sys.exit(f"{page} is not there: run make demo first")
    with tempfile.TemporaryDirectory() as folder:
        short, shot = Path(folder) / "index.html", Path(folder) / "shot.png"
        short.write_text(page.read_text(encoding="utf-8").replace("</head>", f"{SHORTENED}</head>", 1), encoding="utf-8")
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"]
        words += [f"--user-data-dir={folder}/profile", f"--screenshot={shot}", f"file://{short}"]
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        image = Image.open(shot).convert("RGB")
    bottom = ImageChops.difference(image, Image.new("RGB", image.size, image.getpixel((0, 0)))).getbbox()[3]
    image = image.crop((0, 0, image.width, min(bottom + MARGIN, image.height)))
    image.quantize(256, method=Image.Quantize.MEDIANCUT).save(picture, optimize=True)
    size = picture.stat().st_size
    print(f"{picture}: {image.width} x {image.height}, {size} bytes")
    if size > LIMIT:
        sys.exit(f"more than {LIMIT} bytes")


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    main(*[*paths, *(Path("report/index.html"), Path("docs/report.png"))[len(paths) :]])
