"""For each candidate the references that it may cover better than they are covered: lists of many lengths in one store."""

from typing import NamedTuple

import torch
from torch import Tensor

TOGETHER = 1024
"""Lists that are moved at once."""


class Entries(NamedTuple):
    """The lists of some candidates, one after the other."""

    rows: Tensor
    """(T,) int64, ascending: which of the candidates."""
    columns: Tensor
    """(T,) int64, places of references."""
    kernel: Tensor
    """(T,) float32, upper bounds of the kernel there."""

    def of(self, row: int) -> tuple[Tensor, Tensor]:
        """Return the columns and the kernel of one candidate."""
        ends = torch.tensor([row, row + 1], device=self.rows.device)
        first, end = torch.searchsorted(self.rows, ends).tolist()
        return self.columns[first:end], self.kernel[first:end]


def joined(one: Entries, other: Entries) -> Entries:
    """Return the lists of the same candidates in two parts as one."""
    rows, order = torch.cat([one.rows, other.rows]).sort(stable=True)
    columns, kernel = torch.cat([one.columns, other.columns]), torch.cat([one.kernel, other.kernel])
    return Entries(rows, columns[order], kernel[order])


def better(above: Tensor, below: Tensor) -> Entries:
    """Return where the rows of ``above`` (B, R) are more than ``below`` (R,)."""
    rows, columns = (above > below).nonzero(as_tuple=True)
    return Entries(rows, columns, above[rows, columns])


def that_fit(bound: Tensor, sizes: Tensor, room: int) -> Tensor:
    """Return places of the highest bounds (B,) whose lists of ``sizes`` (B,) have room together, in that order."""
    order = bound.argsort(descending=True, stable=True)
    return order[sizes[order].cumsum(0) <= room]


class Reach:
    """The lists of N candidates, as far as there is room for them."""

    def __init__(self, count: int, room: int, device: torch.device) -> None:
        """Make place for ``room`` entries, 8 bytes each; memory is taken as it is used."""
        self.room = room
        self.used = 0
        self.size = torch.full((count,), -1, dtype=torch.int64, device=device)
        self._start = torch.zeros_like(self.size)
        self._columns = torch.empty(room, dtype=torch.int32, device=device)
        self._kernel = torch.empty(room, dtype=torch.float32, device=device)

    def put(self, positions: Tensor, entries: Entries) -> None:
        """Keep the lists of the candidates at ``positions`` (B,), in place of those they had."""
        end = self.used + len(entries.rows)
        self._columns[self.used : end] = entries.columns
        self._kernel[self.used : end] = entries.kernel
        sizes = entries.rows.bincount(minlength=len(positions))
        self._start[positions] = self.used + sizes.cumsum(0) - sizes
        self.size[positions] = sizes
        self.used = end

    def of(self, positions: Tensor) -> Entries:
        """Return the lists of the candidates at ``positions`` (B,), which all have one."""
        sizes = self.size[positions]
        rows = torch.arange(len(positions), device=sizes.device).repeat_interleave(sizes)
        shift = self._start[positions] - (sizes.cumsum(0) - sizes)
        index = shift[rows].add_(torch.arange(len(rows), device=sizes.device))
        return Entries(rows, self._columns[index].long(), self._kernel[index])

    def shorten(self, below: Tensor, bound: Tensor, room: int) -> None:
        """Take out what is covered by now, and then the lists of the lowest bounds until no more than ``room`` is used.

        ``below`` (m,) is what is covered, ``bound`` (N,) what each candidate may add.
        """
        self._move(below)
        if self.used > room:
            listed = (self.size >= 0).nonzero()[:, 0]
            kept = listed[that_fit(bound[listed], self.size[listed], room)]
            sizes = torch.full_like(self.size, -1)
            sizes[kept] = self.size[kept]
            self.size = sizes
            self._move(below)

    def _move(self, below: Tensor) -> None:
        listed = (self.size >= 0).nonzero()[:, 0]
        self.used = 0
        for some in listed[self._start[listed].argsort()].split(TOGETHER):
            rows, columns, kernel = self.of(some)
            more = kernel > below[columns]
            self.put(some, Entries(rows[more], columns[more], kernel[more]))
