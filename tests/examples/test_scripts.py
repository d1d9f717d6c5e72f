"""Every script of examples/ runs and says what it promises."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import make_scenes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def output(name, capsys):
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_every_script_has_a_test():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == set(re.findall(r'output\("(\w+\.py)"', Path(__file__).read_text()))


def test_rank_three_methods(capsys):
    lines = output("rank_three_methods.py", capsys).splitlines()
    assert lines[0].startswith("grad_cam") and len(lines) == 4
    assert "grad_cam is better" in lines[3]


def test_judge_a_captum_method(capsys):
    assert "over 6 images" in output("judge_a_captum_method.py", capsys)


def test_torchmetrics_loop(capsys):
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    text = output("torchmetrics_loop.py", capsys)
    values = {name: float(value) for name, value in re.findall(r"(\w+) +([\d.]+)$", text, flags=re.MULTILINE)}
    assert 0 < values["Deletion"] < values["Insertion"] <= 1 and values["PointingGame"] > 0.5
    assert "3 passes" in text


def test_quantus_harness(capsys):
    lines = output("quantus_harness.py", capsys).splitlines()[-2:]
    assert lines[0].startswith("grad_cam") and lines[1].startswith("gradient")
    assert all(re.search(r"'fidelity': [\d.]+, 'flipping': [\d.]+", line) for line in lines)


def test_disambiguate_a_pair(capsys):
    """A 9 and a 1 in one scene: what each label rests on lies on its own digit, whose boxes do not meet."""
    lines = output("disambiguate_a_pair.py", capsys).splitlines()
    assert re.fullmatch(r"the model sees 9 \(\d+%\) and one \(\d+%\): distinct", lines[0])
    assert lines[2].startswith("its proof holds, checked in ")
    scene = make_scenes("test", torch.tensor([1]), scene_config=SceneConfig(objects=2))
    boxes = dict(zip(scene.entities[0].tolist(), scene.boxes[0].tolist(), strict=True))
    regions = re.findall(r"what (\w+) rests on: rows (\d+)-(\d+), columns (\d+)-(\d+)", "\n".join(lines))
    assert [name for name, *_ in regions] == ["9", "one"]
    for (_, *corners), digit in zip(regions, (9, 1), strict=True):
        top, bottom, left, right = map(int, corners)
        box_top, box_left, box_bottom, box_right = boxes[digit]
        assert box_top <= bottom and top < box_bottom and box_left <= right and left < box_right
        other = boxes[10 - digit]
        assert right < other[1] or left >= other[3]
