"""Options and fixtures that all tests share: backends, seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.backends import BACKENDS, NO_CUDA, Backend, generator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", action="append", choices=sorted(BACKENDS), help="cpu, sim, cuda; default: cpu and sim")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backends(*names): the backends on which this test says something new")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that compile for minutes begin first, so that no process waits for them in the end."""
    items.sort(key=lambda item: "tests/native/" not in item.nodeid)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a `backend` argument runs once per backend asked for and named by the marks of its class and its own."""
    if "backend" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("backend") or ["cpu", "sim"]
        possible = set(BACKENDS)
        for mark in metafunc.definition.iter_markers("backends"):
            possible &= set(mark.args)
        metafunc.parametrize("backend", [name for name in wanted if name in possible], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    chosen = BACKENDS[request.param]
    if chosen.name == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_CUDA)
    with chosen.active():
        yield chosen


@pytest.fixture
def rng() -> torch.Generator:
    return generator()


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """For tests of what only a real accelerator has; part of a run with --backend cuda."""
    if not torch.cuda.is_available():
        pytest.skip(NO_CUDA)
    if "cuda" not in (request.config.getoption("backend") or []):
        pytest.skip("asked for with --backend cuda only")
    with BACKENDS["cuda"].active():
        yield BACKENDS["cuda"]
