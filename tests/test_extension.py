"""A metric, a method and an infill of another package, one file each, are found wherever ours are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

METRIC = '''
from dataclasses import dataclass
from typing import ClassVar

from saliency_ext.metrics import MapMetric
from saliency_ext.protocols import MetricInfo


@dataclass(frozen=True)
class PeakShare(MapMetric):
    """Share of the absolute relevance in the largest pixel.

    value = max_p |s_p| / sum_p |s_p|
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        "peak_share", "none", "share", "how much one pixel holds", "Doe 2031", role="form",
        meaning="How much of the relevance one pixel holds.", citation="Doe. Peaks of maps. 2031.",
    )

    def score(self, saliency, truth=None, *, sample_ids=None):
        values = saliency.abs().flatten(1)
        return values.amax(1) / values.sum(1)
'''

METHOD = '''
from typing import ClassVar

from saliency_ext.attribution import Method
from saliency_ext.protocols import MethodInfo


class Contrast(Method):
    """Distance of each pixel from the mean colour of its image."""

    info: ClassVar[MethodInfo] = MethodInfo(
        "contrast", "perturbation", False, "0", "Roe 2032", summary="distance from the mean colour", citation="Roe. 2032."
    )

    def _explain(self, inputs, classes, sample_ids):
        saliency = (inputs - inputs.mean((2, 3), keepdim=True)).abs().sum(1)
        return saliency[:, None].repeat(1, classes.shape[1], 1, 1)
'''

INFILL = '''
from dataclasses import dataclass
from typing import ClassVar

from saliency_ext.infill import BaseInfill
from saliency_ext.protocols import InfillInfo


@dataclass(frozen=True)
class Median(BaseInfill):
    """The median colour of the image."""

    info: ClassVar[InfillInfo] = InfillInfo("median", "the median colour of the image itself")

    def _fill(self, inputs, sample_ids, draw):
        return inputs.flatten(2).median(2).values[:, :, None, None]
'''

POINTS = """\
[saliency_ext.metrics]
peak_share = other_package.peak_share:PeakShare

[saliency_ext.methods]
contrast = other_package.contrast:Contrast

[saliency_ext.infills]
median = other_package.median:Median
"""


@pytest.fixture
def package(tmp_path):
    """A folder on the path with the package of three files, registered as an installed one is."""
    folder, about = tmp_path / "other_package", tmp_path / "other_package-1.0.dist-info"
    folder.mkdir()
    about.mkdir()
    for name, text in {"__init__": "", "peak_share": METRIC, "contrast": METHOD, "median": INFILL}.items():
        (folder / f"{name}.py").write_text(text)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other_package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    return tmp_path


def python(folder: Path, code: str) -> str:
    """What a new process prints in which the folder is on the path."""
    path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "docs")])
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_python_finds_them(package):
    out = python(
        package,
        """
import torch, saliency_ext as sx
from saliency_ext.attribution import METHODS, Contrast
from saliency_ext.infill import INFILLS, Median
from saliency_ext.metrics import METRICS, PeakShare
assert METRICS["peak_share"] is PeakShare and METHODS["contrast"] is Contrast and INFILLS["median"] is Median
images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
model = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
maps, metrics = {"contrast": Contrast(model)}, [PeakShare(), sx.metrics.Deletion(Median())]
results = sx.evaluate(model, images, 0, maps, metrics)
print(results["contrast", "peak_share"].values.item(), results["contrast", "deletion"].parameters["infill"])
""",
    )
    assert out.split() == ["0.375", "median"]


def test_torchmetrics_finds_the_metric(package):
    pytest.importorskip("torchmetrics")
    out = python(
        package,
        """
import pickle, torch
from saliency_ext.integrations.torchmetrics import Evaluator, PeakShare
images = torch.tensor([[[[3.0, 1.0], [0.0, 2.0]]]])
metric = PeakShare(Evaluator(torch.nn.Flatten()))
metric.update(images, 0, images[:, 0])
print(metric.compute().item(), pickle.loads(pickle.dumps(metric)).compute().item())
""",
    )
    assert out.split() == ["0.5", "0.5"]


def test_the_command_line_and_the_report_find_them(package):
    pytest.importorskip("pyarrow")
    listed = python(package, "from saliency_ext.cli import main; main(['list'])")
    for line in ("contrast ", "peak_share ", "median "):
        assert any(row.strip().startswith(line) for row in listed.splitlines()), line
    words = ["evaluate", "--limit", "4", "--steps", "3", "--quiet", "--pictures", "1", "--no-controls", "--out", "out"]
    words += ["--methods", "contrast,grad_cam", "--metrics", "fidelity,peak_share", "--infill", "median"]
    python(package, f"from saliency_ext.cli import main; assert main({words}) == 0")
    page = (package / "out" / "index.html").read_text()
    for text in ("peak_share", "How much of the relevance one pixel holds.", "Doe. Peaks of maps. 2031.", "contrast", "median"):
        assert text in page, text
    by_path = ["other_package.contrast:Contrast", "other_package.peak_share:PeakShare", "other_package.median:Median"]
    words = ["evaluate", "--limit", "2", "--steps", "3", "--quiet", "--pictures", "0", "--no-controls", "--out", "paths"]
    words += ["--methods", by_path[0], "--metrics", f"deletion,{by_path[1]}", "--infill", by_path[2]]
    python(package, f"from saliency_ext.cli import main; assert main({words}) == 0")


def test_the_cards_of_the_docs_find_them(package):
    pytest.importorskip("mkdocs")
    out = python(
        package,
        """
import pages
made = pages.made_pages()
print(made["metrics/peak_share.md"], made["methods/contrast.md"], made["metrics/index.md"], made["methods/index.md"])
""",
    )
    for text in ("How much of the relevance one pixel holds.", "Distance from the mean colour.", "[peak_share](peak_share.md)"):
        assert text in out, text
