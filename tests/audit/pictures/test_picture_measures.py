"""Measures of pictures against closed forms: by hand where numbers are few, else against the formula's own limit."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.audit import (
    CosineKernel,
    FrechetDistance,
    GaussianKernel,
    OffDataDistance,
    PairwiseDistance,
    PictureFile,
    Pixels,
    Vendi,
    frechet_distance,
    pairwise_distance,
    vendi_score,
)
from guerdon.audit.pictures import told
from guerdon.audit.pictures._off_data import Neighbours
from guerdon.core import Streams, recorded
from guerdon.core.errors import DataError, PlanError


def normal(n, d, seed=0):
    return Streams(seed)("points", torch.arange(n)).normal(d)


# ---------------------------------------------------------------- features
def test_pixels_are_pooled_means_scaled_to_a_root_mean_square():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    # means of the four 2x2 blocks: (0+1+4+5)/4 = 2.5, 4.5, 10.5, 12.5; four numbers, so each is divided by 2
    assert Pixels(side=2, cut=False)(x).tolist() == [[1.25, 2.25, 5.25, 6.25]]
    a, b = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.7)
    assert torch.allclose((Pixels()(a) - Pixels()(b)).norm(dim=1), torch.full((2,), 0.7, dtype=torch.double))


def test_white_and_whiter_look_alike_and_are_not_equally_far_from_data():
    white, whiter = torch.ones(1, 3, 8, 8), torch.full((1, 3, 8, 8), 9.0)
    assert torch.equal(Pixels()(white), Pixels()(whiter))
    assert float((Pixels(cut=False)(whiter) - Pixels(cut=False)(white)).norm()) == pytest.approx(8.0)
    points = torch.tensor([[3.0, 4.0]])
    assert Pixels()(points).tolist() == [[3 / math.sqrt(2), 4 / math.sqrt(2)]]  # no pictures: as they are


def test_a_video_is_pooled_frame_by_frame():
    frames = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])[None]
    assert Pixels(side=1)(frames).tolist() == [[0.0, 1 / math.sqrt(2)]]


def test_features_may_be_a_module_or_a_spec_that_builds_one():
    class Spec:
        def build(self):
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))

    pictures = recorded(["a", "a"], list(torch.zeros(2, 3, 4, 4)))
    assert PairwiseDistance(Spec()).open()(pictures)["diversity/pairwise"] == 0.0
    with pytest.raises(PlanError, match=r"expected a callable \[N, C, H, W\] -> \[N, D\]"):
        PairwiseDistance("inception").open()
    with pytest.raises(DataError, match=r"gave shape \(2, 3, 4, 4\) for 2 pictures"):
        PairwiseDistance(lambda x: x).open()(pictures)


# ---------------------------------------------------------------- pairwise distance
def test_pairwise_distance_counts_each_caption_once():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [9.0, 9.0]])
    group = torch.tensor([0, 0, 1, 1, 1, 2])
    # caption 0: 5; caption 1: (1 + 2 + 1) / 3; caption 2 has one sample
    assert pairwise_distance(x, group) == pytest.approx((5 + 4 / 3) / 2)
    assert math.isnan(pairwise_distance(x[:1]))


def test_one_picture_per_caption_is_seen_within_captions_only():
    black, white = -torch.ones(1, 8, 8), torch.ones(1, 8, 8)
    found = PairwiseDistance().open()(recorded(["a", "b", "a", "b"], [black, white, black, white]))
    assert found == {"diversity/pairwise": 0.0, "diversity/pairwise_all": pytest.approx(4 * 2 / 6)}


# ---------------------------------------------------------------- Vendi
def test_vendi_of_identical_and_of_orthogonal_samples():
    assert vendi_score(torch.ones(5, 5)) == pytest.approx(1.0)
    for q in (0.5, 1.0, 2.0, math.inf):
        assert vendi_score(torch.eye(5), q) == pytest.approx(5.0)


def test_vendi_of_two_kinds_is_the_exponential_of_their_entropy():
    # three of one kind, one of another: eigenvalues of K/4 are 3/4 and 1/4
    x = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    k = CosineKernel()(x)
    assert vendi_score(k) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert vendi_score(k, 2.0) == pytest.approx(1 / (0.75**2 + 0.25**2))  # Hill number of order 2
    assert vendi_score(k, 0.0) == pytest.approx(2.0)  # how many kinds there are
    assert vendi_score(k, math.inf) == pytest.approx(4 / 3)
    assert vendi_score(k, 1 + 1e-6) == pytest.approx(vendi_score(k), rel=1e-5)  # the order's limit


def test_vendi_of_two_samples_by_their_similarity():
    # eigenvalues of [[1, s], [s, 1]] / 2 are (1 + s) / 2 and (1 - s) / 2
    s = math.exp(-(0.6**2) / (2 * 0.5**2))
    p = (1 + s) / 2
    found = vendi_score(GaussianKernel(0.5)(torch.tensor([[0.0], [0.6]])))
    assert found == pytest.approx(math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p)))


def test_vendi_refuses_what_is_no_similarity():
    for bad in (torch.zeros(2, 3), 2 * torch.eye(3)):
        with pytest.raises(DataError, match="ones on the diagonal"):
            vendi_score(bad)


def test_vendi_of_as_many_real_pictures(drawn):
    data = drawn.real()
    figures = Vendi(data=data, kernel=GaussianKernel(0.3)).open()(recorded(["x"] * 60, list(drawn.real(60, seed=9))))
    assert figures["diversity/vendi"] == pytest.approx(figures["diversity/vendi_data"], rel=0.1)
    everything = vendi_score(GaussianKernel(0.3)(Pixels()(data)))
    assert everything > 1.3 * figures["diversity/vendi_data"]  # the score grows with the number, so this compares equal ones


# ---------------------------------------------------------------- distance to data
def test_distances_on_a_line_by_hand():
    real = torch.arange(100.0)[:, None].double()
    near = Neighbours.of(real, k=2)
    # left out, the second neighbour is 1 away inside and 2 away at both ends; 0.99 * 101 rounded up is 100: the largest
    assert near.usual == pytest.approx((98 * 1 + 2 * 2) / 100)
    assert near.limit == 2.0
    assert near.distance(torch.tensor([[0.5], [-3.0]]).double()).tolist() == [0.5, 4.0]


@pytest.mark.parametrize("k", [1, 5])
def test_of_further_real_data_one_in_a_hundred_lies_outside(k):
    near = Neighbours.of(normal(1000, 3), k)
    distance = near.distance(normal(2000, 3, seed=1))
    # the limit itself is a quantile of 1000: standard error of both is sqrt(0.01 * 0.99 * (1 / 1000 + 1 / 2000)) = 0.004
    assert abs(float((distance > near.limit).double().mean()) - 0.01) < 0.012
    assert float(distance.mean()) / near.usual == pytest.approx(1.0, abs=0.05)


def test_samples_away_from_the_data_are_outside_and_copies_are_near(drawn):
    data = drawn.real()
    measure = OffDataDistance(data).open()
    bright = measure(recorded(["x"] * 20, list(drawn.real(20, seed=5) + 1.0)))
    copies = measure(recorded(["x"] * 20, list(data[:20])))
    assert bright["off_data/outside"] == 1.0
    assert bright["off_data/ratio"] > 3
    assert copies["off_data/ratio"] < 1
    assert copies["off_data/outside"] <= 0.05


def test_samples_that_are_not_finite_lie_outside_and_have_no_distance(drawn):
    measure, fine = OffDataDistance(drawn.real()).open(), drawn.real(4, seed=5)
    broken = fine.clone()
    broken[0, 0, 0, 0] = math.nan
    whole = measure(recorded(["x"] * 3, list(fine[1:])))
    found = measure(recorded(["x"] * 4, list(broken)))
    assert found["off_data/ratio"] == whole["off_data/ratio"]
    assert found["off_data/outside"] == (1 + 3 * whole["off_data/outside"]) / 4
    assert measure(recorded(["x"], [torch.full((3, 8, 8), math.nan)])) == {"off_data/outside": 1.0}


def test_too_little_data_and_copies_are_refused(drawn):
    with pytest.raises(DataError, match="98 real pictures; it takes at least 99"):
        OffDataDistance(drawn.real(98)).open()
    with pytest.raises(DataError, match="copies of a few"):
        OffDataDistance(drawn.real(2).repeat(80, 1, 1, 1)).open()
    with pytest.raises(DataError, match="samples have 48 features and the data 192; the data is"):
        OffDataDistance(drawn.real()).open()(recorded(["x"], [torch.zeros(3, 4, 4)]))
    with pytest.raises(DataError, match="measures pictures"):
        OffDataDistance(drawn.real()).open()(recorded(["x"], ["a red disc"]))
    with pytest.raises(PlanError, match="data must be a path, or a spec with pictures"):
        OffDataDistance(7).open()


# ---------------------------------------------------------------- Frechet distance
def test_frechet_of_shifted_and_scaled_points():
    x = normal(50, 3)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(x, x + torch.tensor([1.0, 2.0, 2.0])) == pytest.approx(9.0)
    # |s A|: covariance s^2 C, so the covariances' part is (s - 1)^2 tr C, and the means' (s - 1)^2 |m|^2
    expected = 0.25 * float(torch.cov(x.T).trace() + x.mean(0).square().sum())
    assert frechet_distance(x, 1.5 * x) == pytest.approx(expected)


def test_frechet_of_rotated_covariances():
    # covariances diag(4, 1) and diag(1, 4) commute: tr(5 + 5) - 2 (2 + 2) = 2
    x = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]]) * math.sqrt(3 / 2)
    assert frechet_distance(x, x.flip(1)) == pytest.approx(2.0)


def test_frechet_of_few_samples_is_large_and_said_beside_that_of_data(drawn):
    measure = FrechetDistance(drawn.real(), Pixels(2)).open()
    few, many = (measure(recorded(["x"] * n, list(drawn.real(n, seed=3)))) for n in (30, 200))
    assert few["off_data/frechet_data"] > 3 * many["off_data/frechet_data"] > 0  # the bias
    assert few["off_data/frechet"] < 2 * few["off_data/frechet_data"]
    with pytest.raises(DataError, match="12 samples for 12 features; draw more"):
        measure(recorded(["x"] * 12, list(drawn.real(12))))


# ---------------------------------------------------------------- data
def test_real_pictures_from_files(tmp_path, drawn):
    from PIL import Image
    from safetensors.torch import save_file

    data = (drawn.real(5) * 127.5 + 127.5).round() / 127.5 - 1  # as whole numbers can say it
    whole = ((data + 1) * 127.5).round().byte()
    np.save(tmp_path / "a.npy", whole.numpy())
    np.savez(tmp_path / "b.npz", train=data.numpy(), labels=np.zeros(5))
    save_file({"train": data}, tmp_path / "c.safetensors")
    (tmp_path / "d").mkdir()
    for k, picture in enumerate(whole):
        Image.fromarray(picture.movedim(0, -1).numpy()).save(tmp_path / f"d/{k}.png")
    for spec in (PictureFile(f"{tmp_path}/a.npy"), PictureFile(f"{tmp_path}/b.npz", key="train"),
                 PictureFile(f"{tmp_path}/c.safetensors"), PictureFile(f"{tmp_path}/d")):  # fmt: skip
        assert torch.allclose(spec.pictures(), data, atol=1e-6), spec
    assert PictureFile(f"{tmp_path}/d", channels=1).pictures().shape == (5, 1, 8, 8)


@pytest.mark.parametrize(("name", "array", "message"), [
    ("none.npy", None, "no such file or folder"),
    ("a.csv", "text", "expected a folder of pictures, or a file ending in .safetensors"),
    ("a.npy", np.zeros(3), r"has shape \(3,\), expected \[N, C, H, W\]"),
    ("a.npy", np.full((2, 8, 8), 7.0), r"values from 7 to 7, expected \[-1, 1\]"),
    ("a.npy", np.full((2, 8, 8), 300), "whole numbers from 300 to 300, expected 0 to 255"),
    ("a.npy", np.full((2, 8, 8), math.nan), "holds a NaN"),
    ("a.npy", np.array([None]), "cannot be read"),
])  # fmt: skip
def test_files_that_are_no_pictures(tmp_path, name, array, message):
    if isinstance(array, str):
        (tmp_path / name).write_text(array)
    elif array is not None:
        np.save(tmp_path / name, array, allow_pickle=True)
    with pytest.raises(DataError, match=message) as e:
        PictureFile(f"{tmp_path}/{name}").pictures()
    assert str(e.value).startswith(f"{tmp_path}/{name}: ")


def test_a_file_of_several_arrays_asks_which(tmp_path):
    np.savez(tmp_path / "b.npz", train=np.zeros((2, 8, 8)), held_out=np.zeros((2, 8, 8)))
    with pytest.raises(DataError, match="holds 2 arrays, so `key` must name one; known: held_out, train"):
        PictureFile(f"{tmp_path}/b.npz").pictures()
    with pytest.raises(DataError, match="no array 'trian'; did you mean 'train'"):
        PictureFile(f"{tmp_path}/b.npz", key="trian").pictures()


@pytest.mark.parametrize("bad", [
    lambda: Pixels(0), lambda: GaussianKernel(0.0), lambda: Vendi(q=-1.0), lambda: OffDataDistance("a.npy", k=0),
    lambda: FrechetDistance("a.npy", rows=1), lambda: PictureFile(""), lambda: PictureFile("a", channels=2),
])  # fmt: skip
def test_specs_refuse_what_means_nothing(bad):
    with pytest.raises(PlanError):
        bad()


# ---------------------------------------------------------------- in words
def test_no_value_is_told_of_number_by_number():
    large = torch.zeros(4, 64, 64)
    large[0, 0, 0] = 2.5
    assert told(large) == "numbers, 4 × 64 × 64, from 0 to 2.50"
    assert told(torch.full((3, 8, 8), math.nan)) == "picture, 8 × 8; 100 % of its values are not finite"
    assert told(np.zeros((6, 8, 3), np.uint8)) == "picture, 8 × 6"
    assert told(torch.tensor([3, 1, 2])) == "[3, 1, 2]"
    assert (told(None), told(7)) == ("", "7")


# ---------------------------------------------------------------- the page on them
def test_the_page_s_table_of_digits_is_what_is_measured():
    x, labels = digits()
    real, held_out = x[::2], x[1::2]
    chosen = Streams(0)("chosen").permutation(len(held_out))[:64]
    some, label = held_out[chosen], labels[1::2][chosen]
    noise = Streams(0)("noise", torch.arange(64)).normal(64).reshape(64, 1, 8, 8).float()
    first = torch.stack([held_out[(labels[1::2] == k).nonzero()[0, 0]] for k in label])
    samples = {
        "held-out digits": some, "with noise of 0.2": some + 0.2 * noise, "with noise of 0.5": some + 0.5 * noise,
        "brighter by 0.3": some + 0.3, "means of two": (some + some.flip(0)) / 2,
        "one for each class, noise of 0.05": first + 0.05 * noise, "a single one, noise of 0.05": some[:1] + 0.05 * noise,
    }  # fmt: skip
    measures = [OffDataDistance(real).open(), Vendi(data=real, kernel=GaussianKernel(0.4)).open(), PairwiseDistance().open()]
    page = (Path(__file__).resolve().parents[3] / "docs/how-to/pictures-report.md").read_text()
    for name, pictures in samples.items():
        found = {k: v for m in measures for k, v in m(recorded(label.tolist(), list(pictures))).items()}
        vendi = found["diversity/vendi"]
        row = (f"| {name} | {100 * found['off_data/outside']:.0f} % | {found['off_data/ratio']:.2f} | "
               f"{vendi:.{0 if vendi > 2 else 1}f} | {found['diversity/pairwise']:.2f} |")  # fmt: skip
        assert row in page
    assert f"64 real digits are worth {found['diversity/vendi_data']:.0f}" in page


def digits():
    """([N, 1, 8, 8] in [-1, 1], [N] classes) the digits that come with scikit-learn, whose import takes longer than the test."""
    if (found := importlib.util.find_spec("sklearn")) is None:
        pytest.skip("scikit-learn is not installed")
    rows = np.loadtxt(Path(found.submodule_search_locations[0]) / "datasets/data/digits.csv.gz", delimiter=",")
    return torch.tensor(rows[:, :64]).float().reshape(-1, 1, 8, 8) / 8 - 1, torch.tensor(rows[:, 64]).long()
