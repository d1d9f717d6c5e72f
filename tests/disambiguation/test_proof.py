"""Proofs: what the verifier accepts, what it rejects, and what the reader of files refuses."""

from __future__ import annotations

import bisect
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saliency_ext.disambiguation import PairFinder, Rules, proof_json, read_proof, verify, write_proof
from saliency_ext.disambiguation.proof_file import LARGEST, _digest, mask_from_runs, run_lengths
from saliency_ext.infill import Blur, Constant, GaussianNoise, Harmonic, NoisyLinear, OtherImage
from tests.disambiguation.planted import CELLS, Planted, finder, ones, planted

PAIR = torch.tensor([[0, 1]])
APART = {(0, 1): 4.0, (1, 5): 4.0}
ALIKE = {(0, 4): 4.0, (1, 4): 4.0}


@pytest.fixture
def distinct():
    model = planted(4, APART)
    return model, finder(model, others=[Constant(-0.1)])(ones(), PAIR)[0][0].proofs[0]


@pytest.fixture
def shared():
    model = planted(20, ALIKE)
    return model, finder(model)(ones(), PAIR)[0][0].proofs[0]


def test_valid_in_at_most_two_forward_passes(distinct, shared):
    for model, proof in (distinct, shared):
        model.forwards.clear()
        result = verify(model, ones()[0], proof)
        assert result.valid and result.reasons == () and result.forwards == len(model.forwards) == 1
    model = planted(4, APART)
    many = finder(model, others=[Constant(-0.1), GaussianNoise(0.0, 0.02, 3, 9)])(ones(), PAIR, sample_ids=torch.tensor([77]))
    proof = many[0][0].proofs[0]
    assert len(proof.shown) == 3 and proof.sample_id == 77
    model.forwards.clear()
    assert verify(model, ones()[0], proof).valid and len(model.forwards) == 2 and sum(model.forwards) == 1 + 2 * (1 + 1 + 9)


def test_the_verifier_agrees_with_the_finder_always():
    """Whatever the finder proves, by whatever rules, is valid, and its numbers are found again; also from JSON."""
    kinds = set()
    for seed in range(8):
        weights = torch.randn(24, 9, generator=torch.Generator().manual_seed(seed))
        weights[:4] = 6 * weights[:4].relu() * (weights[:4] > 0.3)
        model = Planted(weights * torch.cat([torch.ones(4, 1), torch.full((20, 1), 0.2)]))
        for rules in (Rules(floor=0.0), Rules(floor=0.0, distinct="ownership", past_own=True, ties="first", inseparable=False)):
            for pair in finder(model, rules, minimise=seed % 2 == 0)(ones(), torch.tensor([[0, 1, 2, 3]]))[0]:
                for proof in pair.proofs:
                    kinds.add(proof.kind)
                    again = read_proof(proof_json(proof))
                    result = verify(model, ones()[0], again)
                    assert result.valid, result.reasons
                    assert torch.allclose(result.shown[0].retention, proof.shown[0].retention, equal_nan=True)
    assert kinds == {"distinct", "shared"}


def test_a_smaller_delta_is_a_weaker_statement(distinct):
    model, proof = distinct
    assert proof.delta == 80.0
    for delta in (79.0, 65.0, 51.0):
        assert verify(model, ones()[0], proof.at(delta)).valid
    assert not verify(model, ones()[0], proof.at(100 - proof.shown[0].retention[0, 0, 0].item() + 0.01)).valid
    assert verify(model, ones()[0], proof.at(80 + proof.margin - 0.01)).valid


def test_swapped_emptied_and_moved_masks_are_rejected(distinct, shared):
    model, proof = distinct
    empty = torch.zeros_like(proof.masks[0])
    for masks in (proof.masks[::-1], (empty, empty), (proof.masks[0], empty), (~empty, ~empty), (proof.masks[0],) * 2):
        result = verify(model, ones()[0], replace(proof, masks=masks))
        assert not result.valid and "an inequality fails by" in result.reasons[0]
    assert not verify(model, ones()[0], replace(proof, labels=(1, 0))).valid
    assert not verify(model, ones()[0], replace(proof, labels=(0, 2))).valid
    model, proof = shared
    assert not verify(model, ones()[0], replace(proof, masks=(empty,))).valid


def test_numbers_that_were_touched_are_rejected(distinct):
    model, proof = distinct
    shown = replace(
        proof.shown[0], retention=proof.shown[0].retention + torch.tensor([[[0.5, 0.0], [0.0, 0.0]], [[0.0] * 2] * 2])
    )
    result = verify(model, ones()[0], replace(proof, shown=(shown, *proof.shown[1:])))
    assert result.reasons == ("under constant redacting U1 leaves other shares than the proof says",)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("measure", [0, 1])
@pytest.mark.parametrize("said", [lambda clean: clean + 0.01, lambda clean: math.nan, lambda clean: 0.0, lambda clean: -clean])
def test_other_clean_scores_are_rejected(distinct, label, measure, said):
    model, proof = distinct
    clean = proof.clean.clone()
    clean[label, measure] = said(float(clean[label, measure]))
    assert not torch.equal(clean, proof.clean)
    result = verify(model, ones()[0], replace(proof, clean=clean))
    assert not result.valid
    assert result.reasons == (f"the image itself has other scores of class {proof.labels[label]} than the proof says",)
    read = read_proof(proof_json(replace(proof, clean=torch.full((2, 2), math.nan))))
    assert len(verify(model, ones()[0], read).reasons) == 2
    rounded = replace(proof, clean=proof.clean * (1 + 1e-5))
    assert verify(model, ones()[0], rounded).valid


def test_masks_above_the_limit_are_rejected(distinct, shared):
    """Each mask is one cell of nine. A limit is part of what is written."""
    for model, proof in (distinct, shared):
        assert proof.area_limit == 0.5 and read_proof(proof_json(replace(proof, area_limit=1 / 9))).area_limit == 1 / 9
        assert verify(model, ones()[0], replace(proof, area_limit=1 / 9)).valid
        result = verify(model, ones()[0], read_proof(proof_json(replace(proof, area_limit=0.11))))
        said = "{} redacts 11.11 % of the image, more than the 11 % that the proof may"
        names = ("U1", "U2") if proof.kind == "distinct" else ("D",)
        assert not result.valid and result.reasons == tuple(map(said.format, names))
        with pytest.raises(ValueError, match="Proof: expected area_limit"):
            replace(proof, area_limit=0.0)


def test_one_infill_named_twice_is_not_robust(distinct):
    proof = distinct[1]
    assert proof.robust and not replace(proof, shown=(proof.shown[0], proof.shown[0])).robust


def test_one_mask_never_proves_both(distinct, shared):
    """r <= 100 - delta < 50 and r >= delta > 50 cannot be of one label."""
    for model, proof in (distinct, shared):
        for delta in (51.0, 80.0):
            for mask in proof.masks:
                fits = []
                for kind, masks in (("distinct", (mask, mask)), ("shared", (mask,))):
                    shown = (replace(proof.shown[0], retention=proof.shown[0].retention[:1].expand(len(masks), 2, 2)),)
                    claim = replace(proof, kind=kind, masks=masks, delta=delta, shown=shown)
                    fits.append(not any("inequality" in text for text in verify(model, ones()[0], claim).reasons))
                assert not all(fits) and fits == [False, proof.kind == "shared"]


def test_another_model_or_image_is_refused_by_name(distinct):
    model, proof = distinct
    image = ones()[0]
    other = planted(4, APART | {(3, 8): 0.25})
    with pytest.raises(ValueError, match="verify: expected model with the proof's fingerprint of its weights, .*another model"):
        verify(other, image, proof)
    with pytest.raises(ValueError, match="verify: expected model with the proof's fingerprint of its class"):
        verify(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4)).eval(), image, proof)
    with pytest.raises(ValueError, match="verify: expected image with the proof's fingerprint .*another image"):
        verify(model, image * 1.0001, proof)
    with pytest.raises(ValueError, match=r"verify: expected image of the proof's size \(H, W\) = \(6, 6\), got \(6, 8\)"):
        verify(model, torch.ones(1, 6, 8), proof)
    with pytest.raises(TypeError, match="verify: expected proof to be a Proof, got str"):
        verify(model, image, "proof.json")


def test_a_function_has_a_fingerprint_too():
    model = planted(4, APART)
    plain = lambda x: model(x)  # noqa: E731
    proof = finder(plain, attribution=model.attribution)(ones(), PAIR)[0][0].proofs[0]
    assert verify(plain, ones()[0], proof).valid
    with pytest.raises(ValueError, match="fingerprint of its code"):
        verify(lambda x: model(x) * 1.0, ones()[0], proof)


# ---- JSON


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_run_lengths_go_both_ways(rows):
    mask = torch.tensor(rows)
    runs = run_lengths(mask)
    assert torch.equal(mask_from_runs(runs, *mask.shape), mask) and all(runs[1:]), "only the first run may be empty"


def test_a_file_and_back(distinct, tmp_path):
    model, proof = distinct
    path = write_proof(proof, tmp_path / "proof.json")
    again = read_proof(path)
    assert proof_json(again) == path.read_text() and path.stat().st_size < 4000
    assert all(torch.equal(a, b) for a, b in zip(again.masks, proof.masks, strict=True))
    assert again.robust and again.shown[1].infill == Constant(-0.1) and again.margin == proof.margin
    assert verify(model, ones()[0], again).valid


def under(infill: str, **parameters) -> dict:
    """The field `shown` with an infill."""
    return {"shown": [{"infill": infill, "parameters": parameters, "retention": [[[10.0] * 2] * 2] * 2}]}


def changed(proof, digest: bool = True, **fields) -> str:
    """The text with fields replaced; with a digest that fits, as a forger would write it."""
    content = json.loads(proof_json(proof)) | fields
    content.pop("digest")
    return json.dumps(content | {"digest": _digest(content) if digest else "0" * 16})


HOSTILE = [
    ({"kind": "maybe"}, "masks with the keys D"),
    ({"labels": [0]}, "labels a list of 2, got 1 items"),
    ({"labels": [0, -1]}, "labels an integer in"),
    ({"labels": [1, 1]}, "two different classes"),
    ({"labels": [True, 1]}, "labels an integer in"),
    ({"delta": 40}, r"in \(50, 100\)"),
    ({"delta": "80"}, "delta a number, got str"),
    ({"shape": [10**6, 10**6]}, "shape of at most 16777216 pixels"),
    ({"shape": [6, 7]}, "masks.U1 runs of 42 pixels in all, got 36"),
    ({"masks": {"U1": [36], "U2": [-5, 41]}}, "masks.U2 an integer in"),
    ({"masks": {"U1": [36], "U2": [36] * 99}}, "masks.U2 a list of at most 37, got 99 items"),
    ({"masks": {"U1": [36], "U2": [36], "U3": [36]}}, "masks with the keys U1, U2, got also 'U3'"),
    ({"masks": {"U1": 36, "U2": [36]}}, "masks.U1 a list of at most 37, got int"),
    ({"shown": []}, "at least one infill"),
    ({"shown": [{}] * 9}, "shown a list of at most 8, got 9 items"),
    ({"shown": [{"infill": "os.system", "parameters": {}, "retention": []}]}, "shown.infill one of blur"),
    ({"shown": [{"infill": "constant", "parameters": {"draws": 3}, "retention": []}]}, "its fields to make a proof"),
    ({"clean": [[1, 2], [3]]}, "clean a list of 2, got 1 items"),
    ({"sample_id": 2**60}, "sample_id an integer in"),
    ({"model": {"weights": 3}}, "model.weights text of at most 200 characters"),
    ({"model": []}, "model.model text"),
    ({"image": "x" * 201}, "image text of at most 200 characters"),
    ({"score": "loss"}, "'probability', 'logit', 'both'"),
    (under("blur", sigma=1e9), r"shown.parameters.sigma in \[-6, 6\], got 1000000000"),
    (under("blur", sigma=10**400), r"shown.parameters.sigma in \[-6, 6\], got 1000"),
    (under("blur", sigma=[1.0] * 2000), "shown.parameters.sigma of at most 1024 numbers, got 2000"),
    (under("blur", sigma=-1.0), "its fields to make a proof, got ValueError: Blur: expected sigma >= 0"),
    (under("constant", value=1e7), r"shown.parameters.value in \[-1e\+06, 1e\+06\]"),
    (under("constant", value=[[0.0]]), "shown.parameters.value made of numbers, got list"),
    (under("constant", value=[0.0] * 2000), "shown.parameters.value of at most 1024 numbers"),
    (under("noisy_linear", tolerance=1e-12), "shown.parameters.tolerance >= 1e-06, got 1e-12"),
    (under("harmonic", tolerance=0), "shown.parameters.tolerance >= 1e-06, got 0"),
    (under("shuffle", seed=2**70), "shown.parameters.seed in"),
    (under("shuffle", seed=0, draws=10**6), "shown.parameters.draws <= 16, got 1000000"),
    ({"delta": 10**400}, "its fields to make a proof, got OverflowError"),
    ({"clean": [[10**400, 1.0], [1.0, 1.0]]}, "its fields to make a proof, got OverflowError"),
    ({"extra": 1}, "the proof with the keys .* got also 'extra'"),
    ({"version": 1}, "format and version"),
    ({"area_limit": 0}, "area_limit > 0"),
    ({"area_limit": 1.5}, r"area_limit in \(0, 1\]"),
    ({"area_limit": None}, "area_limit a number, got NoneType"),
]


@pytest.mark.parametrize(("fields", "text"), HOSTILE, ids=[str(next(iter(fields.items())))[:40] for fields, _ in HOSTILE])
def test_hostile_fields_are_refused(distinct, fields, text):
    with pytest.raises(ValueError, match=f"read_proof: expected .*{text}"):
        read_proof(changed(distinct[1], **fields))


def test_hostile_text_is_refused(distinct, tmp_path):
    good = proof_json(distinct[1])
    for text, said in (
        ("{", "the text to be JSON"),
        ("{}", "the proof with the keys"),
        ('{"a": ' * 50_000, "the text to be JSON"),
        ('{"a": 1, "a": 2}', "each key once"),
        ('{"a": NaN}', "without NaN and infinities"),
        ('{"a": ' + "9" * 9999 + "}", "the text to be JSON"),
        ("{" + " " * LARGEST, f"at most {LARGEST} characters"),
        (good.replace('"delta": 80.0', '"delta": 70.0'), "the file was changed"),
        (changed(distinct[1], digest=False), "the file was changed"),
    ):
        with pytest.raises(ValueError, match=f"read_proof: expected .*{said}"):
            read_proof(text)
    for content, said in (
        (b"\x80\x04K\x01.", "UTF-8 text"),
        (b" " * (LARGEST + 1), f"at most {LARGEST} bytes"),
        (b"3", "an object"),
    ):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(ValueError, match=f"read_proof: expected .*{said}"):
            read_proof(tmp_path / "bad.json")


def test_nesting_that_is_just_not_too_deep_to_read_is_refused_in_words(distinct):
    """Writing it again, for the digest, takes a few frames more than reading it."""
    good = proof_json(distinct[1])

    def readable(depth: int) -> bool:
        try:
            return bool(json.loads("[" * depth + "]" * depth)) or True
        except RecursionError:
            return False

    too_deep = bisect.bisect_left(range(1 << 18), True, key=lambda depth: not readable(depth + 1)) + 1
    for depth in range(too_deep - 60, too_deep + 3):
        with pytest.raises(ValueError, match="read_proof: expected"):
            read_proof(good.replace('"model": {', '"model": {"deep": ' + "[" * depth + "]" * depth + ", "))


def test_infills_that_numbers_describe(distinct):
    _, proof = distinct
    for infill in (Blur(2.0), GaussianNoise((0.0, 1.0), 1.0, 2**40, 4), Harmonic(1e-4), NoisyLinear([0.01, 0.02, 0.03], 2**62)):
        assert read_proof(proof_json(replace(proof, shown=(replace(proof.shown[0], infill=infill),)))).shown[0].infill == infill
    reference_images = replace(proof.shown[0], infill=OtherImage(torch.zeros(2, 1, 6, 6), seed=0))
    with pytest.raises(ValueError, match="proof_json: expected the proof's infill to be one of blur, .* got other_image"):
        proof_json(replace(proof, shown=(reference_images,)))
    for infill, said in ((Blur(7.0), r"sigma in \[-6, 6\], got 7"), (GaussianNoise(0.0, 1.0, 0, 17), "draws <= 16, got 17")):
        with pytest.raises(ValueError, match=f"proof_json: expected shown.parameters.{said}"):
            proof_json(replace(proof, shown=(replace(proof.shown[0], infill=infill),)))


@pytest.mark.parametrize("infill", [Harmonic(), NoisyLinear(0.01, seed=3)])
def test_a_proof_under_an_infill_that_looks_at_the_pixels_around(infill):
    """Cell 1 is bright in a dark image, so what is around fills it with dark: found, written, read and checked."""
    model, image = planted(4, APART), torch.zeros(1, 1, 6, 6)
    image[..., :2, 2:4] = image[..., 2:4, 4:] = 1.0
    image += 0.001 * torch.arange(36.0).view(6, 6)
    proof = PairFinder(model, infill, CELLS, attribution=model.attribution)(image, PAIR)[0][0].proofs[0]
    again = read_proof(proof_json(proof))
    assert again.shown[0].infill == infill and verify(model, image[0], again).valid


def test_a_retention_without_a_meaning_is_null(distinct):
    _, proof = distinct
    retention = proof.shown[0].retention.clone()
    retention[0, 0, 1] = math.nan
    again = read_proof(proof_json(replace(proof, shown=(replace(proof.shown[0], retention=retention),))))
    assert again.shown[0].retention[0, 0, 1].isnan() and again.shown[0].retention[0, 0, 0] == retention[0, 0, 0]
