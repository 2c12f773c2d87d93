"""Things, then stuff: against cases worked out by hand."""

from __future__ import annotations

import torch

from featalign.models.panoptic_merging import Merging, add_stuff, merge, paint_things


def strips(*spans: tuple[int, int], width: int = 8) -> torch.Tensor:
    """Masks (N, 1, width) that cover these columns."""
    masks = torch.zeros(len(spans), 1, width, dtype=torch.bool)
    for mask, (start, stop) in zip(masks, spans, strict=True):
        mask[0, start:stop] = True
    return masks


def test_the_surer_object_is_in_front():
    found = paint_things(strips((0, 4), (2, 8)), torch.tensor([5, 3]), torch.tensor([0.6, 0.9]), overlap=0.5)
    assert found.segments.tolist() == [[2, 2, 1, 1, 1, 1, 1, 1]]
    assert found.labels.tolist() == [3, 5]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.6]))


def test_an_object_that_is_mostly_hidden_is_left_out():
    scores = torch.tensor([0.9, 0.8, 0.7])
    hidden = strips((0, 4), (1, 6), (1, 7))  # of the second 3/5 are taken, of the third 3/6
    found = paint_things(hidden, torch.arange(3), scores, overlap=0.5)
    assert found.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0]] and found.labels.tolist() == [0, 2]
    found = paint_things(hidden, torch.arange(3), scores, overlap=0.6)
    assert found.segments.tolist() == [[1, 1, 1, 1, 2, 2, 0, 0]] and found.labels.tolist() == [0, 1]


def test_objects_without_pixels_or_with_none_left_are_no_segments():
    masks = strips((0, 0), (2, 4), (2, 4))
    found = paint_things(masks, torch.arange(3), torch.tensor([0.9, 0.8, 0.7]), overlap=1.0)
    assert found.labels.tolist() == [1]
    nothing = paint_things(masks[:0], torch.arange(0), torch.zeros(0), overlap=0.5)
    assert nothing.segments.sum() == 0 and len(nothing.labels) == len(nothing.scores) == 0


def test_equal_scores_keep_their_order():
    found = paint_things(strips((0, 4), (2, 6)), torch.tensor([1, 2]), torch.tensor([0.5, 0.5]), overlap=0.5)
    assert found.segments.tolist() == [[1, 1, 1, 1, 2, 2, 0, 0]]


def test_stuff_fills_what_is_left_where_it_is_large_enough():
    things = paint_things(strips((0, 2)), torch.tensor([0]), torch.tensor([0.9]), overlap=0.5)
    classes = torch.tensor([[7, 7, 7, 4, 4, 4, -1, 7]])
    certainty = torch.tensor([[0.1, 0.1, 0.5, 0.6, 0.7, 0.8, 0.2, 0.9]])
    found = add_stuff(things, classes, certainty, area=2)
    assert found.segments.tolist() == [[1, 1, 3, 2, 2, 2, 0, 3]]
    assert found.labels.tolist() == [0, 4, 7]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.7]))
    assert add_stuff(things, classes, certainty, area=3).segments.tolist() == [[1, 1, 0, 2, 2, 2, 0, 0]]
    assert things.segments.tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]]


def test_unsure_objects_are_stuff():
    masks, classes = strips((0, 4), (4, 8)), torch.full((1, 8), 2)
    scores = torch.tensor([0.5, 0.49])
    found = merge(masks, torch.tensor([0, 1]), scores, classes, torch.ones(1, 8), Merging())
    assert found.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]] and found.labels.tolist() == [0, 2]


def test_the_least_area_is_that_of_coco_at_its_usual_size():
    classes = torch.zeros(480, 640, dtype=torch.int64)
    classes[0] = -1
    classes.view(-1)[4096 + 640 :] = 1
    areas = [torch.zeros(0, 480, 640, dtype=torch.bool), torch.arange(0), torch.zeros(0)]
    assert merge(*areas, classes, torch.ones(480, 640), Merging()).labels.tolist() == [0, 1]
    classes.view(-1)[4096 + 639] = -1
    assert merge(*areas, classes, torch.ones(480, 640), Merging()).labels.tolist() == [1]
