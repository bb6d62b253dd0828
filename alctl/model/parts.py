"""Candidates made of other candidates: some of them, or two sets one after the other."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from alctl.model.strategy import Candidates, Prediction

REMEMBERED = 2**28
"""Numbers of predictions and embeddings that are kept at most, 1 GiB."""


class Part:
    """The images at some positions of other candidates, in that order."""

    def __init__(self, whole: Candidates, positions: Tensor) -> None:
        """Take ``positions`` (n,) of ``whole``."""
        self.whole = whole
        self.positions = positions

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.positions)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to all images of the whole, and return the rows of these."""
        return self._of(self.whole.map(fn, dropout_passes=dropout_passes))

    def embeddings(self) -> Tensor:
        """Return the vectors of these images, (n, D)."""
        return self._of(self.whole.embeddings())

    def images(self) -> Iterator[Tensor]:
        """Yield these images one by one, as batches of one."""
        place = {position: i for i, position in enumerate(self.positions.tolist())}
        found: dict[int, Tensor] = {}
        done = start = 0
        for batch in self.whole.images():
            for i, image in enumerate(batch, start=start):
                if i in place:
                    found[place[i]] = image
            start += len(batch)
            while done in found:
                yield found.pop(done)[None]
                done += 1

    def _of(self, rows: Tensor) -> Tensor:
        return rows[self.positions.to(rows.device)]


class Joined:
    """The images of some candidates and then those of others."""

    def __init__(self, parts: Sequence[Candidates]) -> None:
        """Take the candidates of ``parts``, at least one."""
        self.parts = parts

    def __len__(self) -> int:
        """Return how many images there are."""
        return sum(map(len, self.parts))

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to the images of each part in turn."""
        return torch.cat([part.map(fn, dropout_passes=dropout_passes) for part in self.parts if len(part)])

    def embeddings(self) -> Tensor:
        """Return the vectors of all images, (N, D)."""
        return torch.cat([part.embeddings() for part in self.parts if len(part)])

    def images(self) -> Iterator[Tensor]:
        """Yield the images of each part in turn."""
        for part in self.parts:
            yield from part.images()


class Remembered:
    """Candidates that ask the model once and then answer from memory, because they are asked again and again."""

    def __init__(self, whole: Candidates) -> None:
        """Remember what the model says of ``whole``, as far as there is room for it."""
        self.whole = whole
        self._said: list[Prediction] | None = None

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.whole)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to each batch; passes with dropout are made again each time."""
        if self._said and not dropout_passes:
            result = torch.cat([fn(batch) for batch in self._said])
            if not bool(result.isnan().any()):  # else the model itself says what is wrong
                return result
        said: list[Prediction] = []
        kept = 0

        def listen(batch: Prediction) -> Tensor:
            nonlocal kept
            kept += batch.distributions.p.numel() + batch.embedding.numel()
            if kept <= REMEMBERED:
                said.append(batch)
            return fn(batch)

        result = self.whole.map(fn if dropout_passes else listen, dropout_passes=dropout_passes)
        if not dropout_passes and kept <= REMEMBERED:
            self._said = said
        return result

    def embeddings(self) -> Tensor:
        """Return the vectors of all images, (N, D)."""
        return self.whole.embeddings()

    def images(self) -> Iterator[Tensor]:
        """Yield the images in batches."""
        return self.whole.images()
