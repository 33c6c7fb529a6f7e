"""PruNet's presets against the paper: every number with the table or section that it is from. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from constrained_nas.data import image_folder
from constrained_nas.data.pixels import rand_augment
from constrained_nas.latency import Timer, require_runtime, runtime_called
from constrained_nas.methods.prunet import PrunodeSettings, SkipScales
from constrained_nas.search import PRUNET_TRAINING
from graphs.costs import count
from graphs.spaces import GPUNET_COUNTS, GPUNETS, gpunet
from papers_repro import prunet_figure5, prunet_figure6, prunet_table2, prunet_table6
from papers_repro.harness import read_options, save_record, started
from papers_repro.prunet import SearchSpec, imagewoof_preset, load_data, make_space, setup_preset
from papers_repro.prunet.published import DISTILLED, FRONT, TEACHERS, front_rows
from papers_repro.prunet.retraining import all_training, settings_of
from papers_repro.prunet.searches import method_of

ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0)  # Table 6


def test_the_search_on_imagenet() -> None:
    setup = setup_preset("paper")
    assert (setup.space, setup.resolution) == ("imagenet", 288)  # Sec. 4, Table 1
    assert (setup.epochs, setup.warm_up, setup.batch_size) == (200, 70, 256)  # Sec. 4
    assert (setup.data, setup.architecture_share) == ("imagenet-tenth", 0.2)  # Sec. 4: a tenth of the classes, 80 / 20
    assert (setup.recipe, setup.precision) == ("rand_augment", "16-mixed")  # Sec. 4: m9-mstd0.5, AMP
    assert (setup.weights_rate, PRUNET_TRAINING.optimizer, PRUNET_TRAINING.weight_decay) == (0.002, "rmsprop", 1e-5)  # Sec. 4
    assert setup.logit_rate == 0.1  # Sec. 4: Adam with a cosine from 0.1
    assert setup.share_warm_up and setup.clamp is None  # Table 6; Algorithm 1
    assert (setup.latency_device, setup.latency_batch, setup.clock) == ("cuda", 1, "wall")  # Table 2
    assert (setup.latency_half, setup.latency_runtime) == (True, "cuda-graphs")  # Table 2
    space = make_space(setup, 100, 3)
    spec = SearchSpec("one", 0, 1.0)
    cost = SimpleNamespace(space=space.space, unit="ms", quadratic=SimpleNamespace(theta=np.zeros((1, 1))))
    method = method_of(spec, setup, space, cost)  # type: ignore[arg-type]
    assert (method.beta, method.first_threshold, method.last_threshold) == (0.6, 0.15, 0.55)  # Eq. 2, Sec. 4
    assert method.widths == PrunodeSettings(ceiling=0.8, max_distance=0.6, momentum=0.4)  # Algorithm 1
    assert method.scales == SkipScales(1.1, 0.55)  # Table 6


def test_retraining_on_imagenet() -> None:
    setup = setup_preset("paper")
    assert (setup.retrain_epochs, setup.retrain_batch, setup.retrain_rate, setup.decay) == (450, 1536, 0.06, 0.97)  # Sec. 4
    assert (setup.retrain_optimizer, setup.retrain_weight_decay) == ("rmsprop", 1e-5)  # Sec. 4
    assert (setup.ema_decay, setup.drop_path, setup.retrain_data) == (0.9999, 0.2, "imagenet")  # Sec. 4
    assert TEACHERS == {  # Table 4
        288: ("efficientnet_b3", 300, 0.904),
        320: ("efficientnet_b4", 380, 0.922),
        384: ("efficientnet_b5", 456, 0.934),
    }
    assert setup.test_crop == TEACHERS[setup.resolution][2]


def test_records_name_no_folders(tmp_path: Path) -> None:
    options = replace(prunet_table6.preset("smoke"), setup=replace(setup_preset("smoke"), data=str(tmp_path / "cifar10")))
    record = save_record(tmp_path, "one", "smoke", 0, options, [], 0.0).read_text()
    assert '"data": "cifar10"' in record and str(tmp_path) not in record


def test_imagewoof() -> None:
    setup = imagewoof_preset()
    assert (setup.space, setup.resolution, setup.data) == ("imagewoof", 224, "imagewoof")  # Table 5
    assert (setup.retrain_epochs, setup.retrain_batch, setup.retrain_rate, setup.retrain_optimizer) == (450, 32, 0.2, "sgd")  # B.1
    assert (setup.retrain_data, setup.decay) == ("", 0.0)
    options = read_options(prunet_figure5.preset, ["--scale", "paper"])
    assert options.setup == setup, "Fig. 5 is on Imagewoof"
    assert (options.alphas, options.constant, options.rising) == ((*ALPHAS, 3.0), 0.133, (0.133, 0.55))  # Fig. 5, B.1


def test_grids() -> None:
    for script in (prunet_table6, prunet_figure6):
        grid = read_options(script.preset, ["--scale", "paper"]).grid
        assert (grid.alphas, grid.seeds) == (ALPHAS, 1)  # Table 6: 28 searches
    options = read_options(prunet_table2.preset, ["--scale", "paper"])
    assert (set(options.scales), options.alphas) == ({0.4, 0.55, 0.85}, ALPHAS)  # Table 2: the best of three lambdas


def test_the_gpu_scale_holds_one_split() -> None:
    setup = setup_preset("gpu")
    assert (setup.split_seed, setup.space, setup.epochs, setup.warm_up, setup.retrain_epochs) == (0, "cifar", 40, 10, 30)
    for scale in ("cpu", "gpu"):
        with pytest.raises(SystemExit, match=f"no scale {scale}"), pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["script", "--scale", scale])
            from papers_repro import prunet_table1

            with started("prunet_table1", prunet_table1.preset):
                raise AssertionError("began")


def test_the_cpu_scale_searches_on_a_part_and_retrains_on_all(tmp_path: Path) -> None:
    folder_of_images(tmp_path, 9)
    setup = replace(setup_preset("cpu"), data=str(tmp_path), search_images=6)
    assert (setup.split_seed, setup.resolution, setup.device) == (0, 16, "cpu")
    part, whole = (load_data(setup, 3, retrain=retrain) for retrain in (False, True))
    assert (len(part.weights), len(part.architecture), len(part.test)) == (4, 2, 4)  # type: ignore[arg-type] # a third of six
    assert len(all_training(whole)) == 18  # type: ignore[arg-type]
    assert part.identity != whole.identity
    assert settings_of(setup, retrain=False)["search_images"] == 6
    layers = make_space(setup, 10, 3).layers.values()
    assert (len(layers), next(iter(layers)).side) == (6, 16), "no stride in the stem"
    options = prunet_table2.preset("cpu")
    assert (options.alphas, options.scales, options.seeds, options.rivals) == ((0.2, 0.8), (0.85, 0.55, 0.4), 3, 1)
    with pytest.raises(ValueError, match="--search-images"):
        replace(setup, search_images=-1)


@pytest.mark.parametrize("name", GPUNETS)
def test_gpunets_are_the_releases(name: str) -> None:
    side, parameters, macs = GPUNET_COUNTS[name]
    with torch.device("meta"):
        released, padded = (count(gpunet(name, released=how), (3, side, side)) for how in (True, False))
    assert (released.parameters, released.macs) == (parameters, macs)
    assert padded.parameters == parameters
    assert round(padded.macs / 1e9, 3) == {"GPUNet-0": 3.309, "GPUNet-1": 3.375, "GPUNet-2": 8.709}[name]


def test_speed_ups_are_over_the_next_better_prunet() -> None:
    rows = {row["network"]: row for row in front_rows()}
    assert len(rows) == len(FRONT) and rows["PRUNET-2"]["speedup"] is None
    assert rows["EfficientNet-B0"]["speedup"] == pytest.approx(0.94 / 0.48)
    assert rows["ResNet-101"]["speedup"] == pytest.approx(1.7 / 1.28)  # 82.0 %: of the PRUNETs only the last reaches it
    distilled = {row["network"]: row for row in front_rows(distilled=True)}
    assert distilled["GPUNet-2"]["speedup"] == pytest.approx(1.57 / 1.28) and len(distilled) == len(DISTILLED)


def folder_of_images(folder: Path, training: int) -> None:
    """Two classes of so many training images each, and two to test on."""
    generator = np.random.default_rng(0)
    for part, many in (("train", training), ("val", 2)):
        for name in "ab":
            (folder / part / name).mkdir(parents=True)
            for index in range(many):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")


def test_all_training_images_are_augmented(tmp_path: Path) -> None:
    folder_of_images(tmp_path, 6)
    data = image_folder(tmp_path, 16, 0.5, recipe="rand_augment")
    whole = all_training(data)
    assert len(whole) == 12 == len(data.weights) + len(data.architecture)  # type: ignore[arg-type]
    held = data.architecture
    assert isinstance(held, Subset)
    changed = sum(not torch.equal(whole[index][0], held.dataset[index][0]) for index in held.indices)
    assert changed > len(held.indices) / 2, "those of the architecture's split too"
    drawn = TensorDataset(torch.zeros(3, 1), torch.zeros(3))
    together = all_training(SimpleNamespace(weights=drawn, architecture=drawn))  # type: ignore[arg-type]
    assert isinstance(together, ConcatDataset) and len(together) == 6


def test_magnitudes_are_nine_of_ten_with_half_a_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Recorded:
        def __init__(self, operations: int, magnitude: int, num_magnitude_bins: int) -> None:
            seen.append(10 * magnitude / (num_magnitude_bins - 1))
            assert operations == 2

        def __call__(self, image: object) -> object:
            return image

    monkeypatch.setattr("torchvision.transforms.v2.RandAugment", Recorded)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(400):
            rand_augment(None)
    assert np.mean(seen) == pytest.approx(9.0, abs=0.1) and np.std(seen) == pytest.approx(0.5, abs=0.07)
    assert max(seen) <= 10.0


def test_the_test_crop_is_central(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part / "a").mkdir(parents=True)
        for index in range(2):
            pixels = np.zeros((100, 100, 3), dtype=np.uint8)
            pixels[10:90, 10:90] = 255  # the central .8
            Image.fromarray(pixels).save(tmp_path / part / "a" / f"{index}.png")
    inside, whole = (image_folder(tmp_path, 80, 0.5, crop=crop, recipe="crop_flip").test[0][0] for crop in (0.8, 1.0))
    assert inside.shape == whole.shape == (3, 80, 80)
    assert inside.min() > 0.99 and whole.min() < -0.99


def test_latencies_in_half_precision() -> None:
    timer = Timer(batch=2, half=True)
    network = timer.place(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()))
    images = timer.noise((3, 8, 8))
    assert images.dtype == torch.float16 and next(network.parameters()).dtype == torch.float16
    assert timer.conditions("torch")["dtype"] == "float16" and Timer().conditions("torch")["dtype"] == "float32"
    with pytest.raises(ValueError, match="CUDA graphs need a GPU"):
        require_runtime("cuda-graphs", "cpu")
    assert runtime_called("CUDA graphs, channels last, wall clock") == "cuda-graphs"
