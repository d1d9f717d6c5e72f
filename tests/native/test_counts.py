"""Kernels ask no more of a device's memory than recorded, and the counts tell planted bad kernels from good ones."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.native import counts, occupancy
from tests.native.counts import CASES, Counted

ROWS, STRIDED, TRANSPOSE, CONFLICTS, ONE_BLOCK, THRICE = range(6)  # of profiler/planted.cu


def planted(number: int) -> Counted:
    return counts.count("planted", number)


def test_a_strided_access_takes_more_sectors() -> None:
    good, bad = planted(ROWS), planted(STRIDED)
    assert good.sectors == 1.0
    assert bad.launches[0].loads["from"]["sectors"] == 8 * bad.launches[0].loads["from"]["ideal"]
    assert bad.launches[0].stores == good.launches[0].stores


def test_a_bank_conflict_takes_more_passes() -> None:
    assert planted(TRANSPOSE).conflicts == 1
    assert planted(CONFLICTS).conflicts == 32
    assert planted(CONFLICTS).sectors == 1.0


def test_one_block_is_seen() -> None:
    assert planted(ROWS).blocks == 256
    assert planted(ONE_BLOCK).blocks == 1


def test_reading_again_is_traffic() -> None:
    assert planted(ROWS).traffic == 1.0
    assert planted(THRICE).traffic == 2.0  # three reads and a write, in place of a read and a write
    assert planted(THRICE).sectors == 1.0


@pytest.mark.parametrize("case", CASES)
def test_no_case_asks_for_more_than_recorded(case: str) -> None:
    recorded = json.loads(counts.RECORD.read_text())
    counted = counts.count(case, 1)
    assert counts.regressions(counted, recorded[case]["1"]) == []


def test_the_gate_sees_regressions() -> None:
    good = counts.count("noise", 1)
    recorded = good.summary()
    assert counts.regressions(good, recorded) == []
    launch = good.launches[0]
    doubled = {
        name: {key: 2 * value for key, value in of.items() if key != "ideal"} | {"ideal": of["ideal"]}
        for name, of in launch.stores.items()
    }
    bad = dataclasses.replace(good, launches=[dataclasses.replace(launch, stores=doubled, blocks=1)])
    assert [text.split()[1] for text in counts.regressions(bad, recorded)] == ["sectors", "traffic", "memory", "bytes", "blocks"]


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "share"),
    [
        ("sm_90", 256, 32, 0, 1.0),
        ("sm_90", 256, 64, 0, 0.5),
        ("sm_80", 1024, 33, 0, 0.5),
        ("sm_75", 1024, 32, 0, 1.0),
        ("sm_80", 128, 32, 54 << 10, 2 * 128 / 2048),
        ("sm_86", 512, 32, 0, 1.0),
    ],
)
def test_occupancy(architecture: str, threads: int, registers: int, shared: int, share: float) -> None:
    assert occupancy.occupancy(architecture, threads, registers, shared) == share
