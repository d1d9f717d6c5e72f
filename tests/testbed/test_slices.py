"""Slices: each keeps what it says, and its truth about the pair agrees with entities, regions and models."""

import pytest
import torch

from saliency_ext.testbed._placement import gap_between, overlap_share
from saliency_ext.testbed.pictures import digits
from saliency_ext.testbed.scenes import ENTITY_OF_CLASS, make_scenes
from saliency_ext.testbed.slices import COARSE, RELATIONS, SLICES, GroupedNet, make_slice
from saliency_ext.testbed.truth import box_masks

COUNT = 200
ONE, TWO, PART, ABSENT = range(4)
OF_NAMES = ("easy", "close", "overlap", "same_digit", "low_contrast", "unequal", "noisy_synonym")


@pytest.fixture(scope="module")
def slices():
    return {name: make_slice(name, "test", COUNT) for name in SLICES}


def pair_boxes(part):
    return part.scenes.boxes[:, 0], part.scenes.boxes[:, 1]


def test_the_slices_are_those_listed():
    assert (*OF_NAMES, "coarse_fine", "upper_half") == SLICES and RELATIONS == ("one", "two", "part", "absent")
    with pytest.raises(ValueError, match="make_slice: expected name to be one of 'easy', .*got 'hard'"):
        make_slice("hard", "test", 1)


@pytest.mark.parametrize("name", SLICES)
def test_a_scene_and_its_pair_depend_on_their_index_alone(slices, name):
    order = torch.tensor([150, 7, 64])
    part, whole = make_slice(name, "test", order), slices[name]
    assert torch.equal(part.scenes.images, whole.scenes.images[order]) and torch.equal(part.relation, whole.relation[order])
    assert torch.equal(part.regions, whole.regions[order]) and len(whole.says) > 20 and whole.name == name
    if name != "upper_half":  # its columns count the scenes of the batch
        assert torch.equal(part.pair, whole.pair[order])
    assert not torch.equal(make_slice(name, "test", order, seed=1).scenes.images, part.scenes.images)
    assert make_slice(name, "train", 0).pair.shape == (0, 2)


@pytest.mark.parametrize("name", OF_NAMES)
def test_relation_follows_from_the_entities(slices, name):
    part = slices[name]
    entity = torch.tensor(ENTITY_OF_CLASS)[part.pair]
    there = (entity[:, :, None] == part.scenes.entities[:, None]).any(2)
    expected = torch.where(entity[:, 0] == entity[:, 1], ONE, torch.where(there.all(1), TWO, ABSENT))
    assert torch.equal(part.relation, expected) and bool(there[:, 0].all())
    assert not bool((part.pair[:, 0] == part.pair[:, 1]).any())
    assert torch.equal(part.regions.flatten(2).any(2), there)
    one, two = part.relation == ONE, part.relation == TWO
    assert torch.equal(part.regions[one, 0], part.regions[one, 1])
    assert not bool((part.regions[two, 0] & part.regions[two, 1]).any())
    model = torch.nn.Identity()
    assert part.adapt(model) is model


@pytest.mark.parametrize("name", ["easy", "close", "overlap", "low_contrast", "unequal"])
def test_both_relations_and_both_orders_are_frequent(slices, name):
    part = slices[name]
    assert 0.35 < (part.relation == ONE).double().mean() < 0.65 and bool(part.scenes.two_objects.all())
    entity = torch.tensor(ENTITY_OF_CLASS)[part.pair]
    two = part.relation == TWO
    assert 0.35 < (entity[two, 0] == part.scenes.entities[two, 0]).double().mean() < 0.65
    assert 0.35 < (part.pair[~two, 0] >= 10).double().mean() < 0.65


def test_distances(slices):
    assert int(gap_between(*pair_boxes(slices["easy"])).min()) >= 4
    gap = gap_between(*pair_boxes(slices["close"]))
    assert sorted(set(gap.tolist())) == [0, 1, 2, 3]
    share = overlap_share(*pair_boxes(slices["overlap"]))
    assert share.min() >= 0.1 and share.max() <= 0.4 and share.std() > 0.05


def test_overlap_hides_ink_of_the_first_object_only(slices):
    scenes = slices["overlap"].scenes
    assert not bool((scenes.ink[:, 0] & scenes.ink[:, 1]).any())
    hidden = 0
    for j in range(2):
        rows = scenes.ink[:, j].any(2)
        full = rows.byte().argmax(1) == scenes.boxes[:, j, 0]
        hidden += int((~full).sum()) if j == 0 else 0
        assert j == 0 or bool(full.all())
        assert not bool((scenes.ink[:, j] & ~box_masks(scenes.boxes[:, j])).any())
    assert hidden > 0


def test_same_digit_is_one_entity_in_two_handwritings(slices):
    part = slices["same_digit"]
    first, second, _ = part.scenes.handwriting.unbind(1)
    assert bool((first != second).all()) and torch.equal(digits()[1][first], digits()[1][second])
    assert set(part.relation.tolist()) == {ONE} and torch.equal(part.regions[:, 0], part.scenes.ink.any(1))
    assert set(part.scenes.entities.flatten().tolist()) == {0, 1, 2, 3}


def test_low_contrast_is_lower_and_unequal_is_unequal(slices):
    def change(name):
        scenes = slices[name].scenes
        return (scenes.images.double() - scenes.backgrounds.double()).abs().amax(1)[scenes.ink.any(1)].quantile(0.9)

    assert change("low_contrast") < 0.6 * change("easy")
    large, small = pair_boxes(slices["unequal"])
    assert bool(((large[:, 2] - large[:, 0]) > 1.5 * (small[:, 2] - small[:, 0])).all())


def test_noisy_synonym_labels(slices):
    part = slices["noisy_synonym"]
    assert torch.equal(part.scenes.labels, part.pair[:, 1])
    absent = part.relation == ABSENT
    assert abs(absent.double().mean() - 0.25) < 4 * (0.25 * 0.75 / COUNT) ** 0.5
    assert bool(((part.pair[:, 0] >= 10) != (part.pair[:, 1] >= 10)).all())  # a numeral and a word, in either order
    assert 0.3 < (part.pair[:, 0] >= 10).double().mean() < 0.7


def test_coarse_label_is_one_where_it_fits_one_object_and_holds_both_where_it_fits_both(slices):
    part = slices["coarse_fine"]
    scenes, fine = part.scenes, part.pair[:, 0]
    odd = part.pair[:, 1] == 14
    assert torch.equal(fine % 2 == 1, odd) and set(part.pair[:, 1].tolist()) == {14, 15}
    both = scenes.entities[:, 0] % 2 == scenes.entities[:, 1] % 2
    assert torch.equal(part.relation, torch.where(both, PART, ONE)) and 0.3 < both.double().mean() < 0.6
    assert torch.equal(part.regions[both, 1], scenes.ink[both].any(1))
    assert torch.equal(part.regions[~both, 1], part.regions[~both, 0])
    assert not bool((part.regions[:, 0] & ~part.regions[:, 1]).any())


def test_coarse_columns_add_the_probabilities_of_their_members():
    logits = torch.randn(5, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = GroupedNet(lambda inputs: logits)
    grouped = net(torch.zeros(5, 3, 64, 64))
    assert torch.equal(grouped[:, :14], logits) and grouped.shape == (5, 16)
    p = logits.softmax(1)
    for column, (name, members) in enumerate(COARSE.items(), 14):
        assert all(ENTITY_OF_CLASS[member] % 2 == (name == "odd") for member in members)
        share = (grouped[:, column] - logits.logsumexp(1)).exp()
        torch.testing.assert_close(share, p[:, list(members)].sum(1))
    assert sorted(sum(COARSE.values(), ())) == list(range(14))


def test_upper_half_is_read_from_the_upper_half_alone(slices):
    part = slices["upper_half"]
    model, inputs = part.adapt(None), part.scenes.inputs
    upper, whole = part.regions[:, 0], part.regions[:, 1]
    assert not bool((upper & ~whole).any()) and set(part.relation.tolist()) == {PART}
    assert torch.equal(whole, box_masks(part.scenes.boxes[:, 0]))
    rows = torch.stack([region.any(2).sum(1) for region in (upper, whole)], 1)
    assert torch.equal(rows[:, 0], rows[:, 1] // 2) or bool(((rows[:, 1] - 2 * rows[:, 0]) <= 1).all())

    def scores(images):
        return model(images).gather(1, part.pair)

    torch.testing.assert_close(scores(inputs), torch.full((COUNT, 2), 10.0))
    torch.testing.assert_close(scores(inputs * whole[:, None]), torch.full((COUNT, 2), 10.0))
    without = scores(inputs * ~upper[:, None])
    torch.testing.assert_close(without[:, 0], torch.zeros(COUNT), atol=1e-5, rtol=0)
    assert bool((without[:, 1] > 0.5).all()) and bool((without[:, 1] < 9.5).all())


def test_easy_is_the_ordinary_scene_with_two_objects(slices):
    detach_inference = make_scenes("test", COUNT)
    two = detach_inference.two_objects
    assert torch.equal(detach_inference.images[two], slices["easy"].scenes.images[two])
