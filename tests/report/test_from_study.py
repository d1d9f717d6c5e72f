"""The report of a study: from its folder alone."""

import pytest
import torch

from saliency_ext.attribution import Gradient
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.report import write_study_report
from saliency_ext.report.from_study import study_data
from saliency_ext.study.study import Study

pytest.importorskip("pyarrow")


class Images:
    """Seven images, of which one cannot be read."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 3:
            raise OSError("cut <short>")
        return torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(index))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 4)).eval()
    metrics = [metric(Constant(0.0), EqualFractions(4)) for metric in (Fidelity, Deletion)]
    names = [f"picture {index}" for index in range(7)]
    Study(model, Images(), "predicted", [Gradient], metrics, out=place, chunk=3, names=names).run()
    return place


def test_everything_the_study_knows(folder):
    data = study_data(folder, facts={"model": "linear"})
    assert [line.name for line in data.methods if not line.control] == ["gradient"]
    assert data.controls == ["random", "centre", "edge", "grey_level", "gradient_random_weights"]
    assert data.images == 7 and data.result("gradient", "fidelity").valid.sum() == 6
    (fault,) = data.sample_errors
    assert fault.samples == ["picture 3"] and fault.status == "unreadable_sample" and "cut <short>" in fault.reason
    assert len(fault.maps) == 6 and fault.metrics == ["fidelity", "deletion"]
    assert data.counted == "masked inputs" and data.requested > data.run > 0
    assert (
        data.facts["model"] == "linear" and "torch" in data.facts["library"] and data.facts["chunks"].startswith("3 of at most 3")
    )


def test_the_page_lies_in_the_folder_unless_said_otherwise(folder, tmp_path):
    page = write_study_report(folder)
    assert page == folder / "index.html" and "cut &lt;short&gt;" in page.read_text()
    assert write_study_report(folder, tmp_path / "x.html").name == "x.html"


def test_an_unfinished_study_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected folder of a( finished)? study"):
        write_study_report(tmp_path)
