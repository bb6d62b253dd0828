"""A new round, from the choice of its images to the files that annotators get: what `alctl select` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alctl.annotators import handout
from alctl.annotators.handout_files import Images
from alctl.errors import AlctlError
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.select import Selected, check_strategies, select
from alctl.rounds.select_options import SelectOptions


@dataclass(frozen=True)
class HandOut:
    """What annotators get of a round."""

    images: Images = "link"
    to: Path | None = None
    """None: the round's own folder in the project."""
    formats: str = ""
    """Names of formats with commas between."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the one format that is given."""
    predictions: bool = False
    """Whether annotators correct what the current model says."""


@dataclass(frozen=True)
class NewRound:
    """A round that was selected and handed out."""

    selected: Selected
    folder: Path | None
    """None after a dry run, or where nothing was left to select."""
    formats: Sequence[str]
    task: str


def new_round(
    project: Project, options: SelectOptions, out: HandOut, progress: Progress, *, relabel: bool = False
) -> NewRound:
    """Select a round, record it and export it; with ``relabel`` one of labeled images for a second look."""
    if relabel and out.predictions:
        raise AlctlError(
            "--predictions would tell annotators what the model learned from the labels in doubt"
        )
    check_strategies(options)
    formats = handout.formats_of(project, out.formats, out.options)
    if out.predictions:
        from alctl.rounds.trained_model import required_model

        required_model(project, options.device)  # better missed now than after the selection
    selected, folder = _select(project, options, progress, relabel=relabel), None
    if selected.picks and not options.dry_run:
        if out.predictions:
            from alctl.rounds.pre_annotate import predict_round

            predict_round(project, selected.round, options.device, progress)
        folder = handout.export(
            project, selected.round, progress, images=out.images, target=out.to, formats=formats
        )
    return NewRound(selected, folder, formats, project.state().task)


def _select(project: Project, options: SelectOptions, progress: Progress, *, relabel: bool) -> Selected:
    if not relabel:
        return select(project, options, progress)
    from alctl.rounds import second_look  # a model says what surprises it

    return second_look.select(project, options, progress)
