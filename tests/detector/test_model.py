"""The network: counts, shapes, initialisation, order of the outputs, and the numbers of another program."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from oracles import CELL, FIRST, LAYERS, PER_MAP, SIDES, STRIDES
from ssdlib.anchors import default_boxes
from ssdlib.model import SSD300, L2Norm, count_parameters

CHANNELS = (512, 1024, 512, 256, 256, 256)  # of the six maps at full width
SMALL = {
    "narrow": dict(width=1 / 8),
    "batch norm": dict(width=1 / 8, batch_norm=True),
    "strided stem": dict(width=1 / 8, strided_stem=True),
    "laptop": dict(width=1 / 8, batch_norm=True, strided_stem=True),
}


XAVIER_AT_C80C3AD = {  # width 1/8, random seed 5
    "body.conv1_1.0.weight": 1.6794255,
    "body.fc7.0.weight": 1762.4723760,
    "body.conv6_1.0.weight": 310.0657720,
    "loc.conv4_3.weight": 333.0881488,
    "conf.conv9_2.weight": 1234.8956147,
}


def shapes_only(**arguments) -> SSD300:
    """A network without numbers: it knows its shapes and costs nothing."""
    with torch.device("meta"):
        return SSD300(**arguments)


@pytest.fixture(scope="module")
def new() -> SSD300:
    torch.manual_seed(0)
    return SSD300()


@pytest.fixture
def laptop() -> SSD300:
    torch.manual_seed(1)
    return SSD300(**SMALL["laptop"]).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randn(2, 3, 300, 300, generator=torch.Generator().manual_seed(0)) * 50


@pytest.fixture(scope="module")
def laptop_maps(noise) -> dict[str, torch.Tensor]:
    """What the heads of a new laptop network see of two images of noise."""
    torch.manual_seed(1)
    with torch.no_grad():
        return SSD300(**SMALL["laptop"]).eval().feature_maps(noise)


# --- Counts


def test_it_has_26285486_parameters():
    assert count_parameters(shapes_only()) == 26_285_486


def test_the_parts_have_the_known_shares_of_the_parameters():
    shares = dict.fromkeys(("conv1-5", "fc6", "fc7", "extras", "norm", "loc", "conf"), 0)
    for name, parameter in shapes_only().named_parameters():
        part, layer = name.split(".")[:2]
        if part == "conv4_3_norm":
            part = "norm"
        elif part == "body":
            part = layer if layer in ("fc6", "fc7") else "conv1-5" if layer[:5] < "conv6" else "extras"
        shares[part] += parameter.numel()
    assert shares == {
        "conv1-5": 14_714_688,
        "fc6": 4_719_616,
        "fc7": 1_049_600,
        "extras": 2_459_520,
        "norm": 512,
        "loc": 534_648,
        "conf": 2_806_902,
    }


def test_kernels_biases_and_the_scale_have_the_known_shares():
    sizes = dict.fromkeys((1, 4), 0)
    for parameter in shapes_only().parameters():
        sizes[parameter.ndim] += parameter.numel()
    assert sizes == {4: 26_276_032, 1: 8_942 + 512}


@pytest.mark.parametrize(("classes", "parameters"), [(81, 34_305_206), (91, 35_641_826)])
def test_more_classes_cost_the_known_number_of_parameters(classes, parameters):
    assert count_parameters(shapes_only(num_classes=classes)) == parameters


def test_it_has_35_convolutions_in_71_tensors():
    model = shapes_only()
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 35
    assert len(model.state_dict()) == len(list(model.parameters())) == 71


def test_heads_have_the_known_kernels():
    model = shapes_only()
    for i, name in enumerate(LAYERS):
        assert model.loc[name].weight.shape == ((16, 24, 24, 24, 16, 16)[i], CHANNELS[i], 3, 3)
        assert model.conf[name].weight.shape == ((84, 126, 126, 126, 84, 84)[i], CHANNELS[i], 3, 3)
    assert list(model.loc) == list(model.conf) == list(LAYERS)


# --- Shapes


def test_the_six_maps_are_38_19_10_5_3_and_1_cells_wide():
    maps = shapes_only().feature_maps(torch.zeros(2, 3, 300, 300, device="meta"))
    assert [tuple(x.shape) for x in maps.values()] == [
        (2, channels, side, side) for channels, side in zip(CHANNELS, SIDES, strict=True)
    ]
    assert tuple(maps) == LAYERS


def test_every_layer_sees_the_side_it_has_to():
    model, sides = shapes_only(), {}
    for name, layer in model.body.items():
        layer.register_forward_hook(lambda _, __, x, name=name: sides.update({name: x.shape[-1]}))
    model(torch.zeros(1, 3, 300, 300, device="meta"))
    expected = [300] * 2 + [150] * 2 + [75] * 3 + [38] * 3 + [19] * 3 + [19, 19, 19, 10, 10, 5, 5, 3, 3, 1]
    assert sides == dict(zip(oracles.BODY, expected, strict=True))


def test_the_output_has_a_row_for_each_of_the_8732_anchors():
    for classes in (21, 2):
        output = shapes_only(num_classes=classes)(torch.zeros(2, 3, 300, 300, device="meta"))
        assert output.offsets.shape == (2, 8732, 4)
        assert output.logits.shape == (2, 8732, classes)


@pytest.mark.parametrize("arguments", SMALL.values(), ids=SMALL)
def test_its_small_sisters_have_the_same_maps_and_the_same_anchors(arguments):
    model, images = shapes_only(**arguments), torch.zeros(2, 3, 300, 300, device="meta")
    maps, output = model.feature_maps(images), model(images)
    assert tuple(maps) == LAYERS
    for x, channels, side in zip(maps.values(), CHANNELS, SIDES, strict=True):
        assert x.shape == (2, channels // 8, side, side)
    assert output.offsets.shape == (2, 8732, 4) and output.logits.shape == (2, 8732, 21)
    convolutions = 34 if arguments.get("strided_stem") else 35
    norms = convolutions - 12 if arguments.get("batch_norm") else 0  # the body, not the heads
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convolutions
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == norms


def test_a_convolution_followed_by_batch_norm_has_no_bias():
    model = shapes_only(**SMALL["laptop"])
    assert all(layer[0].bias is None for layer in model.body.values())
    assert all(head.bias is not None for head in (*model.loc.values(), *model.conf.values()))


@pytest.mark.parametrize("width", [1 / 2, 1 / 8])
def test_width_scales_the_channels_of_every_layer_down_to_sixteen(width):
    full, narrow = shapes_only(), shapes_only(width=width)
    for name in oracles.BODY:
        expected = max(16, full.body[name][0].out_channels * width)
        assert narrow.body[name][0].out_channels == expected
    assert len(narrow.conv4_3_norm.weight) == 512 * width


# --- First weights


@pytest.mark.parametrize(
    ("layer", "bound"),
    [("body.conv6_1.0", 0.0541), ("body.conv6_2.0", 0.0361), ("loc.conv4_3", 0.0255), ("conf.fc7", 0.0180)],
)
def test_new_layers_start_in_the_range_of_caffes_xavier(new, layer, bound):
    kernel = new.get_submodule(layer).weight
    assert kernel.abs().max().item() == pytest.approx(bound, abs=6e-5)  # four digits are known
    assert kernel.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)  # uniform in it
    assert abs(kernel.mean().item()) < 0.02 * bound


def test_extras_and_heads_start_with_variance_one_over_inputs_and_the_body_with_two(new):
    pretrained = {f"body.{name}.0" for name in oracles.BODY[:15]}
    for name, module in new.named_modules():
        if isinstance(module, nn.Conv2d) and name != "body.conv1_1.0":
            inputs = module.in_channels * math.prod(module.kernel_size)
            variance = module.weight.double().square().mean().item() * inputs
            assert variance == pytest.approx(2 if name in pretrained else 1, rel=0.1), name


def test_new_layers_may_begin_as_in_keras_with_hes_normal_distribution_and_the_body_stays_as_it_was():
    torch.manual_seed(0)
    model = SSD300(new_layers="he_normal")
    pretrained = {f"body.{name}.0" for name in oracles.BODY[:15]}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or name == "body.conv1_1.0":
            continue
        deviation = math.sqrt(2 / (module.in_channels * math.prod(module.kernel_size)))
        weights = module.weight.detach().double().flatten() / deviation
        assert weights.square().mean().item() == pytest.approx(1, rel=0.1), name
        # of a normal distribution 4.6 % lie beyond two deviations, of a uniform one none beyond 1.74
        beyond = (weights.abs() > 2).double().mean().item()
        assert beyond == (0 if name in pretrained else pytest.approx(0.0455, abs=0.01)), name
        assert not module.bias.any()


def test_xavier_draws_the_numbers_that_it_drew_before_there_was_a_choice():
    """Of torch's generator with 5, at c80c3ad: sums of |w|, which any other order of drawing would change."""
    torch.manual_seed(5)
    state = SSD300(width=1 / 8).state_dict()
    found = {name: float(state[name].double().abs().sum()) for name in XAVIER_AT_C80C3AD}
    assert found == pytest.approx(XAVIER_AT_C80C3AD, rel=1e-6)


@pytest.mark.parametrize(("batch_norm", "pixels"), [(False, 64), (True, 1)])
def test_the_first_layer_brings_pixels_to_the_size_that_the_second_one_expects(batch_norm, pixels):
    # whose deviation is about 64; batch norm would do it without help
    torch.manual_seed(0)
    conv = SSD300(batch_norm=batch_norm).body["conv1_1"][0]
    images = torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0)) * pixels
    assert conv(images)[..., 1:-1, 1:-1].square().mean().item() == pytest.approx(2, rel=0.1)


def test_biases_start_at_zero_and_the_scale_at_twenty(new):
    assert not any(p.any() for name, p in new.named_parameters() if name.endswith("bias"))
    assert (new.conv4_3_norm.weight == 20).all()


def test_a_seed_gives_the_same_network_twice():
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(SSD300(width=1 / 8).state_dict())
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["body.conv1_1.0.weight"], other["body.conv1_1.0.weight"])


# --- Order of the outputs


def with_maps(model: SSD300, fill, monkeypatch) -> SSD300:
    """The network with heads of zeros on maps of our own, which `fill(map, level)` writes."""
    maps = {}
    for level, name in enumerate(LAYERS):
        maps[name] = torch.zeros(1, model.loc[name].in_channels, SIDES[level], SIDES[level])
        fill(maps[name], level)
        for head in (model.loc[name], model.conf[name]):
            head.weight.zero_()
            head.bias.zero_()
    monkeypatch.setattr(model, "feature_maps", lambda images: maps)
    return model


@pytest.mark.parametrize("level", range(6), ids=LAYERS)
def test_a_channel_of_a_head_is_one_number_of_one_box_of_every_cell(laptop, monkeypatch, level):
    model = with_maps(laptop, lambda x, level: None, monkeypatch)
    box, klass, coordinate = CELL[level] - 2, 13, 2
    model.conf[LAYERS[level]].bias[box * 21 + klass] = 5.0  # all classes of a box, then the next box
    model.loc[LAYERS[level]].bias[box * 4 + coordinate] = 7.0
    output = model(torch.zeros(1, 3, 300, 300))
    anchors = range(FIRST[level] + box, FIRST[level] + PER_MAP[level], CELL[level])
    assert output.logits[0].nonzero().tolist() == [[k, klass] for k in anchors]
    assert output.offsets[0].nonzero().tolist() == [[k, coordinate] for k in anchors]


def test_every_output_row_comes_from_the_cell_that_its_anchor_stands_on(laptop, monkeypatch):
    def write_centres(x, level):
        centres = (torch.arange(SIDES[level]) + 0.5) * STRIDES[level]
        x[0, 0], x[0, 1] = centres[None, :], centres[:, None]

    model = with_maps(laptop, write_centres, monkeypatch)
    for head in model.loc.values():  # they read the cell in the middle of their field
        head.weight[0::4, 0, 1, 1] = 1.0
        head.weight[1::4, 1, 1, 1] = 1.0
    offsets = model(torch.zeros(1, 3, 300, 300)).offsets[0]
    anchors = default_boxes()
    assert torch.allclose(offsets[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2, atol=1e-3)


# --- Wiring


def test_pool4_takes_conv4_3_before_it_is_normalised(laptop, laptop_maps, noise):
    laptop.conv4_3_norm.weight.zero_()
    without = laptop.feature_maps(noise)
    assert laptop_maps["conv4_3"].any() and not without["conv4_3"].any()
    for name in LAYERS[1:]:
        assert without[name].any() and torch.allclose(laptop_maps[name], without[name], atol=1e-4)


def test_the_heads_see_conv4_3_with_the_length_of_every_cell_taken_out(laptop, laptop_maps):
    assert laptop.conv4_3_norm.weight.tolist() == pytest.approx([20 / math.sqrt(8)] * 64)
    lengths = laptop_maps["conv4_3"].norm(dim=1)
    assert torch.allclose(lengths, torch.tensor(20 / math.sqrt(8)), atol=1e-3)


def test_every_map_comes_out_of_a_relu_and_the_heads_do_not(laptop, laptop_maps, monkeypatch):
    for x in laptop_maps.values():
        assert (x >= 0).all() and (x == 0).any() and (x > 0).any()
    monkeypatch.setattr(laptop, "feature_maps", lambda images: laptop_maps)
    for numbers in (laptop(None).offsets, laptop(None).logits):
        assert (numbers < 0).any() and (numbers > 0).any() and torch.isfinite(numbers).all()


def test_the_images_of_a_batch_do_not_see_each_other(laptop, laptop_maps, noise):
    for name, alone in laptop.feature_maps(noise[1:]).items():
        assert torch.allclose(alone, laptop_maps[name][1:], atol=1e-4)


# --- L2 norm


def test_a_channel_vector_is_brought_to_length_twenty():
    x = torch.tensor([[3.0, 0.0], [4.0, -2.0]]).reshape(1, 2, 1, 2)  # (3, 4) in one cell, (0, -2) in the next
    scaled = L2Norm(2)(x)[0, :, 0]
    assert scaled.T.flatten().tolist() == pytest.approx([12, 16, 0, -20])


def test_every_channel_has_a_factor_of_its_own():
    norm = L2Norm(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([10.0, 100.0]))
    assert norm(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)).flatten().tolist() == pytest.approx([6, 80])


def test_the_small_number_of_the_norm_stands_under_the_root():
    # with 1e-10 under it a vector of length 1e-5 becomes 1/√2 long, with 1e-10 beside it 1 (but for 1e-5)
    assert L2Norm(1)(torch.full((1, 1, 1, 1), 1e-5)).item() == pytest.approx(20 / math.sqrt(2), rel=1e-4)


def test_a_vector_of_zeros_stays_zero_with_a_finite_gradient():
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    y = L2Norm(4)(x)
    assert not y.any()
    assert torch.isfinite(torch.autograd.grad(y.sum(), x)[0]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_squares_of_half_precision_do_not_overflow(dtype):
    y = L2Norm(512)(torch.full((1, 512, 1, 1), 1000.0, dtype=dtype))
    assert y.dtype == dtype
    assert y.float().flatten().tolist() == pytest.approx([20 / math.sqrt(512)] * 512, rel=0.01)


# --- The numbers of other programs


def test_some_rows_are_those_of_ssd_pytorch(pattern_output):
    rows = np.loadtxt(oracles.VECTORS / "network_output.csv", delimiter=",")
    assert rows.shape == (33, 26)
    index = rows[:, 0].astype(int)
    assert np.abs(pattern_output.offsets[0, index].numpy() - rows[:, 1:5]).max() < 2e-3
    assert np.abs(pattern_output.logits[0, index].numpy() - rows[:, 5:]).max() < 2e-3


def test_all_rows_are_those_of_ssd_pytorch(pattern_output, shared):
    theirs = np.load(shared / "reference" / "checkpoints" / "network_output.npz")
    assert np.abs(pattern_output.offsets[0].numpy() - theirs["offsets"]).max() < 2e-3
    assert np.abs(pattern_output.logits[0].numpy() - theirs["logits"]).max() < 2e-3


def test_all_probabilities_are_those_of_ssd_keras(pattern_output, shared):
    theirs = np.load(shared / "reference" / "checkpoints" / "network_output.npz")
    assert (
        np.abs(pattern_output.logits[0].softmax(dim=1).numpy() - theirs["keras_probabilities"]).max() < 1e-3
    )
    assert np.abs(pattern_output.offsets[0].numpy() - theirs["keras_offsets"]).max() < 2e-3


def test_the_weights_by_formula_are_those_of_the_reference(pattern_network, shared):
    """The other programs were given the weights and the picture of pattern.py; ours come from oracles.py."""
    path = shared / "reference" / "checkpoints" / "pattern.py"
    spec = importlib.util.spec_from_file_location("reference_pattern", path)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    theirs, state, seen = reference.tensors()[0], pattern_network.state_dict(), 1
    for name, (kernel, bias) in theirs.items():
        head, _, kind = name.partition("_mbox_")
        ours = f"{kind}.{head.removesuffix('_norm')}" if kind else f"body.{name}.0"
        assert np.array_equal(state[f"{ours}.weight"].numpy(), kernel)
        assert np.array_equal(state[f"{ours}.bias"].numpy(), bias)
        seen += 2
    scale = (20 + reference.pattern((512,), 500)).astype(np.float32)
    assert np.array_equal(state["conv4_3_norm.weight"].numpy(), scale)
    assert seen == len(state)
    image = reference.picture().astype(np.float32) - np.array([123, 117, 104], dtype=np.float32)
    assert np.array_equal(oracles.pattern_images()[0].permute(1, 2, 0).numpy(), image)
