"""Options of `select` that limit what a round may hold, and what is printed of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from alctl.cli.options import LARGEST, several_option, share_option
from alctl.errors import AlctlError

if TYPE_CHECKING:
    from alctl.rounds.answer import Kept
    from alctl.rounds.select import Selected
    from alctl.rounds.select_options import Limits

PANEL = "Limits of a round"


@dataclass(frozen=True)
class Limiting:
    """Options that say what a round may not hold too much of."""

    duplicates: Annotated[
        float | None,
        share_option(
            "Cosine of embeddings from which two images are near-duplicates, of which one is chosen at most "
            "(default: 0.92 with efficientnet-lite0, else as `alctl embed` measured); 0: never.",
            "COSINE",
            PANEL,
        ),
    ] = None
    balance: Annotated[
        bool,
        typer.Option(
            "--balance",
            rich_help_panel=PANEL,
            help="Make labels and picks together as even among the classes as predictions allow.",
        ),
    ] = False
    per_class: Annotated[
        list[str] | None,
        several_option(
            "[CLASS=]K", "Most images that are predicted to be of a class, or of each class.", PANEL
        ),
    ] = None
    max_share: Annotated[
        list[str] | None,
        several_option(
            "GROUP=SHARE",
            "Largest share of one value of a manifest's column, of one folder or of one camera: source=0.3.",
            PANEL,
        ),
    ] = None


def limits_of(given: Limiting) -> "Limits":
    """Return the limits that were typed; AlctlError for one that is none."""
    from alctl.rounds.select_options import EVERY, Limits

    shares = dict(
        _pair(text, "--max-share", "GROUP=SHARE, such as source=0.3") for text in given.max_share or []
    )
    wrong = [name for name, text in shares.items() if not 0 < (_number(text) or 0) <= 1]
    if wrong:
        raise AlctlError(f"--max-share {wrong[0]}={shares[wrong[0]]}: a share is above 0 and at most 1")
    per_class: dict[str, str] = {}
    for text in given.per_class or []:
        name, count = (EVERY, text) if "=" not in text else _pair(text, "--per-class", "CLASS=K")
        if not (count.isascii() and count.isdigit() and int(count) <= LARGEST):
            raise AlctlError(f"--per-class {text}: {count!r} is no number of images")
        per_class[name] = count
    return Limits(
        given.duplicates, given.balance, {name: int(count) for name, count in per_class.items()},
        {name: float(text) for name, text in shares.items()},
    )  # fmt: skip


def _pair(text: str, option: str, wanted: str) -> tuple[str, str]:
    """Split at the last equals sign, because the name of a class may hold one."""
    name, _, value = text.rpartition("=")
    if not name.strip() or not value.strip():
        raise AlctlError(f"{option} {text!r} is not {wanted}")
    return name.strip(), value.strip()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def show_limits(selected: "Selected") -> None:
    """Print the near-duplicates, and how far shares and balance were kept."""
    from alctl.cli import screen

    found, kept = selected.duplicates, selected.limits
    if found:
        screen.say(
            f"  {screen.counted(found.groups, 'group')} of near-duplicates (cosine {found.cosine:g} or more): "
            f"{screen.counted(found.left_out, 'image')} left out"
        )
        if found.labeled:
            screen.say(f"  probably labeled already: {screen.counted(found.labeled, 'image')}, left out too")
            screen.listed(
                found.probably_labeled,
                lambda pair: f"  {pair.path} is like {pair.like_path} ({pair.cosine:.3f})",
            )
        if found.repeated:
            screen.warn(
                f"nothing else was left, so {screen.counted(found.repeated, 'near-duplicate')} went out as well"
            )
    if kept:
        show_kept(kept)


def show_kept(kept: "Kept") -> None:
    """Print how far shares and balance were kept."""
    from alctl.cli import screen

    for column, most in kept.most.items():
        without = (
            f"; {screen.counted(kept.unknown[column], 'candidate')} without one"
            if kept.unknown[column]
            else ""
        )
        screen.say(f"  at most {screen.counted(most, 'image')} of one {column}{without}")
    if kept.balance:
        wanted = ", ".join(f"{count:,} {name}" for name, count in kept.balance.items() if count)
        screen.say(f"  to balance the classes: {wanted}")
    if kept.balance or kept.per_class:
        how = "not measured" if kept.right is None else f"right on {kept.right:.0%} of the validation images"
        screen.say(f"  classes are as the model predicts them, {how}")
    if kept.beyond:
        screen.warn(f"too few images are within the limits, so {kept.beyond:,} of the round are beyond them")
