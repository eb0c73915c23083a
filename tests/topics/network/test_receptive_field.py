"""Chapter 05's explorer and exercises: receptive fields against gradients, cells against anchors, typed mistakes."""

import math

import pytest
import torch
import torch.nn.functional as F

from course.kit.checking import RIGHT, WRONG
from course.network import check, figures
from course.network import receptive_field as fields
from course.network.receptive_field import FieldPointer, receptive_field
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.box_ops import to_cxcywh
from ssdlib.model import SSD300, count_parameters

ANCHORS = default_boxes()


def averaging(x, kernel_size, stride, padding=0, ceil_mode=False):
    """In place of a max pool: every cell of the window lets the gradient through."""
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


def touched(name: str, strided_stem: bool, head: bool, side: int) -> tuple[torch.Tensor, int]:
    """Corners of the pixels that have a gradient to a middle cell of a layer, when all weights are positive; and that
    cell's row and column."""
    network = SSD300(width=1 / 64, strided_stem=strided_stem)
    with torch.no_grad():
        for module in (*network.body.modules(), *network.conf.modules()):
            if isinstance(module, torch.nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
    seen = {}
    network.body[name].register_forward_hook(lambda _, __, x: seen.update(map=x))
    image = torch.ones(1, 3, side, side, requires_grad=True)
    network.feature_maps(image)
    x = network.conf[name](seen["map"]) if head else seen["map"]
    cell = x.shape[-1] // 2
    x[0, :, cell, cell].sum().backward()
    lines, columns = (image.grad[0].sum(dim=0) > 0).nonzero().unbind(dim=1)
    corners = [columns.min(), lines.min(), columns.max() + 1, lines.max() + 1]
    return torch.stack(corners), cell


@pytest.mark.parametrize(
    "name, strided_stem, head, side",
    [
        ("conv2_2", False, False, 304),
        ("conv3_3", True, False, 304),
        ("conv4_3", False, False, 304),
        ("conv4_3", True, True, 304),
        ("fc7", False, False, 640),
        ("fc7", True, True, 640),
        ("conv6_2", True, False, 640),
        ("conv7_2", True, True, 960),
    ],
)
def test_the_field_is_where_the_gradient_of_positive_weights_lies(
    name, strided_stem, head, side, monkeypatch
):
    monkeypatch.setattr(F, "max_pool2d", averaging)
    found, cell = touched(name, strided_stem, head, side)
    assert found[0] > 0 and found[2] < side, "the border hides a part of it"
    assert receptive_field(name, strided_stem, head).box(cell, cell).tolist() == found.tolist()


def test_the_numbers_by_hand():
    assert [receptive_field(name).size for name in ("conv1_1", "conv1_2", "pool1", "conv2_1")] == [
        3,
        5,
        6,
        10,
    ]
    assert [receptive_field(name).size for name in SSD300_ANCHORS.sources] == [92, 420, 452, 516, 644, 772]
    assert [receptive_field(n, head=True).size for n in SSD300_ANCHORS.sources] == [
        108,
        452,
        516,
        644,
        772,
        900,
    ]
    assert receptive_field("pool3").stride == 8 and receptive_field("pool5").stride == 16


def test_a_strided_stem_sees_one_pixel_less_and_half_a_pixel_earlier():
    for name in SSD300_ANCHORS.sources:
        whole, stem = receptive_field(name), receptive_field(name, strided_stem=True)
        assert (whole.size - stem.size, whole.first - stem.first, whole.stride - stem.stride) == (1, 0.5, 0)


def test_an_unknown_layer_is_met_with_a_sentence():
    with pytest.raises(ValueError, match="'conv10' is no layer here; wanted one of conv1_1"):
        receptive_field("conv10")
    with pytest.raises(ValueError, match="'conv1_2'"):
        receptive_field("conv1_2", strided_stem=True)


def test_every_anchor_lies_inside_what_its_answer_sees():
    for level, name in enumerate(SSD300_ANCHORS.sources):
        field = receptive_field(name, head=True)
        for line in range(SSD300_ANCHORS.feature_maps[level]):
            for column in range(SSD300_ANCHORS.feature_maps[level]):
                box, own = field.box(line, column), ANCHORS[fields.anchors_of(level, line, column)]
                assert (own[:, :2] >= box[:2]).all() and (own[:, 2:] <= box[2:]).all()


def test_the_cells_share_out_the_8732_anchors_in_their_order():
    places = [
        k
        for level, side in enumerate(SSD300_ANCHORS.feature_maps)
        for line in range(side)
        for column in range(side)
        for k in range(8732)[fields.anchors_of(level, line, column)]
    ]
    assert places == list(range(8732))


def test_the_cell_at_a_point_is_the_one_whose_anchors_are_nearest():
    generator = torch.Generator().manual_seed(0)
    centres = to_cxcywh(ANCHORS)[:, :2]
    for level in range(6):
        start = sum(SSD300_ANCHORS.per_map[:level])
        mine = centres[start : start + SSD300_ANCHORS.per_map[level]]
        for x, y in (torch.rand(40, 2, generator=generator) * 300).tolist():
            nearest = start + int((mine - torch.tensor([x, y])).norm(dim=1).argmin())
            place = fields.anchors_of(level, *fields.cell_at(level, x, y))
            assert place.start <= nearest < place.stop
        assert fields.cell_at(level, -50, -1) == (0, 0)
        assert fields.cell_at(level, 900, 900) == (SSD300_ANCHORS.feature_maps[level] - 1,) * 2


def test_the_middle_that_holds_half_of_an_even_picture_has_half_its_area():
    even = torch.ones(300, 300)
    assert fields.middle(even, torch.tensor([0.0, 0, 300, 300])) == pytest.approx(300 / math.sqrt(2), abs=2)
    spot = torch.zeros(300, 300)
    spot[150, 150] = 1
    assert fields.middle(spot, torch.tensor([100.0, 100, 201, 201])) <= 1


def test_no_heat_at_all_makes_a_dark_picture_and_no_error():
    pixels = torch.full((300, 300, 3), 200, dtype=torch.uint8)
    assert fields.shaded(pixels, torch.zeros(300, 300)).max() == 90


# ---- the explorer


@pytest.fixture(scope="module")
def scene():
    return figures.scenes(26)[25]


@pytest.fixture
def explorer(scene):
    return FieldPointer(scene, level=1)


def test_it_starts_at_the_surest_answer_of_its_map(explorer):
    said = explorer.eye.probabilities[5776:7942, 1:]
    assert explorer.said[:, 1:].max() == said.max()
    assert repr(explorer).startswith("FieldPointer(19² map, cell (12, 13), sees 451 px")


def test_the_pointer_chooses_the_cell_and_the_words_are_that_cells_rows(explorer):
    explorer.board.pointer = [17.0, 33.0]
    assert explorer.cell == (2, 1)
    start = 5776 + 6 * (2 * 19 + 1)
    assert torch.equal(explorer.said, explorer.eye.logits.detach().softmax(dim=1)[start : start + 6])
    assert "row 2, column 1" in explorer.board.status
    blue, cell, green = explorer.board.scene["layers"][:3]
    assert cell["boxes"] == [16, 32, 32, 48]
    assert blue["boxes"] == explorer.field.tolist()
    assert torch.allclose(torch.tensor(green["boxes"]).reshape(-1, 4), ANCHORS[start : start + 6], atol=0.01)


def test_every_map_can_be_chosen_and_one_key_press_is_one_cell(explorer):
    for level, side in enumerate(SSD300_ANCHORS.feature_maps):
        explorer.map.value = level
        assert explorer.board.key_step == SSD300_ANCHORS.strides[level]
        assert f"{side}² map" in repr(explorer) and f"{side}² map" in explorer.board.status
        size = receptive_field(SSD300_ANCHORS.sources[level], strided_stem=True, head=True).size
        assert f"sees {size} x {size} px" in explorer.board.status


def test_the_heat_is_zero_outside_of_the_field_and_changes_the_picture(explorer):
    explorer.map.value = 0
    explorer.board.pointer = [180.0, 200.0]
    before = explorer.board.picture
    explorer.heated.value = True
    x1, y1, x2, y2 = (int(v) for v in explorer.field.tolist())
    assert explorer.heat[y1:y2, x1:x2].any() and explorer.board.picture != before
    outside = explorer.heat.clone()
    outside[y1:y2, x1:x2] = 0
    assert not outside.any()
    assert "half of the gradient" in "".join(explorer.summary())
    explorer.heated.value = False
    assert explorer.board.picture == before


def test_the_heat_is_what_a_small_change_of_a_pixel_does(explorer, scene):
    explorer.map.value = 0
    explorer.board.pointer = [180.0, 200.0]
    explorer.heated.value = True
    y, x = divmod(int(explorer.heat.argmax()), 300)
    place = fields.anchors_of(0, *explorer.cell)
    anchor, label = divmod(int(explorer.said[:, 1:].argmax()), 20)
    network = fields.pictures.recorded_network().double()
    slopes = []
    for channel in range(3):
        answers = []
        for step in (-1e-3, 1e-3):
            image = scene.image.double().clone()
            image[0, channel, y, x] += step
            logits = network(image).logits[0, place][anchor]
            answers.append(float((logits[label + 1] - logits[0]).detach()))
        slopes.append(abs(answers[1] - answers[0]) / 2e-3)
    assert float(explorer.heat[y, x]) == pytest.approx(sum(slopes), rel=0.05)


def test_the_still_picture_shows_the_scene(explorer):
    left = explorer.still().axes[0]
    frame = next(p for p in left.patches if p.get_width() == 300)
    assert left.images[0].get_zorder() >= frame.get_zorder()


# ---- what the chapter counts


def test_the_multiply_adds_are_those_of_the_openvino_model_zoo():
    # it lists 62.815 GFLOPs, two for each multiply-add, and counts pools and the rest too
    assert 2 * sum(step.multiply_adds for step in figures.trace()) / 1e9 == pytest.approx(62.815, rel=0.005)


def test_the_trace_knows_every_parameter_but_the_scale():
    for arguments in (dict(), dict(width=1 / 8, batch_norm=True, strided_stem=True)):
        network = SSD300(**arguments)
        scale = len(network.conv4_3_norm.weight)
        assert sum(s.parameters for s in figures.trace(**arguments)) + scale == count_parameters(network)


def test_objects_are_found_when_the_predictions_are_the_truth(scene):
    from ssdlib.matching import make_targets
    from ssdlib.records import Predictions

    targets = make_targets(scene.boxes[None], scene.labels[None], ANCHORS)
    right = Predictions(targets.offsets, 50 * F.one_hot(targets.labels, 21).float())
    count = len(scene.labels)
    assert figures.found(right, [scene]) == (count, count, count)
    nothing = Predictions(torch.zeros(1, 8732, 4), 50 * F.one_hot(torch.zeros(1, 8732).long(), 21).float())
    assert figures.found(nothing, [scene]) == (0, count, 0)


# ---- wrong answers, typed as learners type them


def says(exercise, answer) -> str:
    verdict = exercise(answer)
    assert verdict.state == WRONG
    return verdict.message


def test_a_side_that_is_rounded_by_round_is_told_the_case():
    def answer(side, kernel, stride, padding, dilation, up):
        return round((side + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1)

    assert "wanted" in says(check.next_side, answer)


def test_the_formula_without_dilation_and_with_one_padding_are_recognised():
    def no_dilation(side, kernel, stride, padding, dilation, up):
        places = (side + 2 * padding - kernel) / stride + 1
        return math.ceil(places) if up else math.floor(places)

    def one_padding(side, kernel, stride, padding, dilation, up):
        free = side + padding - dilation * (kernel - 1) - 1
        return 1 + (math.ceil(free / stride) if up else free // stride)

    assert says(check.next_side, no_dilation).startswith("a dilated kernel is wider")
    assert says(check.next_side, one_padding).startswith("you added the padding of one side only")
    assert says(check.next_side, lambda s, k, t, p, d, up: (s + 2 * p - d * (k - 1) - 1) // t + 1).startswith(
        "you round down also where `up` is true"
    )


def test_one_more_for_up_where_nothing_is_left_over_and_a_number_not_rounded_are_recognised():
    def always_one_more(side, kernel, stride, padding, dilation, up):
        return (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 + up

    def unrounded(side, kernel, stride, padding, dilation, up):
        return (side + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1

    assert says(check.next_side, always_one_more).startswith(
        "you add 1 for `up` even where nothing is left over"
    )
    assert says(check.next_side, unrounded).startswith("the division is right")


def test_the_anchors_after_a_floor_know_their_wrong_ways():
    assert says(check.floored, 4 * 37 * 37).startswith("too few: that is the first map alone")
    assert says(check.floored, 8732 - 75).startswith("too many: you took off the cells")
    assert check.floored(8432).state == RIGHT


def test_a_forgotten_bias_and_a_kernel_not_squared_are_recognised():
    assert says(check.parameters, lambda i, o, k: i * o * k**2).startswith("each output channel has a bias")
    assert says(check.parameters, lambda i, o, k: i * o * k + o).startswith("the kernel is a square")


def test_a_field_that_forgets_strides_or_multiplies_is_recognised():
    def forgets(layers):
        field = 1
        for kernel, _, dilation in layers:
            field = field + dilation * (kernel - 1)
        return field

    def multiplies(layers):
        field = 1
        for kernel, _, _ in layers:
            field *= kernel
        return field

    def with_reach(reach):
        def answer(layers):
            field, apart = 1, 1
            for kernel, stride, dilation in layers:
                field += reach(kernel, dilation) * apart
                apart *= stride
            return field

        return answer

    assert says(check.seen, with_reach(lambda k, d: k * d - 1)).startswith("a dilated kernel reaches too far")
    assert says(check.seen, with_reach(lambda k, d: k * d)).startswith("each layer adds too much")
    assert says(check.seen, forgets).startswith("behind a stride of 2")
    assert says(check.seen, multiplies).startswith("two 3x3 see 5 pixels")


def test_rows_without_permute_and_down_the_columns_are_recognised_and_drawn():
    verdict = check.per_anchor(lambda x, numbers: x.view(x.size(0), -1, numbers))
    assert verdict.message.startswith("a row holds one channel") and verdict.figure is not None
    answer = lambda x, numbers: x.transpose(1, 3).reshape(x.shape[0], -1, numbers)  # noqa: E731
    assert says(check.per_anchor, answer).startswith("you go down the columns")
    turned = lambda x, numbers: x.permute(0, 2, 3, 1).reshape(len(x), numbers, -1).mT  # noqa: E731
    assert says(check.per_anchor, turned).startswith("the permute is right")
    with_view = lambda x, numbers: x.permute(0, 2, 3, 1).view(x.size(0), -1, numbers)  # noqa: E731
    assert "view size is not compatible" in says(check.per_anchor, with_view)


def test_normalising_by_torch_is_right_and_over_the_map_is_told():
    assert check.l2norm(lambda x, s: F.normalize(x, dim=1) * s.view(1, -1, 1, 1)).state == RIGHT
    over_map = lambda x, s: F.normalize(x.flatten(2), dim=2).view_as(x) * s.view(1, -1, 1, 1)  # noqa: E731
    assert says(check.l2norm, over_map).startswith("that is the sum over the map")
    mean = lambda x, s: x / x.square().mean(dim=1, keepdim=True).add(1e-10).sqrt() * s[:, None, None]  # noqa: E731
    assert says(check.l2norm, mean).startswith("you divide by the root of the mean")
    no_epsilon = lambda x, s: x / x.norm(dim=1, keepdim=True) * s[:, None, None]  # noqa: E731
    assert says(check.l2norm, no_epsilon).startswith("a cell of zeros becomes 0/0")
