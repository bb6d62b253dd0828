"""What a report shows of a round's near-duplicates and limits, from what the round recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection

from alctl.database import items
from alctl.report.blocks import Block, Gallery, Picture, Text
from alctl.report.contents import RoundFacts, ShownPair
from alctl.report.numbers_as_text import count
from alctl.rounds.answer import LIMITS, NEAR_DUPLICATES


def closest(connection: Connection, params: Mapping[str, Any]) -> list[ShownPair]:
    """Return the closest pairs that a round recorded, with the paths that their images have now."""
    pairs = (params.get(NEAR_DUPLICATES) or {}).get("closest", [])
    ids = sorted({id_ for pair in pairs for id_ in (pair["item"], pair["like"])})
    paths = {item.id: item.path for item in items.fetch(connection, np.array(ids, dtype=np.int64))}
    return [
        ShownPair(
            path=paths[pair["item"]],
            like_path=paths[pair["like"]],
            **{name: pair[name] for name in ("item", "like", "cosine", "labeled", "apart")},
        )
        for pair in pairs
    ]


def blocks(rounds: Sequence[RoundFacts]) -> list[Block]:
    """Return what limits did to each round, the newest first."""
    found: list[Block] = []
    for row in reversed(rounds):
        said = [*_near(row.params.get(NEAR_DUPLICATES)), *_kept(row.params.get(LIMITS))]
        if said:
            found.append(Text(f"Round {row.id}: {'; '.join(said)}."))
        if row.pairs:
            pictures = [picture for i, pair in enumerate(row.pairs, 1) for picture in _pictures(i, pair)]
            note = (
                "Of each pair the first image was left out; `alctl select --duplicates` moves the threshold."
            )
            found.append(Gallery(f"Round {row.id}, the most similar images", pictures, note))
    return found


def _near(found: Mapping[str, Any] | None) -> list[str]:
    """Return the numbers of near-duplicates; nothing where nobody looked for them."""
    if found is None:
        return []
    said = [
        f"{_of(found['groups'], 'group')} of near-duplicates (cosine {found['cosine']:g} or more), "
        f"{_of(found['left_out'], 'image')} left out"
    ]
    if found["labeled"]:
        said.append(f"{_of(found['labeled'], 'image')} probably labeled already, left out too")
    if found["repeated"]:
        said.append(
            f"{_of(found['repeated'], 'near-duplicate')} taken all the same, for lack of other images"
        )
    return said


def _kept(found: Mapping[str, Any] | None) -> list[str]:
    """Return the limits on shares and classes, and how many images are beyond them."""
    if found is None:
        return []
    said = [f"at most {_of(most, 'image')} of one {column}" for column, most in found["most"].items()]
    said += [
        f"at most {_of(most, 'image')} of {name or 'each class'}" for name, most in found["per_class"].items()
    ]
    if found["balance"]:
        said.append("classes balanced, as far as predicted")
    if found["beyond"]:
        said.append(f"{_of(found['beyond'], 'image')} beyond these limits, for lack of other images")
    return said


def _of(number: int, thing: str) -> str:
    return f"{count(number)} {thing}{'' if number == 1 else 's'}"


def _pictures(number: int, pair: ShownPair) -> list[Picture]:
    other = "labeled already" if pair.labeled else "could be chosen" if pair.apart else "stands for it"
    return [
        Picture(
            pair.item,
            pair.path,
            [f"pair {number}  cosine {pair.cosine:.3f}", "could be chosen" if pair.apart else "left out"],
        ),
        Picture(pair.like, pair.like_path, [f"pair {number}", other]),
    ]
