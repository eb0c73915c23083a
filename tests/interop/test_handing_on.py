"""`survey`, `transfer`, `show`, `video`, `export`, `exported`: before training, from another network, afterwards."""

import dataclasses
import errno
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import foreign
from ssdlib import __main__ as entry
from ssdlib import files
from ssdlib.__main__ import main
from ssdlib.anchors import default_boxes
from ssdlib.cli import show
from ssdlib.data import formats, survey, voc
from ssdlib.interop import exported, onnx, published, weights
from ssdlib.records import Detections, Example
from ssdlib.training import inference, runs
from ssdlib.training.runs import RunConfig, network_of

ROOT = Path(__file__).parents[2]
MINI_RUN = ROOT / "chapters/recordings/mini"
NARROW = RunConfig(
    classes=("dog", "fox"), width=1 / 8, batch_norm=True, strided_stem=True, precision="float32"
)


@pytest.fixture(scope="module")
def network():
    """The recorded network, in float32, and its settings."""
    model, config, _ = runs.load_run(MINI_RUN)
    return model, dataclasses.replace(config, precision="float32")


@pytest.fixture(scope="module")
def scenes(mini):
    return [torch.from_numpy(np.array(Image.open(p))) for p in sorted(mini.glob("VOC2007/JPEGImages/*"))[:4]]


# ---- survey


def example(size, *boxes):
    return Example(
        *("a", None, size, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        torch.ones(len(boxes), dtype=torch.int64),
        torch.zeros(len(boxes), dtype=torch.bool),
    )


def test_coverage_is_what_a_loop_over_all_anchors_finds():
    chance = torch.Generator().manual_seed(3)
    corner = torch.rand(12, 2, generator=chance) * 200
    boxes = torch.cat([corner, corner + 4 + torch.rand(12, 2, generator=chance) * 90], dim=1)
    found = survey.survey(boxes, torch.ones(12, dtype=torch.int64))
    for (a, b, c, d), best in zip(boxes.tolist(), found.overlaps.tolist(), strict=True):
        by_hand = 0.0
        for w, x, y, z in default_boxes().tolist():
            both = max(0, min(c, y) - max(a, w)) * max(0, min(d, z) - max(b, x))
            by_hand = max(by_hand, both / ((c - a) * (d - b) + (y - w) * (z - x) - both))
        assert best == pytest.approx(by_hand, abs=1e-5)
    assert found.covered.tolist() == [best >= 0.5 for best in found.overlaps.tolist()]


def test_objects_are_measured_on_the_canvas_and_in_the_tile_with_their_centre():
    boxes, _ = survey.on_canvas([example((600, 300), (100, 50, 200, 150), (290, 10, 400, 40))])
    assert boxes.tolist() == [[50, 50, 100, 150], [145, 10, 200, 40]]
    # 2 x 2 tiles of 300 x 150: each twice as large; the second object loses what lies left of its tile
    boxes, _ = survey.on_canvas([example((600, 300), (100, 50, 200, 150), (290, 10, 400, 40))], cut=2)
    assert boxes.tolist() == [[100, 100, 200, 300], [0, 20, 100, 80]]


def test_a_set_without_objects_has_a_survey_too():
    assert "0 to 15" in survey.advice([example((100, 100))])


def test_of_no_objects_no_share_is_covered():
    lines = survey.advice([example((100, 100))]).splitlines()
    assert lines[-1].split() == ["all", "0"] and not any("%" in line for line in lines)


# ---- transfer


def test_everything_but_the_new_rows_comes_from_the_old_network(network):
    model, config = network
    old = model.state_dict()
    state, said = published.starting_weights(MINI_RUN, NARROW)
    assert said.endswith("step 2500: body, localisation heads, background and 1 of 2 classes")
    new = network_of(NARROW)
    assert new.load_state_dict(state, strict=True)
    for name, value in new.state_dict().items():
        if not name.startswith("conf."):
            assert torch.equal(value, old[name]), name
    # by hand: map fc7 has six boxes; scores of box 4 begin at row 4 * 3 in the new head, at 4 * 21 in the old one
    dog = config.classes.index("dog") + 1
    head, before = new.state_dict()["conf.fc7.weight"], old["conf.fc7.weight"]
    assert torch.equal(head[12], before[84]) and torch.equal(head[13], before[84 + dog])
    assert not any(torch.equal(head[14], row) for row in before)


def test_every_row_of_a_head_is_the_old_ones_or_the_fresh_ones_to_the_last_bit():
    """Row by row, in all six maps, weights and biases: box after box, in each box class after class."""
    old, new = ("cat", "dog", "cow"), ("dog", "fox", "cat", "emu")
    chance = torch.Generator().manual_seed(0)
    boxes_of = dict(
        zip(("conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2"), (4, 6, 6, 6, 4, 4), strict=True)
    )

    def heads(classes):
        shapes = {"weight": (2, 3, 3), "bias": ()}
        return {
            f"conf.{source}.{kind}": torch.randn(boxes * (1 + len(classes)), *shape, generator=chance)
            for source, boxes in boxes_of.items()
            for kind, shape in shapes.items()
        }

    theirs, fresh = heads(old), heads(new)
    taken = published.take(theirs | {"loc.fc7.bias": torch.ones(24)}, old, new, fresh)
    assert torch.equal(taken.pop("loc.fc7.bias"), torch.ones(24)) and taken.keys() == fresh.keys()
    for name, head in taken.items():
        for box in range(boxes_of[name.split(".")[1]]):
            for row, known in enumerate(("background", *new)):
                if known in ("background", *old):
                    wanted = theirs[name][4 * box + ("background", *old).index(known)]
                else:
                    wanted = fresh[name][5 * box + row]
                assert torch.equal(head[5 * box + row], wanted), (name, box, known)


def test_with_the_same_classes_in_another_order_the_network_says_the_same(network, scenes):
    model, config = network
    turned = dataclasses.replace(config, classes=config.classes[::-1])
    state, said = published.starting_weights(MINI_RUN, turned)
    assert said.endswith("all heads")
    other = network_of(turned).eval()
    other.load_state_dict(state)
    for a, b in zip(
        *(inference.detect_in(m, scenes, c) for m, c in ((model, config), (other, turned))), strict=True
    ):
        first, second = (
            sorted(
                (round(s, 4), c.classes[i - 1])
                for s, i in zip(d.scores.tolist(), d.labels.tolist(), strict=True)
            )
            for d, c in ((a, config), (b, turned))
        )
        assert first == second


@pytest.mark.parametrize(
    "make, error, sentence",
    [
        (lambda f: f / "nothing.pth", weights.WeightsError, "nothing.pth: not there"),
        (lambda f: f, Exception, "not there|checkpoint"),
        (
            lambda f: write(f, {"a": torch.ones(2)}),
            weights.WeightsError,
            "wanted a whole VGG16, or its features.\\* alone, an SSD300 by torchvision, .* or a run",
        ),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_one_sentence(tmp_path, make, error, sentence):
    with pytest.raises(error, match=sentence):
        published.starting_weights(make(tmp_path), NARROW)


def features(shapes):
    """Random convolutions as torchvision's VGG16 calls them."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    names = list(shapes)[:13]
    random = torch.Generator().manual_seed(0)
    return {
        f"features.{place}.{kind}": torch.randn(shapes[name][kind], generator=random) / 30
        for place, name in zip(places, names, strict=True)
        for kind in ("weight", "bias")
    }


def full_shapes():
    with torch.device("meta"):
        body = network_of(RunConfig()).body
    return {
        name: {"weight": layer[0].weight.shape, "bias": layer[0].bias.shape} for name, layer in body.items()
    }


def test_a_file_of_convolutions_alone_says_what_it_is_taken_for(tmp_path):
    state, said = published.starting_weights(write(tmp_path, features(full_shapes())), RunConfig())
    assert "body.conv5_3.0.weight" in state and "body.fc6.0.weight" not in state
    assert "taken for Caffe's (inputs 0..255 minus the mean); fc6 and fc7 are random, scaled" in said


@pytest.mark.parametrize(
    "wrap, said",
    [
        (lambda named: {f"module.{name}": value for name, value in named.items()}, "(without module.)"),
        (lambda named: {"state_dict": named}, "(under state_dict)"),
        (lambda named: {name: value.half() for name, value in named.items()}, "(float16 made float32)"),
    ],
)
def test_a_vgg16_as_it_lies_around_is_started_from_and_what_was_taken_off_is_said(tmp_path, wrap, said):
    theirs = {name: value.half().float() for name, value in features(full_shapes()).items()}
    state, words = published.starting_weights(write(tmp_path, wrap(theirs)), RunConfig())
    assert torch.equal(state["body.conv5_3.0.weight"], theirs["features.28.weight"])
    assert f"conv5_3 of a VGG16 {said}, taken for Caffe's" in words


def test_keras_vgg16_is_started_from_as_from_caffes(tmp_path):
    shapes = foreign.shapes()
    ours = {
        n: torch.rand(s) for n, s in shapes.items() if n[:5] == "body." and n.split(".")[1] in foreign.VGG
    }
    foreign.write_keras_vgg16(tmp_path / "vgg16.weights.h5", ours, "keras 3")
    state, said = published.starting_weights(tmp_path / "vgg16.weights.h5", RunConfig())
    assert state.keys() == ours.keys() and all(torch.equal(state[name], ours[name]) for name in ours)
    assert said.endswith(
        "conv1_1 ... conv5_3 of a VGG16, taken for Caffe's (inputs 0..255 minus the mean), BGR turned into RGB; "
        "fc6 and fc7 are random, scaled to outputs of unit deviation"
    )


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name_whatever_the_file_is(tmp_path, number, network):
    """IMAGENET1K_FEATURES gave a network of NaN without a word; so would have any other file."""
    theirs = features(full_shapes())
    theirs["features.12.bias"][3] = number
    with pytest.raises(weights.WeightsError, match=r"body.conv3_2.0.bias isn't finite.* wanted an earlier"):
        published.starting_weights(write(tmp_path, theirs), RunConfig())
    ours = files.load_checkpoint(MINI_RUN / runs.CHECKPOINT)
    ours["model"]["loc.fc7.weight"][0, 0, 0, 0] = number
    files.save_checkpoint(tmp_path / "run.pt", {k: v for k, v in ours.items() if k != "format"})
    with pytest.raises(weights.WeightsError, match="loc.fc7.weight isn't finite"):
        published.starting_weights(tmp_path / "run.pt", NARROW)


def write(folder, state):
    torch.save(state, folder / "state.pth")
    return folder / "state.pth"


def test_a_network_of_another_kind_is_refused_and_both_kinds_are_named():
    with pytest.raises(runs.RunError, match="another kind of network .* wanted width 1, batch norm False"):
        published.starting_weights(MINI_RUN, RunConfig(classes=("dog",)))


# ---- video and show


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Six grey frames of 121 x 81 px, each lighter than the one before."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    out = show.Writer(path, 10)
    for i in range(6):
        out.add(torch.full((81, 121, 3), 40 * i, dtype=torch.uint8))
    out.close()
    return path


def test_the_frames_of_a_video_come_back_in_order_with_their_seconds(film):
    found = list(show.read_frames(film))
    assert [seconds for seconds, _ in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert {tuple(frame.shape) for _, frame in found} == {(82, 122, 3)}  # the codec wants even sides
    assert [float(frame.float().mean()) for _, frame in found] == pytest.approx(
        [0, 40, 80, 120, 160, 200], abs=2
    )


def test_seconds_are_counted_from_the_first_frame_also_where_the_file_begins_later(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "late.mpg"), "w", format="mpeg") as out:
        stream = out.add_stream("mpeg1video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(4):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    with av.open(str(tmp_path / "late.mpg")) as container:
        assert next(container.decode(video=0)).time > 0.1
    found = [seconds for seconds, _ in show.read_frames(tmp_path / "late.mpg")]
    assert found == pytest.approx([0, 0.04, 0.08, 0.12], abs=1e-3)


def test_boxes_are_drawn_on_a_copy_of_the_frame():
    frame = torch.full((200, 300, 3), 50, dtype=torch.uint8)
    found = Detections(torch.tensor([[60.0, 50, 200, 150]]), torch.tensor([0.9]), torch.tensor([1]))
    drawn = show.draw_detections(frame, found, ("fox",))
    assert drawn[150, 100].tolist() == list(show.BLUE) and drawn[100, 130].tolist() == [50, 50, 50]
    assert bool((frame == 50).all())


def test_a_folder_with_pictures_and_a_video_is_shown_and_told(network, scenes, film, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.fromarray(scenes[0].numpy()).save(folder / "b.png")
    (folder / "a.mp4").write_bytes(film.read_bytes())
    (folder / "notes.txt").write_text("not a picture")
    told = show.show(*network, [str(folder)], tmp_path / "out", score=0.3)
    assert [sorted(one) for one in told] == [
        ["detections", "image", "picture"],
        ["frames", "picture", "video"],
        ["error", "file"],
    ]
    assert told == json.loads((tmp_path / "out/detections.json").read_text())
    [wanted] = inference.detect_in(network[0], [scenes[0]], network[1])
    assert len(told[0]["detections"]) == len(wanted.above(0.3)) > 0
    assert [frame["frame"] for frame in told[1]["frames"]] == list(range(6))
    assert len(list(show.read_frames(tmp_path / "out" / told[1]["picture"]))) == 6
    assert (tmp_path / "out" / told[0]["picture"]).is_file()


def test_a_broken_picture_in_a_folder_is_told_and_the_next_one_follows(network, scenes, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    text(folder / "a.jpg")
    Image.fromarray(scenes[0].numpy()).save(folder / "b.png")
    told = show.show(*network, [str(folder)], tmp_path / "out", draw=False)
    assert [sorted(one) for one in told] == [["error", "image"], ["detections", "image"]]
    assert "a.jpg" in told[0]["error"]
    with pytest.raises(voc.VOCError, match="a.jpg"):
        show.show(*network, [str(folder / "a.jpg")], tmp_path / "out")


def test_looking_at_a_folder_that_is_not_there_says_so(tmp_path, capsys):
    assert main(["look", "--data", str(tmp_path / "my_picures")]) == 1
    assert "no such folder; wanted one with images and annotations" in capsys.readouterr().err


def test_with_json_only_nothing_is_drawn(network, film, tmp_path):
    show.show(*network, [str(film)], tmp_path / "out", draw=False)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["detections.json"]


@pytest.mark.parametrize(
    "make, error, sentence",
    [
        (lambda f: f / "gone.mp4", show.VideoError, "gone.mp4: No such file"),
        (lambda f: text(f / "a.mp4"), show.VideoError, "a.mp4: Invalid data"),
        (lambda f: text(f / "a.txt").parent, formats.FormatError, "nothing to look at"),
    ],
)
def test_what_is_no_video_and_a_folder_without_pictures_are_refused(network, tmp_path, make, error, sentence):
    with pytest.raises(error, match=sentence):
        show.show(*network, [str(make(tmp_path))], tmp_path / "out")


def text(path):
    path.write_text("nothing of the kind")
    return path


def test_without_pyav_the_command_that_helps_is_named(film, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(show.VideoError, match="PyAV isn't installed; wanted for videos: pip install av"):
        list(show.read_frames(film))


# ---- what people hand to detect


@pytest.mark.slow
def test_every_file_of_a_folder_is_told_read_or_with_its_reason(network, scenes, tmp_path, monkeypatch):
    """amdegroot 460, clip-interrogator-ext 50: a folder of everything."""
    monkeypatch.setattr(show, "BATCH", 3)  # several batches, the last one not full
    scene, folder = Image.fromarray(scenes[0].numpy()), tmp_path / "all"
    (folder / "sub dir").mkdir(parents=True)
    scene.save(folder / "sub dir/phone.JPG")
    scene.save(folder / "web.jfif", "JPEG")
    scene.save(folder / f"{'x' * 250}.jpg")
    scene.save(folder / "ünï 犬.png")
    scene.convert("RGBA").save(folder / "sticker.png")
    scene.convert("LA").save(folder / "la.png")
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    Image.new("RGB", (30, 3000)).save(folder / "tall.png")
    scene.save(folder / "anim.gif", save_all=True, append_images=[scene.rotate(90), scene.rotate(180)])
    scene.save(folder / "pages.tif", save_all=True, append_images=[scene])
    Image.new("F", (20, 20)).save(folder / "float.tif")
    for name in ("photo.heic", "empty.mp4", "notes.txt", "torn.jpg", "._torn.jpg"):
        (folder / name).write_bytes(b"" if name == "empty.mp4" else b"nothing of the kind")
    told = show.show(*network, [str(folder)], tmp_path / "out", score=0.3)
    names = [one.get("image") or one.get("video") or one.get("file") for one in told]
    visible = {str(path) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}
    assert sorted(names) == sorted(visible)
    errors = {Path(name).name: one.get("error", "") for name, one in zip(names, told, strict=True)}
    words = {"float.tif": "more than 8 bits", "photo.heic": "convert it to JPEG or PNG"}
    words |= {"torn.jpg": "cannot identify"} | {
        "empty.mp4": "wanted a video file",
        "notes.txt": "neither image nor video",
    }
    assert {name for name, error in errors.items() if error} == set(words)
    assert all(said in errors[name] for name, said in words.items())
    notes = {Path(one["image"]).name: one["note"] for one in told if "note" in one}
    assert {name: note.split(";")[0] for name, note in notes.items()} == {
        "anim.gif": "the first of 3 frames",
        "pages.tif": "the first of 2 frames",
    }
    drawn = [tmp_path / "out" / one["picture"] for one in told if "picture" in one]
    assert len(drawn) == 10 and all(path.is_file() for path in drawn)
    [wanted] = inference.detect_in(network[0], [scenes[0]], network[1])  # the same, alone
    [mine] = [one for one in told if one.get("image", "").endswith("犬.png")]
    alone = show.rows(wanted.above(0.3), network[1].classes)
    assert [d["class"] for d in mine["detections"]] == [d["class"] for d in alone] and len(alone) > 0
    for ours, theirs in zip(mine["detections"], alone, strict=True):
        assert ours["box"] == pytest.approx(theirs["box"], abs=0.05)


@pytest.mark.parametrize("place", ["found", "."])
def test_what_detect_drew_before_is_no_input(network, scenes, film, tmp_path, place):
    """sigal 523: twice into a folder within, or into the folder itself; then moved."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(scenes[0].numpy()).save(folder / "a.jpg")
    (folder / "b.mp4").write_bytes(film.read_bytes())
    for _ in range(2):
        told = show.show(*network, [str(folder)], folder / place)
        assert [set(one) & {"image", "video", "file"} for one in told] == [{"image"}, {"video"}]
    (folder / place / "detections.json").unlink()
    (folder / place / told[1]["picture"]).unlink()
    (folder / place / told[0]["picture"]).rename(folder / "0007_moved.png")
    assert len(show.show(*network, [str(folder)], tmp_path / "elsewhere")) == 2


def test_one_bad_file_among_several_named_costs_itself_alone(network, scenes, tmp_path):
    Image.fromarray(scenes[0].numpy()).save(tmp_path / "b.png")
    names = [str(text(tmp_path / "a.jpg")), str(tmp_path / "b.png"), str(tmp_path / "gone.jpg")]
    told = show.show(*network, names, tmp_path / "out", draw=False)
    assert [sorted(one) for one in told] == [["error", "image"], ["detections", "image"], ["error", "image"]]


@pytest.mark.parametrize(
    "word, sentence",
    [
        ("0", "0: the number of a camera; wanted .* ffmpeg -i /dev/video0"),
        ("rtsp://10.0.0.1/live", "an address; wanted an image, a folder or a video file; record the stream"),
        ("nowhere/*.jpg", r"nowhere/\*.jpg: no file matches; wanted .* the folder itself"),
    ],
)
def test_cameras_streams_and_patterns_get_a_sentence_of_their_own(network, tmp_path, word, sentence):
    with pytest.raises(formats.FormatError, match=sentence):
        show.show(*network, [word], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("score", ["1.5", "-0.1", "50", "nan", "high"])
def test_a_score_outside_0_to_1_is_wrong_usage(score, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["detect", "--checkpoint", "x", "--out", str(tmp_path), f"--score={score}", "a.jpg"])
    assert stop.value.code == 2 and "wanted a number from 0 to 1" in capsys.readouterr().err


def test_a_video_without_frames_says_so(film, tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        out.mux(stream.encode())
    with pytest.raises(show.VideoError, match="none.mp4: .*; wanted a video file"):
        list(show.read_frames(path))


def test_what_was_done_before_an_interruption_is_written(network, scenes, film, tmp_path, monkeypatch):
    Image.fromarray(scenes[0].numpy()).save(tmp_path / "a.png")
    monkeypatch.setattr(show, "BATCH", 1)
    real, calls = inference.detect_in, []

    def three_times(*words):
        calls.append(words)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(show.inference, "detect_in", three_times)
    names = [str(tmp_path / "a.png"), str(film), str(tmp_path / "a.png")]
    with pytest.raises(KeyboardInterrupt):
        show.show(*network, names, tmp_path / "out")
    told = json.loads((tmp_path / "out/detections.json").read_text())
    assert [one.get("image") or one.get("video") for one in told] == names[:2]
    assert [frame["frame"] for frame in told[1]["frames"]] == [0, 1]
    assert len(list(show.read_frames(tmp_path / "out" / told[1]["picture"]))) == 2


@pytest.mark.parametrize("command, words", [("detect", "stopped"), ("train", "stopped; --resume continues")])
def test_only_what_can_be_resumed_is_said_to_be(command, words, tmp_path, monkeypatch, capsys):
    def stopped(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, command, stopped)
    more = ["--checkpoint", "x", "a.jpg"] if command == "detect" else []
    assert main([command, "--out", str(tmp_path / "out"), *more]) == 130
    said = capsys.readouterr().err
    assert said.startswith(words) and ("--resume" in said) == (command == "train")


def test_a_picture_that_detect_did_not_draw_is_not_drawn_over(network, scenes, film, tmp_path):
    scene = Image.fromarray(scenes[0].numpy())
    for name in ("a.jpg", "b.jpg", "0001_b.png"):
        scene.save(tmp_path / name)
    (tmp_path / "c.mp4").write_bytes(film.read_bytes())
    (tmp_path / "0003_c.mp4").write_bytes(film.read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    named = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "a.jpg", "c.mp4")]
    for _ in range(2):  # the second time over what the first one drew
        told = show.show(*network, named, tmp_path)
        drawn = [one["picture"] for one in told]
        assert drawn == ["0000_a.png", "0001_b-2.png", "0002_a.png", "0003_c-2.mp4"]
    assert before == {path: path.read_bytes() for path in before}
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in before} == {
        *drawn,
        "detections.json",
    }


@pytest.mark.parametrize(
    "theirs",
    [
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]',
        '[{"image": "a.jpg", "label": 3}]',
        '{"image": 1}',
        "notes",
    ],
)
def test_a_detections_json_of_another_program_stays(network, scenes, theirs, tmp_path):
    Image.fromarray(scenes[0].numpy()).save(tmp_path / "a.jpg")
    (tmp_path / "detections.json").write_text(theirs)
    with pytest.raises(
        formats.FormatError,
        match="detections.json: not one that this command wrote and can read, so it stays; wanted",
    ):
        show.show(*network, [str(tmp_path / "a.jpg")], tmp_path)
    assert (tmp_path / "detections.json").read_text() == theirs
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "detections.json"}


# ---- export


@pytest.fixture(scope="module")
def onnx_file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "mini.onnx"
    boxes, scores = onnx.export(network[0], network[1].classes, path)
    assert boxes < 0.01 and scores < 1e-4
    return path


def test_the_exported_file_finds_the_same_in_the_same_order_without_pytorch(network, scenes, onnx_file):
    detector = exported.Exported(onnx_file, threads=1)
    assert detector.classes == network[1].classes
    total = 0
    for scene, ours in zip(scenes, inference.detect_in(network[0], scenes, network[1]), strict=True):
        boxes, scores, labels = detector(scene.numpy())
        assert labels.tolist() == ours.labels.tolist()
        assert scores.tolist() == pytest.approx(ours.scores.tolist(), abs=1e-4)
        assert np.abs(boxes - ours.boxes.numpy()).max() < 0.05
        total += len(ours)
    assert total > 100


@pytest.mark.parametrize(
    "limits", [{"score": 0.2}, {"top_k": 1}, {"nms_iou": 0.1}, {"keep": 3}, {"score": 0.9999}]
)
def test_each_of_the_four_numbers_does_the_same_there(network, scenes, onnx_file, limits):
    boxes, _, labels = exported.Exported(onnx_file, threads=1)(scenes[0].numpy(), **limits)
    [ours] = inference.detect_in(network[0], scenes[:1], network[1], **limits)
    assert labels.tolist() == ours.labels.tolist() and boxes.shape == tuple(ours.boxes.shape)


def test_the_exported_file_takes_any_number_of_images(onnx_file):
    session = exported.Exported(onnx_file, threads=1).session
    for count in (1, 3):
        boxes, scores = session.run(None, {"images": np.zeros((count, 3, 300, 300), dtype=np.float32)})
        assert boxes.shape == (count, 8732, 4) and scores.shape == (count, 8732, 21)


def test_exported_knows_no_pytorch_and_works_as_a_script(onnx_file, mini):
    picture = sorted(mini.glob("VOC2007/JPEGImages/*"))[0]
    code = "import sys, exported; exported.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, str(onnx_file), str(picture)],
        cwd=ROOT / "ssdlib/interop",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image"] == str(picture)


def test_the_script_prints_two_decimals_of_a_box(onnx_file, mini, capsys):
    exported.main([str(onnx_file), *map(str, sorted(mini.glob("VOC2007/JPEGImages/*"))[:3])])
    rows = [row for line in capsys.readouterr().out.splitlines() for row in json.loads(line)["detections"]]
    assert rows and all(x == round(x, 2) for row in rows for x in row["box"])


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_the_script_refuses_what_the_library_refuses(onnx_file, mode, tmp_path):
    path = tmp_path / "deep.tif"
    Image.new(mode, (20, 20)).save(path)
    with pytest.raises(voc.VOCError, match="more than 8 bits a colour"):
        voc.read_photograph(path)
    with pytest.raises(SystemExit, match="deep.tif: more than 8 bits a colour; wanted 8"):
        exported.main([str(onnx_file), str(path)])


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("none.jpg", None, "No such file or directory;"),
        ("torn.jpg", b"nothing of the kind", "cannot identify image file;"),
        ("half.jpg", "half", "image file is truncated"),
    ],
)
def test_the_script_names_a_file_that_it_cant_read(onnx_file, mini, name, content, said, tmp_path, capsys):
    path, good = tmp_path / name, min(mini.glob("VOC2007/JPEGImages/*"))
    if content:
        path.write_bytes(good.read_bytes()[:2000] if content == "half" else content)
    with pytest.raises(SystemExit, match=f"{name}: {said}.* wanted an image, one of JPEG, PNG"):
        exported.main([str(onnx_file), str(good), str(path)])
    assert len(capsys.readouterr().out.splitlines()) == 1  # what came before it


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", "half"])
def test_the_script_names_a_model_that_is_none(onnx_file, content, tmp_path):
    path = tmp_path / "torn.onnx"
    path.write_bytes(onnx_file.read_bytes()[:5000] if content == "half" else content)
    with pytest.raises(SystemExit, match="torn.onnx: .*; wanted the model.onnx that `ssdlib export` wrote"):
        exported.main([str(path), "picture.jpg"])


def test_the_script_names_a_model_that_isnt_there(tmp_path):
    with pytest.raises(SystemExit, match="none.onnx: no such file; wanted the model.onnx"):
        exported.main([str(tmp_path / "none.onnx"), "picture.jpg"])


@pytest.mark.parametrize("words", [[], ["model.onnx"]])
def test_the_script_says_how_it_is_called(words, capsys):
    with pytest.raises(SystemExit) as stop:
        exported.main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "usage: python exported.py model.onnx picture.jpg ...\n"


def test_a_file_that_answers_otherwise_is_not_left_behind(network, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "difference", lambda whole, path: (3.0, 0.0))
    with pytest.raises(onnx.ExportError, match="answers otherwise than the network, boxes by 3 px"):
        onnx.export(network[0], network[1].classes, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_the_script_turns_an_image_as_the_library_does(tmp_path, suffix):
    pixels = torch.arange(40 * 30 * 3, dtype=torch.uint8).reshape(30, 40, 3).numpy()
    for noted in range(1, 9):
        image = Image.fromarray(pixels)
        notes = Image.Exif()
        notes[0x0112] = noted
        path = tmp_path / f"{noted}{suffix}"
        image.save(path, exif=notes)
        with Image.open(path) as opened:
            turned = torch.from_numpy(np.array(exported._upright(opened)))
        assert torch.equal(turned, voc.read_photograph(path, upright=True)), noted


def test_a_folder_is_no_place_to_export_to_and_nothing_is_exported(network, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.onnx, "export", lambda *words, **named: pytest.fail("exported"))
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path, ""):
        with pytest.raises(
            onnx.ExportError, match="a folder; wanted the name of a file, such as .*model.onnx"
        ):
            onnx.export(network[0], network[1].classes, folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["the network", "its notes"])
def test_a_full_disk_is_said_with_the_name_of_the_exported_file(network, tmp_path, monkeypatch, what):
    def full(*words, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.onnx, "export", full if what == "the network" else lambda *words, **named: None)
    monkeypatch.setattr(onnx, "_note", full)
    with pytest.raises(OSError, match="No space left on device: .*a.onnx"):
        onnx.export(network[0], network[1].classes, tmp_path / "a.onnx")


def test_without_onnx_the_command_that_helps_is_named(network, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(onnx.ExportError, match="pip install onnx onnxruntime"):
        onnx.export(network[0], (), tmp_path / "a.onnx")


# ---- the command line


@pytest.mark.slow
def test_a_folder_of_ones_own_goes_through_every_door(mini, tmp_path, capsys):
    """Eight scenes of the mini VOC, renamed to be somebody's folder with XML of other tools' kind."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for i, source in enumerate(sorted(mini.glob("VOC2007/Annotations/*.xml"))[:8]):
        part = "train" if i < 6 else "val"
        (folder / part).mkdir(exist_ok=True)
        (folder / part / source.name).write_text(source.read_text())
        photograph = mini / "VOC2007/JPEGImages" / f"{source.stem}.jpg"
        (folder / part / photograph.name).write_bytes(photograph.read_bytes())
    settings = "--recipe mini --steps 2 --drops --batch-size 2 --precision float32 --val-every 0 --warmup 0"
    run, found = tmp_path / "run", tmp_path / "found"
    for command, words in (
        (f"look --data {folder}", "covered, if the images were cut into tiles"),
        (f"train --data {folder} --out {run} --init {MINI_RUN} {settings}", "starting from"),
        (f"evaluate --checkpoint {run} --data {folder}", "mAP (11point)"),
        (f"evaluate --detections {run}/results --data {folder}", "mAP (11point)"),
        (f"detect --checkpoint {run} --out {found} --json-only {folder}", "8 images"),
        (f"export --checkpoint {run} --out {tmp_path}/a.onnx", "answers as the network does"),
    ):
        assert main(command.split()) == 0, capsys.readouterr().err
        assert words in capsys.readouterr().out
    config = json.loads((run / "config.json").read_text())
    assert (config["train_sets"], config["test_sets"]) == (["train"], ["test"])
    assert set(config["classes"]) < set(runs.RunConfig().classes)
