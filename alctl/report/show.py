"""Drawing a round: its contact sheet with what annotators said since, or where it lies among all embeddings."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import Connection

from alctl.chance import stream
from alctl.database import history, items, rounds, settings, training_runs
from alctl.errors import AlctlError
from alctl.files import whole_file
from alctl.images import contact_sheet as sheet
from alctl.images.decode import BrokenImages, MissingImages, Source, allow_missing
from alctl.progress import Progress
from alctl.project import Project, required_state
from alctl.report.facts import RESERVED
from alctl.rounds import pool, trained_model
from alctl.rounds.model import Model

MOST = 2_000
"""Images of a kind that are embedded; of more a random part."""
KINDS = ("rest", "labeled", "picked")
_COLOURS = {"rest": "#b8bec7", "labeled": "#1f77b4", "picked": "#d62728"}


Kind = Literal["contact sheet", "embedding"]
"""A contact sheet: its images; an embedding: where they lie among all images."""


@dataclass(frozen=True)
class Shown:
    """What a picture shows."""

    round: int
    image: Image.Image
    about: Mapping[str, Any]
    """How it was made, as JSON knows it; it goes into the file too."""
    kind: Kind = "contact sheet"
    missing: Mapping[int, str] = field(default_factory=dict)
    """Images that are not there and were left out, by item id, and where they should be."""

    @property
    def file_name(self) -> str:
        """What its file is called unless somebody says otherwise."""
        return f"round-{self.round:04}{'-embedding' if self.kind == 'embedding' else ''}.png"


def draw(project: Project, number: int | None, kind: Kind, device: str, progress: Progress) -> Shown:
    """Draw a picture of a round, by default of the newest one."""
    wanted = last_round(project) if number is None else number
    if kind == "embedding":
        return embedding(project, wanted, device, progress)
    return contact_sheet(project, wanted, progress)


def last_round(project: Project) -> int:
    """Return the number of the newest round; AlctlError before the first."""
    with project.reading() as connection:
        number = rounds.next_round(connection) - 1
    if not number:
        raise AlctlError("no round was selected yet; `alctl status` names the command")
    return number


def contact_sheet(project: Project, number: int, progress: Progress) -> Shown:
    """Draw the first images of a round with score, rank and label; a random control image says so."""
    with project.reading() as connection:
        row, picks = _round(connection, number)
        root = required_state(connection, project.folder).root
        ranges = settings.levels(connection)
        answers = {answer.item_id: answer.words for answer in history.answers_of_round(connection, number)}
    shown = picks[: sheet.SHEET]
    sources = [Source(pick.item_id, f"{root}/{pick.path}", pick.digest) for pick in shown]
    made = sheet.thumbnails(sources, progress, ranges)  # one that is broken or not there is blank
    allow_missing(made.missing, len(sources))
    said = {
        pick.item_id: ("(random) " if pick.why == rounds.CONTROL else "")
        + (answers.get(pick.item_id) or "no answer yet")
        for pick in shown
    }
    about = {"round": number, "strategy": row.strategy, "images": len(picks), "shown": len(shown)}
    return Shown(number, sheet.contact_sheet(shown, made.images, said), about, missing=made.missing)


def _round(connection: Connection, number: int) -> tuple[rounds.Round, list[rounds.Pick]]:
    """Return a round and its training candidates, best first, or the reserved ones if it has no others."""
    row = rounds.find_round(connection, number)
    if row is None:
        last = rounds.next_round(connection) - 1
        raise AlctlError(
            f"there is no round {number}; " + (f"the last one is {last}" if last else "none was selected yet")
        )
    picks = rounds.picks(connection, number)
    return row, [pick for pick in picks if pick.why not in RESERVED] or picks


def embedding(project: Project, number: int, device: str, progress: Progress) -> Shown:
    """Draw a t-SNE of the embeddings of a round's picks, of what was labeled before it, and of some of the rest.

    The network is the one that chose the round, or the newest one where none did.
    """
    with project.reading() as connection:
        row, picks = _round(connection, number)
        state = required_state(connection, project.folder)
        run = None if row.run_id is None else training_runs.run_with(connection, row.run_id)
        picked = np.array([pick.item_id for pick in picks], dtype=np.int64)
        labeled = history.learned_before(connection, number)
        rest = history.rest(connection, [*labeled.tolist(), *picked.tolist()], MOST, row.seed, number)
    parts = {"rest": rest, "labeled": labeled, "picked": picked}
    parts = {kind: _some(ids, stream(row.seed, "show", kind, number)) for kind, ids in parts.items()}
    model = (
        trained_model.model_of(project, run, device) if run else trained_model.required_model(project, device)
    )
    ids = np.concatenate([parts[kind] for kind in KINDS])
    kinds = np.repeat(np.arange(len(KINDS)), [len(parts[kind]) for kind in KINDS])
    kept, vectors, missing = _embed(project, model, ids, state.root, progress)
    if len(vectors) < 5:
        raise AlctlError(f"{len(vectors)} images are too few for a picture of their embeddings")
    progress("arranging", 0, 1)
    places, parameters = arrange(vectors, row.seed)
    about = {
        "round": number, "strategy": row.strategy, "run": model.run.id, "arranged_by": "t-SNE",
        **parameters, "images": {kind: int((kinds[kept] == i).sum()) for i, kind in enumerate(KINDS)},
    }  # fmt: skip
    return Shown(number, _draw(places, kinds[kept], about), about, "embedding", missing)


def _some(ids: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return up to `MOST` random ones."""
    if len(ids) <= MOST:
        return ids
    return np.sort(np.random.default_rng(seed).choice(ids, MOST, replace=False))


def _embed(
    project: Project, model: Model, ids: NDArray[np.int64], root: str, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.float32], Mapping[int, str]]:
    """Return the positions of the images that can be decoded, their embeddings, and which are not there."""
    with project.reading() as connection:
        sources = [pool.source_of(root, item) for item in items.fetch(connection, ids)]
    kept, missing = np.arange(len(sources)), dict[int, str]()
    while True:
        some = [sources[i] for i in kept]
        try:
            found = model.candidates(project, some, progress).map(lambda prediction: prediction.embedding)
            return kept, found.float().cpu().numpy(), missing
        except BrokenImages as broken:
            out = broken.reasons
        except MissingImages as gone:
            allow_missing(gone.reasons, len(sources))
            out = missing = gone.reasons
        kept = np.array([i for i in kept if sources[i].id not in out], dtype=np.int64)


def arrange(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return a place in the plane for each of (N, D) vectors, (N, 2), and the exact parameters of t-SNE."""
    import sklearn
    from sklearn.manifold import TSNE

    parameters: dict[str, Any] = {
        "perplexity": min(30.0, (len(vectors) - 1) / 3), "early_exaggeration": 12.0, "learning_rate": "auto",
        "max_iter": 1000, "init": "pca", "metric": "euclidean", "method": "barnes_hut", "angle": 0.5,
        "random_state": seed % 2**32,
    }  # fmt: skip
    if np.ptp(vectors, axis=0).max(initial=0) == 0:
        raise AlctlError("all embeddings are the same; train longer before you look at them")
    places: NDArray[np.float32] = TSNE(n_components=2, **parameters).fit_transform(vectors)
    return places, parameters | {"scikit-learn": sklearn.__version__}


def _draw(places: NDArray[np.float32], kinds: NDArray[np.int64], about: Mapping[str, Any]) -> Image.Image:
    """Draw the three kinds over each other, the picks on top; an axis of t-SNE means nothing, so there is none."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), dpi=130, layout="constrained")
    axes: Any = figure.subplots()
    names = {"rest": "others of the pool", "labeled": "labeled before", "picked": "picked in this round"}
    for i, kind in enumerate(KINDS):
        some = places[kinds == i]
        axes.scatter(some[:, 0], some[:, 1], s=9 if kind != "picked" else 18, c=_COLOURS[kind], linewidths=0,
                     label=f"{names[kind]} ({len(some):,})", alpha=0.8)  # fmt: skip
    axes.set(
        xticks=[],
        yticks=[],
        title=f"round {about['round']}, {about['strategy']}: t-SNE of embeddings of run {about['run']}",
    )
    axes.legend(loc="best")
    axes.set_xlabel(
        f"perplexity {about['perplexity']:g}, init {about['init']}, {about['max_iter']} iterations, "
        f"seed {about['random_state']}",
        fontsize=8,
    )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def save(shown: Shown, file: Path) -> None:
    """Write the picture whole, or not at all; a PNG carries how it was made."""
    info = PngInfo()
    info.add_itxt("alctl", json.dumps(shown.about, allow_nan=False))
    try:
        with whole_file(file) as partial_file:
            shown.image.save(partial_file, pnginfo=info)
    except ValueError as error:
        raise AlctlError(f"{file} is no picture file; name one that ends in .png") from error
    except OSError as error:
        raise AlctlError(f"cannot write {file}: {error.strerror or error}") from error
