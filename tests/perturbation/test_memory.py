"""Batches from a memory budget, and memory that is flat in steps, maps and images."""

import subprocess
import sys

import pytest
import torch

from saliency_ext.infill import Constant
from saliency_ext.ops import rank
from saliency_ext.perturbation import Engine, Plan, Ranked, RankMasks
from saliency_ext.perturbation._memory import batch_that_fits

MIB = 2**20


def make_model():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 5)).eval()


def test_the_batch_is_what_the_budget_holds():
    image = torch.zeros(1, 3, 64, 64)
    per_image = 4 * 64 * 64 * (3 + 2 * 16)  # the image, and the activation before and after ReLU
    for budget in (MIB, 8 * MIB, 20 * MIB):
        assert batch_that_fits(make_model(), image, budget, 10**6) == pytest.approx(budget / per_image, rel=0.02, abs=1)
    assert batch_that_fits(make_model(), image, 10**12, 64) == 64
    assert batch_that_fits(make_model(), image, 1, 64) == 1


def test_freed_tensors_do_not_count():
    def chain(x):
        for _ in range(50):
            x = x + 1
        return x.flatten(1)[:, :2]

    image = torch.zeros(1, 1, 32, 32)
    assert batch_that_fits(chain, image, 30 * image.numel() * 4, 100) == 10  # input, old and new


def test_an_engine_measures_once_and_keeps_to_it():
    model, shapes = make_model(), []
    engine = Engine(lambda x: shapes.append(len(x)) or model(x), memory_budget=4 * MIB)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plan = Plan()
    plan.request(RankMasks(Ranked(rank(images.mean(1))), range(0, 4096, 200), keep="tail"), Constant(0.5))
    assert engine.max_batch is None
    engine.run(plan, images, torch.zeros(3, 1, dtype=torch.int64))
    assert shapes[:2] == [1, 2] and set(shapes[2:]) == {engine.max_batch} and 6 <= engine.max_batch <= 8
    engine.run(plan, images, torch.zeros(3, 1, dtype=torch.int64))
    assert shapes.count(1) == 1
    assert engine.counters.images_forwarded == sum(shapes[2:])  # what measuring cost is no answer


def test_images_of_another_kind_are_measured_anew():
    weight, shapes, budget = torch.rand(16, 3, 3, 3), [], 8 * MIB

    def model(x):
        shapes.append((len(x), x.shape[3], x.dtype))
        return torch.conv2d(x, weight.to(x.dtype), padding=1).relu().mean((2, 3))[:, :5]

    engine = Engine(model, memory_budget=budget)

    def forwarded(side, dtype=torch.float32):
        """Images of the last forward; how many were measured on."""
        shapes.clear()
        assert engine.logits(torch.zeros(5, 3, side, side, dtype=dtype)).shape == (5, 5)
        assert {each[1:] for each in shapes} == {(side, dtype)} and shapes[-1][0] == engine.max_batch
        return shapes[-1][0], sum(each[0] for each in shapes if each[0] < engine.max_batch)

    small = forwarded(8)
    assert small == (32, 3)
    per_image = 4 * 128 * 128 * (3 + 2 * 16)
    large, measured = forwarded(128)
    assert measured == 3 and budget / 2 < large * per_image <= budget
    assert forwarded(8) == (32, 0) and forwarded(128) == (large, 0), "known from before"
    assert forwarded(128, torch.float64)[0] * 2 * per_image <= budget
    assert engine.batch_for(torch.zeros(0, 3, 512, 512)) == 1, "nothing to measure on"


def test_a_batch_that_was_given_is_that_of_all_sizes():
    shapes = []
    engine = Engine(lambda x: shapes.append(tuple(x.shape)) or x.mean((2, 3)), max_batch=6, memory_budget=1)
    for side in (8, 128, 8):
        engine.logits(torch.zeros(4, 3, side, side))
    assert shapes == [(6, 3, side, side) for side in (8, 128, 8)]


def test_where_memory_ran_out_for_one_size_the_other_keeps_its_batch():
    def tight(x):
        if x.shape[3] > 8 and len(x) > 5:
            raise torch.OutOfMemoryError("no room")
        return x.mean((2, 3))

    engine, batches = Engine(tight), []
    for side in (16, 8, 16):
        engine.logits(torch.zeros(4, 3, side, side))
        batches.append(engine.max_batch)
    assert batches == [4, 32, 4] and engine.counters.out_of_memory == 3  # 32, 16 and 8 of the large ones, once


_PROGRAM = """
import sys, torch
from pathlib import Path
from saliency_ext import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.perturbation import Engine, EqualFractions
steps, maps, images = map(int, sys.argv[1:])
torch.set_num_threads(1)
model = lambda x: x.mean((2, 3))
one = torch.rand(1, 3, 224, 224)
def batches():
    for _ in range(images // 4):
        yield one.expand(4, -1, -1, -1).clone()
methods = {str(i): (lambda i: lambda inputs, target: inputs[:, i % 3] * (i + 1) % 1)(i) for i in range(maps)}
metrics = [m(Constant(0.0), EqualFractions(steps)) for m in (Deletion, Fidelity)]
evaluate(model, batches(), 0, methods, metrics, engine=Engine(model, max_batch=16), chunk=4)
status = Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])  # of this program; getrusage begins with the peak of the process that started it
"""


def test_peak_memory_is_flat_in_steps_maps_and_images():
    """A fresh process each; 20 probes of an image are 12 MB, so anything kept per probe would show."""

    def peak(*sizes):
        command = [sys.executable, "-c", _PROGRAM, *map(str, sizes)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024

    base = peak(10, 2, 8)
    assert base < 2**30  # else the peak is of something larger than this program
    assert peak(60, 2, 8) - base < 24 * MIB
    assert peak(10, 12, 8) - base < 24 * MIB
    assert peak(10, 2, 48) - base < 24 * MIB


def test_measuring_does_not_import_the_compiler():
    code = """
import sys, torch
from saliency_ext.perturbation import Engine
assert Engine(lambda x: x[:, :, 0, 0]).logits(torch.ones(3, 2, 4, 4)).shape == (3, 2)
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
