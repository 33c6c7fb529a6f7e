"""Small images kept as bytes: decoded once, augmented a batch at a time, on the device where the batch lies.

Files of images are decoded and resized once; what comes of that lies in a memory-mapped file beside them, which is made anew when
a name, a size or a time of the files has changed. Crops and flips are an image's own; AutoAugment is drawn for every four images,
which changes nothing for a single one.

Reference: Cubuk et al., AutoAugment; the release of HardCoRe-NAS (crop, flip, AutoAugment).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, Subset

from graphs.files import shortened, written_whole

Bytes = NDArray[np.uint8]
Transform = Callable[[Tensor], Tensor]  # images (B, C, S, S) uint8 to (B, C, side, side) float32, on the device they lie on
_TOGETHER = 4  # images that share a draw of AutoAugment


class PixelDataset(Dataset[tuple[Tensor, int]]):
    """Images (N, C, S, S) uint8 with labels (N,), and a transform of whole batches of them."""

    def __init__(self, images: Bytes, labels: Sequence[int] | NDArray[Any], transform: Transform) -> None:
        self.images, self.labels, self.transform = images, torch.as_tensor(np.asarray(labels), dtype=torch.int64), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(torch.from_numpy(self.images[[index]]))[0], int(self.labels[index])


class PixelBatches:
    """Batches of images, transformed, and labels, both on the device; what :func:`constrained_nas.data.loader` gives for pixels.

    Args:
        data: whose images are wanted.
        rows: the numbers of those among them that there are.
        batches: of places in ``rows``.
        device: where batches are transformed; None for the host.
        workers: processes that read them and, where the device is the host, transform them.
        generator: draws a seed for every batch, under which it is transformed: in whichever process, it is the same; without one
            transforms draw from torch's global state.
    """

    def __init__(
        self,
        data: PixelDataset,
        rows: NDArray[np.intp],
        batches: BatchSampler,
        device: torch.device | None,
        workers: int,
        generator: torch.Generator | None,
    ) -> None:
        self.transform = data.transform
        self.device = torch.device("cpu") if device is None else device
        self.early = workers > 0 and self.device.type == "cpu"
        source, pinned = _Indexed(data, rows, self.early), self.device.type == "cuda"
        self.loader: DataLoader[Any] = DataLoader(
            source,
            batch_size=None,
            sampler=_SeededBatches(batches, generator),
            num_workers=workers,
            generator=generator,
            pin_memory=pinned,
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels, seed in self.loader:
            if self.early:
                yield images, labels
            else:
                moved = images.to(self.device, non_blocking=True)
                with drawing_from(seed):
                    changed = self.transform(moved)
                yield changed, labels.to(self.device, non_blocking=True)


class _SeededBatches(Sampler[tuple[list[int], int | None]]):
    """Batches of places with a seed each, all drawn where the order is; without a generator there are no seeds."""

    def __init__(self, batches: BatchSampler, generator: torch.Generator | None) -> None:
        self.batches, self.generator = batches, generator

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[list[int], int | None]]:
        if self.generator is None:
            yield from ((places, None) for places in self.batches)
            return
        order = list(self.batches)
        seeds = torch.randint(2**31, (len(order),), generator=self.generator).tolist()
        yield from zip(order, seeds, strict=True)


class _Indexed(Dataset[tuple[Tensor, Tensor, int | None]]):
    """Batches by the places of their images and their seeds."""

    def __init__(self, data: PixelDataset, rows: NDArray[np.intp], transformed: bool) -> None:
        self.data, self.rows, self.transformed = data, rows, transformed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[list[int], int | None]) -> tuple[Tensor, Tensor, int | None]:
        places, seed = key
        rows = self.rows[places]
        images = torch.from_numpy(self.data.images[rows])
        if self.transformed:
            with drawing_from(seed):
                images = self.data.transform(images)
        return images, self.data.labels[rows], seed


@contextmanager
def drawing_from(seed: int | None) -> Iterator[None]:
    """What is drawn on the host inside the block follows from ``seed``, and nobody outside notices; None leaves everything."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would start the generators of GPUs anew, too
        yield


def pixels_of(data: Dataset[Any]) -> tuple[PixelDataset, NDArray[np.intp]] | None:
    """The pixels behind a data set and the numbers of its images; None for data sets of another kind."""
    if isinstance(data, PixelDataset):
        return data, np.arange(len(data))
    inner = pixels_of(data.dataset) if isinstance(data, Subset) else None
    return None if inner is None else (inner[0], inner[1][np.asarray(data.indices, dtype=np.intp)])  # type: ignore[attr-defined]


def cropped_and_flipped(padding: int) -> Transform:
    """Every image padded with black, cropped back to its size at random, and flipped half of the time."""

    def change(images: Tensor) -> Tensor:
        count, _, _, side = images.shape
        padded = functional.pad(images, [padding] * 4)
        top, left = torch.randint(2 * padding + 1, (2, count, 1))
        steps = torch.arange(side)
        columns = torch.where(torch.rand(count, 1) < 0.5, steps.flip(0), steps) + left  # (B, side)
        rows, columns = (index.to(images.device, non_blocking=True) for index in (steps + top, columns))
        numbers = torch.arange(count, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    return change


def auto_augmented(images: Tensor) -> Tensor:
    """AutoAugment's policy for CIFAR-10 on images (B, 3, S, S) uint8."""
    from torchvision.transforms import v2

    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    return torch.cat([policy(part) for part in images.split(_TOGETHER)])


def rand_augment(image: Any) -> Any:
    """RandAugment ``m9-mstd0.5`` on an image: two operations, of magnitude 9 of 10 with a standard deviation of 0.5.

    Reference: Cubuk et al., RandAugment; Wightman, PyTorch Image Models (the notation).
    """
    from torchvision.transforms import v2

    magnitude = float((9.0 + 0.5 * torch.randn(())).clamp(0.0, 10.0))
    return v2.RandAugment(2, round(100 * magnitude), num_magnitude_bins=1001)(image)


def rand_augmented(images: Tensor) -> Tensor:
    """:func:`rand_augment` on images (B, 3, S, S) uint8."""
    return torch.cat([rand_augment(part) for part in images.split(_TOGETHER)])


def scaled_pixels(mean: Sequence[float], deviation: Sequence[float]) -> Transform:
    """Bytes to (value / 255 - mean) / deviation, by channel, as float32."""

    def change(images: Tensor) -> Tensor:
        shift, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, deviation))
        return (images.float() / 255 - shift) / scale

    return change


def decoded(files: Sequence[Path], root: Path, side: int, cache: Path) -> Bytes:
    """The files' images, resized to ``side``, as (N, 3, side, side) bytes in a memory-mapped file in the folder ``cache``.

    Where the folder cannot be written the images are kept in memory.
    """
    stats = [  # the time of change too: that of the content can be set, and comes again where a clock went back
        (file.relative_to(root).as_posix(), (was := file.stat()).st_size, was.st_mtime_ns, was.st_ctime_ns) for file in files
    ]
    key = hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]  # several data sets may share a cache
    path = cache / f"{root.name}-{side}-{place}-{key}.npy"
    if path.exists():
        found: Bytes = np.load(path, mmap_mode="r")
        if found.shape == (len(files), 3, side, side):
            return found
    images = np.stack([_decoded(file, side) for file in files])
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(f"{root.name}-{side}-{place}-*.npy"):
            old.unlink()
        with written_whole(path) as partial, open(partial, "wb") as target:
            np.save(target, images)
    except OSError:
        return images
    return np.load(path, mmap_mode="r")


def resized(images: Bytes, side: int) -> Bytes:
    """Images (N, 3, S, S) at another side, with antialiasing."""
    from torchvision.transforms.v2 import functional as v2

    if images.shape[-1] == side:
        return images
    parts = [
        v2.resize(torch.from_numpy(images[at : at + 1000]), [side, side], antialias=True) for at in range(0, len(images), 1000)
    ]
    return torch.cat(parts).numpy()


def read_image(file: Path | str) -> Any:  # a PIL image
    """In three colours.

    Raises:
        ValueError: what the file holds is no image, or not all of one; names the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = "it is none" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise ValueError(f"{file}: an image that cannot be read ({shortened(said, 100)}): mend it or take it away") from error


def _decoded(file: Path, side: int) -> Bytes:
    pixels = np.asarray(read_image(file)).transpose(2, 0, 1).copy()
    if pixels.shape[1:] == (side, side):
        return pixels
    from torchvision.transforms.v2 import functional as v2

    return v2.resize(torch.from_numpy(pixels), [side, side], antialias=True).numpy()
