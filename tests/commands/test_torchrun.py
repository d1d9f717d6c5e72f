"""Under torchrun each process has a GPU of its own, and a group only as long as it talks."""

from __future__ import annotations

import pytest
import torch

from saliency_ext.commands import _torchrun


@pytest.fixture
def launched(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_without_torchrun_it_is_the_current_gpu() -> None:
    assert _torchrun.own_gpu() == "cuda" and _torchrun.place_among_all() == (0, 1)
    with _torchrun.process_group() as first:
        assert first and not torch.distributed.is_initialized()


@pytest.mark.parametrize(("rank", "gpu"), [("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0")])
def test_gpus_are_dealt_out_in_turn(launched, monkeypatch, rank: str, gpu: str) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert _torchrun.own_gpu() == gpu


def test_the_group_ends_with_its_block_also_after_an_error(launched, monkeypatch) -> None:
    init = torch.distributed.init_process_group
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend: init(backend, store=torch.distributed.HashStore(), rank=0, world_size=1),
    )
    with pytest.raises(ZeroDivisionError), _torchrun.process_group() as first:
        assert first and torch.distributed.is_initialized()
        raise ZeroDivisionError
    assert not torch.distributed.is_initialized()
