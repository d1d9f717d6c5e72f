"""Scenes: the same bits in any batch, halves that share nothing, and a truth that agrees with the pixels."""

import builtins
from dataclasses import fields, replace

import pytest
import torch

from saliency_ext.testbed import pictures, scenes
from saliency_ext.testbed._drawing import blend, extent, ink_colour, opacity, place, tone
from saliency_ext.testbed._placement import Distance, gap_between, overlap_share
from saliency_ext.testbed.scene_config import SceneConfig
from saliency_ext.testbed.scenes import CLASSES, ENTITY_OF_CLASS, MEAN, STD, Scenes, make_scenes
from saliency_ext.testbed.truth import box_masks, other_region, own_region

COUNT = 400


@pytest.fixture(scope="module", params=["train", "test"])
def drawn(request):
    return request.param, make_scenes(request.param, COUNT)


@pytest.fixture(scope="module")
def many():
    return make_scenes("train", 1500)


def same(one, two):
    return all(torch.equal(getattr(one, field.name), getattr(two, field.name)) for field in fields(Scenes))


def test_a_scene_depends_on_seed_split_and_index_alone(drawn):
    split, whole = drawn
    order = torch.tensor([399, 3, 64, 3, 0])
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert same(make_scenes(split, order), whole[order])
    assert torch.equal(torch.random.get_rng_state(), before)
    for index in (0, 63, 64, 127):
        assert same(make_scenes(split, torch.tensor([index])), whole[torch.tensor([index])])
    assert not same(make_scenes(split, order, seed=1), whole[order])
    assert not same(make_scenes("test" if split == "train" else "train", order), whole[order])


def test_shapes_and_slicing(drawn):
    _, whole = drawn
    assert whole.images.shape == (COUNT, 3, 64, 64) and whole.images.dtype == torch.uint8 and len(whole) == COUNT
    assert whole.ink.shape == (COUNT, 2, 64, 64) and whole.boxes.shape == (COUNT, 2, 4)
    assert len(whole[whole.two_objects]) == int(whole.two_objects.sum()) and len(whole[3:7]) == 4
    empty = make_scenes("test", 0)
    assert empty.images.shape == (0, 3, 64, 64) and empty.inputs.shape == (0, 3, 64, 64) and len(empty) == 0


def test_halves_share_no_pixel_and_no_digit(many):
    train, test = many, make_scenes("test", 500)
    used = [set(part.handwriting.flatten().tolist()) - {-1} for part in (train, test)]
    assert max(used[0]) < 1347 <= min(used[1]) and len(used[1]) > 350
    inks = pictures.digits()[0]
    assert not {tuple(i.flatten().tolist()) for i in inks[:1347]} & {tuple(i.flatten().tolist()) for i in inks[1347:]}
    for number, photograph in enumerate(pictures.photographs()):
        lefts = [part.crops[part.crops[:, 0] == number, 2] for part in (train, test)]
        border = int(0.7 * photograph.shape[2])
        assert len(lefts[0]) and len(lefts[1])  # all 14 are used in both halves
        assert int(lefts[0].max()) + 64 <= border <= int(lefts[1].min())
        assert int(lefts[1].max()) + 64 <= photograph.shape[2]


def test_background_is_the_stated_crop_after_the_tone_curve(drawn):
    _, whole = drawn
    for index in range(0, COUNT, 37):
        picture, top, left = whole.crops[index].tolist()
        crop = pictures.photographs()[picture][:, top : top + 64, left : left + 64]
        shown = whole.backgrounds[index]
        assert int(shown.min()) >= 102 - 100 and int(shown.max()) <= 153 + 100
        order = crop.flatten().argsort(stable=True)  # a tone curve keeps the order of the grey levels
        assert bool((shown.flatten().int()[order].diff() >= 0).all())


def test_tone_curve_by_hand():
    crops = torch.tensor([0, 100, 200, 100], dtype=torch.uint8).view(1, 1, 2, 2)  # mean 100: distances -100, 0, 100, 0
    assert tone(crops, torch.tensor([120])).flatten().tolist() == [70, 120, 170, 120]  # 100 / (1 + 100 / 100) = 50
    assert tone(crops.repeat(2, 1, 1, 1), torch.tensor([120, 130]))[1].flatten().tolist() == [80, 130, 180, 130]


def test_every_changed_pixel_is_ink_and_ink_is_in_its_tight_box(drawn):
    _, whole = drawn
    changed = (whole.images != whole.backgrounds).any(1)
    ink = whole.ink.any(1) | whole.distractor_ink
    assert not bool((changed & ~ink).any())
    assert (changed & ink).sum() / ink.sum() > 0.97
    assert torch.equal(extent(whole.ink), whole.boxes) and torch.equal(extent(whole.distractor_ink), whole.distractor_box)
    assert not bool((whole.ink & ~box_masks(whole.boxes)).any())
    assert torch.equal((whole.boxes[:, 1].sum(1) > 0), whole.two_objects)
    heights, widths = (whole.boxes[:, 0, 2:] - whole.boxes[:, 0, :2]).unbind(1)
    assert int(heights.min()) >= 15 and int(heights.max()) <= 30 and int(widths.max()) <= 30


def test_boxes_keep_their_distance(drawn):
    _, whole = drawn
    two, distractor = whole.two_objects, whole.distractor_box.sum(1) > 0
    assert int(gap_between(whole.boxes[two, 0], whole.boxes[two, 1]).min()) == 4  # reached, and never less
    for j, present in ((0, distractor), (1, distractor & two)):
        assert int(gap_between(whole.boxes[present, j], whole.distractor_box[present]).min()) >= 4


def test_gap_and_overlap_by_hand():
    box = torch.tensor([[10, 10, 20, 20]])
    others = torch.tensor([[10, 20, 20, 30], [10, 23, 20, 30], [24, 22, 30, 30], [15, 15, 25, 25], [0, 5, 5, 6]])
    assert gap_between(box, others).tolist() == [0, 3, 4, -5, 5] == gap_between(others, box).tolist()
    assert overlap_share(box, others).tolist() == [0, 0, 0, 0.25, 0]


def test_shares_of_what_is_random(many):
    two, distractor = many.two_objects, many.distractor_box.sum(1) > 0

    def share(hits, expected):
        assert abs(hits.double().mean() - expected) < 4 * (expected * (1 - expected) / len(hits)) ** 0.5

    share(two, 0.7), share(distractor, 0.8)
    share(many.polarity[:, 0] > 0, 0.5), share(many.polarity[two, 1] > 0, 0.5)
    share(many.polarity[two, 0] == many.polarity[two, 1], 0.5)
    for digit in range(10):
        share(many.entities[:, 0] == digit, 0.1), share(many.entities[two, 1] == digit, 0.1)
    assert not bool((many.entities[:, 0] == many.entities[:, 1]).any())
    entity = torch.tensor(ENTITY_OF_CLASS)[many.labels]
    assert bool(((entity == many.entities[:, 0]) | (entity == many.entities[:, 1])).all())
    share((entity == many.entities[:, 0])[two], 0.5), share((many.labels >= 10)[entity < 4], 0.5)
    pixels = many.images.double() / 255
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.tensor(MEAN).double(), atol=0.006, rtol=0)
    torch.testing.assert_close(pixels.transpose(0, 1).flatten(1).std(1), torch.tensor(STD).double(), atol=0.006, rtol=0)
    assert abs(many.inputs.mean()) < 0.04 and abs(many.inputs.std() - 1) < 0.04


def test_polarity_is_seen_in_the_pixels(drawn):
    _, whole = drawn
    change = whole.images.double().mean(1) - whole.backgrounds.double().mean(1)
    for j in range(2):
        present = whole.entities[:, j] >= 0
        ink = whole.ink[present, j]
        grey = (whole.backgrounds[present].double().mean(1) * box_masks(whole.boxes[present, j])).sum((1, 2))
        assert bool((grey > 0).all())
        seen = (change[present] * ink).sum((1, 2)) / ink.sum((1, 2))
        assert (seen.sign() == whole.polarity[present, j]).double().mean() > 0.99
        assert seen.abs().median() > 20


def test_distractor_has_the_ink_of_a_digit_in_another_order():
    glyphs, ids = pictures.digits()[0], torch.arange(30)
    seen = {}

    def spy(given, sides):
        seen["glyphs"] = given.view(-1, 3, 8, 8)
        return opacity(given, sides)

    original, scenes.opacity = scenes.opacity, spy
    try:
        drawn = make_scenes("test", ids)
    finally:
        scenes.opacity = original
    with_one = drawn.handwriting[:, 2] >= 0
    shuffled, source = seen["glyphs"][with_one, 2].flatten(1), glyphs[drawn.handwriting[with_one, 2]].flatten(1)
    assert torch.equal(shuffled.sort(1).values, source.sort(1).values) and not bool((shuffled == source).all(1).any())
    assert torch.equal(seen["glyphs"][:, 0], glyphs[drawn.handwriting[:, 0]])
    assert torch.equal(pictures.digits()[1][drawn.handwriting[:, 0]], drawn.entities[:, 0])


def test_drawing_by_hand():
    full = opacity(torch.full((1, 8, 8), 16), torch.tensor([20]))
    assert bool((full[0, :20, :20] == 255).all()) and full.sum() == 400 * 255
    assert opacity(torch.ones(1, 8, 8, dtype=torch.int64), torch.tensor([20])).sum() == 0  # too faint to be ink
    moved = place(full, torch.tensor([60]), torch.tensor([-5]), 64)[0] > 0
    assert moved.sum() == 4 * 15 and bool(moved[60:, :15].all())
    canvas, alpha = torch.full((1, 3, 1, 1), 100.0), torch.full((1, 1, 1), 51.0)
    assert blend(canvas, alpha, torch.tensor([[200.0, 0.0, 102.0]])).flatten().tolist() == [120, 80, 100]
    mask = torch.zeros(2, 5, 6, dtype=torch.bool)
    mask[0, 1, 2] = mask[0, 3, 4] = True
    assert extent(mask).tolist() == [[1, 2, 4, 5], [0, 0, 0, 0]]


def test_ink_colour_has_its_contrast_or_all_the_room_there_is():
    grey, contrast = torch.tensor([100.0, 100.0, 240.0]).double(), torch.tensor([60.0, 60.0, 60.0]).double()
    tint = torch.tensor([[90.0, -90.0, 0.0]] * 3).double()
    colour = ink_colour(grey, contrast, torch.tensor([1, -1, 1]), tint)
    assert colour.mean(1).tolist() == [160, 40, 255] and colour.tolist() == [[250, 70, 160], [80, 0, 40], [255, 255, 255]]


def test_own_and_other_regions():
    whole = make_scenes("test", 100)
    whole = whole[whole.two_objects]
    first, second = whole.entities.unbind(1)
    for kind, masks in (("ink", whole.ink), ("box", box_masks(whole.boxes))):
        assert torch.equal(own_region(whole, first, kind), masks[:, 0])
        assert torch.equal(other_region(whole, first, kind), masks[:, 1]) and torch.equal(
            own_region(whole, second, kind), masks[:, 1]
        )
    twice = first < 4
    assert torch.equal(own_region(whole[twice], first[twice] + 10), whole[twice].ink[:, 0])  # the other name, the same pixels
    nothing = (first + 1 + ((first + 1) % 10 == second).long()) % 10
    absent = (nothing != first) & (nothing != second)
    assert not bool(own_region(whole[absent], nothing[absent]).any())
    assert len(CLASSES) == len(ENTITY_OF_CLASS) == 14
    with pytest.raises(ValueError, match=r"own_region: expected classes in \[0, 13\], got 14"):
        own_region(whole, first * 0 + 14)
    with pytest.raises(ValueError, match="expected kind to be one of 'ink', 'box', got 'area'"):
        own_region(whole, first, "area")


def test_bad_arguments_are_refused():
    for arguments, text in (
        (("val", 3), "make_scenes: expected split to be one of 'train', 'test', got 'val'"),
        (("test", -1), r"make_scenes: expected indices in \[0, 1099511627776\], got -1"),
        (("test", torch.tensor([1 << 40])), r"make_scenes: expected indices in \[0, 2\^40\)"),
        (("test", torch.zeros(2, 2, dtype=torch.int64)), r"make_scenes: expected indices of shape \(N,\), got \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=text):
            make_scenes(*arguments)
    with pytest.raises(TypeError, match="make_scenes: expected indices of dtype int64, got float32"):
        make_scenes("test", torch.zeros(2))
    with pytest.raises(TypeError, match="make_scenes: expected recipe to be a Recipe, got dict"):
        make_scenes("test", 1, scene_config={"objects": 1})
    base = SceneConfig(objects=2)
    for change, text in (
        ({"objects": 3}, "recipe.objects to be 1, 2 or None, got 3"),
        ({"digits": (1,)}, "recipe.digits to be at least 2 different digits"),
        ({"digits": (1, 10)}, "recipe.digits to be at least 2 different digits"),
        ({"sides": (20, 31)}, r"recipe.sides \(lowest, highest\) in \[8, 30\], got \(20, 31\)"),
        ({"contrast": (60, 20)}, "recipe.contrast"),
        ({"distance": Distance(gap=(60, 60))}, "recipe to leave room in 64 x 64 pixels, got sizes .*; use smaller objects"),
    ):
        with pytest.raises(ValueError, match="make_scenes: expected " + text):
            make_scenes("test", 2, scene_config=replace(base, **change))


def test_a_missing_package_or_picture_is_named_with_the_remedy(monkeypatch, tmp_path):
    detach_inference = builtins.__import__
    monkeypatch.setattr(pictures, "import_module", lambda name: detach_inference("no_such_package_" + name.split(".")[0]))
    pictures.photographs.cache_clear(), pictures.digits.cache_clear()
    try:
        with pytest.raises(ImportError, match="testbed: expected scikit-learn to be installed.*pip install scikit-learn"):
            make_scenes("test", 1)
        monkeypatch.undo()
        monkeypatch.setattr(pictures, "_folder", lambda package, *parts: tmp_path)
        with pytest.raises(FileNotFoundError, match=r"testbed: expected the picture .*brick.png, got no such file; reinstall"):
            pictures.photographs()
    finally:
        monkeypatch.undo()
        pictures.photographs.cache_clear(), pictures.digits.cache_clear()
