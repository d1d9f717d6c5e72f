"""What evaluate reads: tensors, loaders, one map per class, methods, other channels and resolutions."""

from functools import partial

import pytest
import torch

from saliency_ext.attribution import Gradient
from saliency_ext.evaluation import TargetMaps, evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Completeness, Deletion, Fidelity, PointingGame, Soundness, Sparseness
from saliency_ext.perturbation import EqualFractions
from tests.helpers import conv_net, tensors

GREY = Constant(0.5)
DELETION = Deletion(GREY, EqualFractions(4))


make_model = partial(conv_net, 96)


def score(inputs, target, maps, metrics=(DELETION,), **options):
    return evaluate(make_model(), inputs, target, maps, list(metrics), **options)


def test_a_loader_gives_the_numbers_of_the_tensors_one_chunk_at_a_time():
    images, saliency, target = tensors(7, 3, 8, 6), tensors(7, 8, 6, seed=1), torch.arange(7) % 6
    whole = score(images, target, saliency, [DELETION, Fidelity(GREY, EqualFractions(4))])
    data = torch.utils.data.TensorDataset(images, target)
    for batch, chunk in ((3, 2), (2, 16), (7, 3)):
        loader = torch.utils.data.DataLoader(data, batch_size=batch)
        given = score(loader, "given", saliency, [DELETION, Fidelity(GREY, EqualFractions(4))], chunk=chunk)
        own = score(loader, target, saliency, [DELETION, Fidelity(GREY, EqualFractions(4))], chunk=chunk)
        for pair in whole:
            assert torch.equal(given[pair].values, whole[pair].values), (batch, chunk, pair)
            assert torch.equal(own[pair].values, whole[pair].values)
    mappings = [{"inputs": images[:4], "target": target[:4]}, {"inputs": images[4:], "target": target[4:]}]
    assert torch.equal(score(mappings, "given", saliency)["map", "deletion"].values, whole["map", "deletion"].values)


def test_a_loader_is_read_lazily():
    alive, most = 0, 0

    def batches():
        nonlocal alive, most
        for seed in range(6):
            alive += 1
            most = max(most, alive)
            yield tensors(2, 3, 8, 6, seed=seed)
            alive -= 1

    score(batches(), 0, lambda inputs, target: inputs[:, 0])
    assert most == 1


@pytest.mark.parametrize("image", ["inputs", "image", "images", "pixel_values"])
@pytest.mark.parametrize("label", ["target", "label", "labels"])
def test_batches_that_are_mappings(image, label):
    images, saliency, target = tensors(3, 3, 8, 6), tensors(3, 8, 6), torch.tensor([0, 1, 2])
    loader = [{image: images[at : at + 2], label: target[at : at + 2]} for at in (0, 2)]
    result = score(loader, "given", saliency)["map", "deletion"].values
    torch.testing.assert_close(result, score(images, target, saliency)["map", "deletion"].values)


def test_what_a_loader_may_not_give():
    images, saliency = tensors(2, 3, 8, 6), tensors(2, 8, 6)
    with pytest.raises(ValueError, match="expected inputs batches with a target where target='given', got Tensor"):
        score([images], "given", saliency)
    with pytest.raises(ValueError, match="expected target class indices where inputs are a tensor, got 'given'"):
        score(images, "given", saliency)
    with pytest.raises(TypeError, match="expected inputs batches that are a tensor, .*, got int"):
        score([3], 0, saliency)
    with pytest.raises(TypeError, match="expected inputs to be a tensor or an iterable of batches, got str"):
        score("images", 0, saliency)
    with pytest.raises(ValueError, match=r"maps\['map'\] with one .* 4 or more, got 2; there are more images"):
        score([images, images], 0, saliency)
    with pytest.raises(ValueError, match=r"maps\['map'\] with one .* are 2, got 5; there are fewer images than maps\['map'\]"):
        score([images], 0, tensors(5, 8, 6))
    with pytest.raises(ValueError, match="expected target with one .* are 2, got 3; there are fewer images"):
        score([images], [0, 1, 1], saliency)
    with pytest.raises(ValueError, match="expected inputs with at least one image, got a loader that yields none"):
        score([], 0, saliency)
    with pytest.raises(TypeError, match="got ndarray; convert it with torch.as_tensor"):
        score(images.numpy(), 0, saliency)
    with pytest.raises(TypeError, match="got list; convert arrays with torch.as_tensor"):
        score([[images.numpy(), 0]], 0, saliency)
    with pytest.raises(TypeError, match=r"one of the keys .*'pixel_values'.*, got a mapping with \['x'\]"):
        score([{"x": images}], 0, saliency)
    with pytest.raises(ValueError, match=r"a list of images: torch.stack"):
        score(list(images), 0, saliency)
    with pytest.raises(ValueError, match=r"expected target in \[0, 6\), got 9 at index 3"):
        score([images, images], torch.tensor([0, 1, 2, 9]), lambda inputs, target: inputs[:, 0])


def test_channels_and_resolution_are_read_only_as_stated():
    images, maps = tensors(3, 3, 8, 6), tensors(3, 3, 8, 6, seed=1) - 0.5
    for channels, reduced in (("sum", maps.sum(1)), ("abs_sum", maps.abs().sum(1)), ("max_abs", maps.abs().amax(1))):
        expected = score(images, 0, reduced)["map", "deletion"].values
        assert torch.equal(score(images, 0, maps, channels=channels)["map", "deletion"].values, expected)
    single = score(images, 0, maps[:, :1])["map", "deletion"].values
    assert torch.equal(single, score(images, 0, maps[:, 0])["map", "deletion"].values)
    small = tensors(3, 4, 3)
    enlarged = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = score(images, 0, enlarged)["map", "deletion"].values
    assert torch.equal(score(images, 0, small, resample="nearest")["map", "deletion"].values, expected)
    smooth = torch.nn.functional.interpolate(small[:, None], (8, 6), mode="bilinear", align_corners=False)[:, 0]
    expected = score(images, 0, smooth)["map", "deletion"].values
    assert torch.equal(score(images, 0, small[:, None], resample="bilinear")["map", "deletion"].values, expected)
    with pytest.raises(ValueError, match="expected channels to be one of 'sum'"):
        score(images, 0, maps, channels="mean")
    with pytest.raises(ValueError, match="expected resample to be one of 'nearest'"):
        score(images, 0, small, resample="cubic")


def test_a_method_is_asked_chunk_by_chunk_and_gives_what_its_maps_give():
    model, images, target = make_model(), tensors(5, 3, 8, 6), torch.arange(5)
    method = Gradient(model, channels="abs_sum")
    sizes = []

    def plain(inputs, target):
        sizes.append(len(inputs))
        return method(inputs, target)

    made = evaluate(model, images, target, {"method": method, "plain": plain}, [DELETION], chunk=2)
    given = evaluate(model, images, target, method(images, target), [DELETION])
    assert sizes == [2, 2, 1]
    for name in ("method", "plain"):
        assert torch.equal(made[name, "deletion"].values, given["map", "deletion"].values)


def test_target_maps_serve_the_target_and_all_labels():
    model, images = make_model(), tensors(4, 3, 8, 6)
    labels, target = torch.tensor([1, 4, 2]), torch.tensor([4, 1, 2, 1])
    method = Gradient(model, channels="abs_sum")
    maps = method(images, labels.expand(4, -1))
    sound = [Soundness(GREY, EqualFractions(4), labels=(1, 4, 2)), Completeness(GREY, EqualFractions(4), labels=(1, 4, 2))]
    results = evaluate(model, images, target, {"maps": TargetMaps(maps, labels), "method": method}, [DELETION, *sound], chunk=3)
    for metric in ("deletion", "soundness", "completeness"):
        assert torch.equal(results["maps", metric].values, results["method", metric].values), metric
        assert results["maps", metric].valid.all()
    own = evaluate(model, images, target, {"maps": TargetMaps(maps, labels.expand(4, -1))}, sound[:1])
    assert torch.equal(own["maps", "soundness"].values, results["maps", "soundness"].values)
    assert not results["maps", "soundness"].parameters["class_blind"]
    plain = evaluate(model, images, target, {"plain": maps[:, 0]}, sound[:1])
    assert plain["plain", "soundness"].parameters["class_blind"]


def test_target_maps_are_checked():
    images, maps = tensors(2, 3, 8, 6), tensors(2, 2, 8, 6)
    with pytest.raises(ValueError, match=r"expected maps\['m'\] to hold a map for class\(es\) \[3\], got labels \[0, 1\]"):
        score(images, 3, {"m": TargetMaps(maps, torch.tensor([0, 1]))})
    with pytest.raises(ValueError, match=r"maps\['m'\].labels of shape \(L,\) = \(2,\), got \(3,\)"):
        score(images, 0, {"m": TargetMaps(maps, torch.tensor([0, 1, 2]))})
    with pytest.raises(ValueError, match=r"maps\['m'\].labels to be distinct"):
        score(images, 0, {"m": TargetMaps(maps, torch.tensor([0, 0]))})
    with pytest.raises(TypeError, match=r"maps\['m'\].labels of dtype int64"):
        score(images, 0, {"m": TargetMaps(maps, torch.tensor([0.0, 1.0]))})
    with pytest.raises(TypeError, match=r"expected maps\['m'\] to be a tensor, TargetMaps, or a method, got str"):
        score(images, 0, {"m": "gradcam"})


def test_metrics_of_the_map_alone_stand_beside_those_with_probes():
    images, saliency = tensors(4, 3, 8, 6), tensors(4, 8, 6, seed=1)
    truth = torch.zeros(4, 8, 6, dtype=torch.bool)
    truth[:, 2:5, 1:4] = True
    results = score(images, 0, saliency, [DELETION, PointingGame(), Sparseness()], truth=truth, chunk=3)
    assert torch.equal(results["map", "pointing_game"].values, PointingGame().score(saliency, truth).double())
    assert torch.equal(results["map", "sparseness"].values, Sparseness().score(saliency).double())
    with pytest.raises(ValueError, match=r"expected truth \(N, H, W\) bool for metric 'pointing_game', got None"):
        score(images, 0, saliency, [PointingGame()])
    with pytest.raises(TypeError, match="expected truth of dtype bool"):
        score(images, 0, saliency, [PointingGame()], truth=truth.float())


def test_several_classes_per_image_are_for_label_sets():
    with pytest.raises(ValueError, match="expected target one class per image, got 'top-2'"):
        score(tensors(2, 3, 8, 6), "top-2", tensors(2, 8, 6))
