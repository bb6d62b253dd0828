"""What is learned from: labels that teach nothing are left out and told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation
from alctl.model.tasks.classification import Classification
from alctl.model.tensors import Size, Target
from alctl.rounds.train_plan import training_settings
from alctl.rounds.training_set import headline, labeled
from tests.fakes import classifier
from tests.project_files import small_project, take, write_csv


@dataclass(frozen=True)
class Choosy(Classification):
    """Learns nothing from owls, and wants to know how large they are."""

    def encode_target(self, annotations: Sequence[Annotation], size: Size) -> Target | str:
        if annotations[0].category == "owl":
            return f"an owl of {size[0]} × {size[1]} pixels"
        return super().encode_target(annotations, size)


def test_labels_that_teach_nothing_are_left_out_with_the_reason(tmp_path):
    project = small_project(tmp_path, 6, classes=("cat", "owl"))
    take(project, write_csv(tmp_path / "l.csv", [(i, "owl" if i % 3 == 0 else "cat") for i in range(1, 7)]))
    with project.reading() as connection:
        some = labeled(connection, "", classifier(Choosy, ("cat", "owl")), "pool")
        every = labeled(connection, "", classifier(names=("cat", "owl")), "pool")
        assert headline(connection, "classification") == "accuracy"
        assert not headline(connection, "pose")
    assert [source.id for source in some.sources] == [1, 2, 4, 5]
    assert some.idle == {3: "an owl of 8 × 8 pixels", 6: "an owl of 8 × 8 pixels"}
    assert some.targets["class"].tolist() == [0] * 4
    assert [answer for _, _, answer in every.plain] == every.targets["class"].tolist() == [0, 0, 1, 0, 0, 1]
    rest = every.without([1, 3])
    assert [source.id for source in rest.sources] == [2, 4, 5, 6]
    assert rest.targets["class"].tolist() == rest.answers == [0, 0, 0, 1]


def test_a_task_is_asked_for_by_name_and_must_learn_from_the_project_s_labels(tmp_path):
    project = small_project(tmp_path)
    found = training_settings(project, {"task": "classification", "lr": 0.5})
    assert (found.task, found.lr, found.epochs) == ("classification", 0.5, 0)
    assert training_settings(project, {}) == project.config.train
    with pytest.raises(AlctlError, match="there is no model for my-own yet"):
        training_settings(project, {"task": "my-own"})
