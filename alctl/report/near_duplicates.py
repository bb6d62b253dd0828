"""What a report shows of a round's near-duplicates and limits, from what the round recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection

from alctl.database import items
from alctl.report.blocks import Block, Pair, Pairs, Picture, Text
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
    newest = next((row.id for row in reversed(rounds) if row.pairs), None)
    for row in reversed(rounds):
        said = [*_near(row.params.get(NEAR_DUPLICATES)), *_kept(row.params.get(LIMITS))]
        if said:
            found.append(Text(f"Round {row.id}: {'; '.join(said)}."))
        if row.id == newest or any(not pair.apart for pair in row.pairs):
            pairs = [_pair(pair) for pair in row.pairs]
            found.append(Pairs(f"Round {row.id}, the most similar images", pairs, _note(row.pairs)))
    return found


def _note(pairs: Sequence[ShownPair]) -> str:
    """Return what became of the pairs."""
    near = sum(not pair.apart for pair in pairs)
    if not near:
        return "None of them is alike enough to be left out; `alctl select --duplicates` moves the threshold."
    which = "each pair" if near == len(pairs) else f"the first {_of(near, 'pair')}"
    return f"Of {which} the left image was left out; `alctl select --duplicates` moves the threshold."


def _near(found: Mapping[str, Any] | None) -> list[str]:
    """Return the numbers of near-duplicates; nothing where nobody looked for them."""
    if found is None:
        return []
    alike = f"near-duplicates (cosine {found['cosine']:g} or more)"
    if not found["groups"]:
        said = [f"no {alike} among the candidates"]
    else:
        said = [f"{_of(found['groups'], 'group')} of {alike}, {_of(found['left_out'], 'image')} left out"]
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


def _pair(pair: ShownPair) -> Pair:
    other = "labeled already" if pair.labeled else "could be chosen" if pair.apart else "stands for it"
    return Pair(
        Picture(pair.item, pair.path, ["could be chosen" if pair.apart else "left out"]),
        Picture(pair.like, pair.like_path, [other]),
        f"cosine {pair.cosine:.3f}",
    )
