"""`alctl.toml` as frozen dataclasses: every hyper-parameter, its default and where the default comes from.

A field's ``doc`` is the help text of its command-line option and its comment in a new project's `alctl.toml`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from alctl.errors import AlctlError

Count = Annotated[int, Ge(1)]
Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
GuardRule = Literal["below", "above"]
"""Predicted losses choose unless their ranking is below margin's, or only if it is above."""
Width = Annotated[int, Interval(ge=1, le=4096)]
"""Bounded, as are the other sizes, so that a damaged file cannot ask for more memory than there is."""

STRICT = {"extra": "forbid", "allow_inf_nan": False}


def option(default: Any, doc: str) -> Any:
    """Return a dataclass field with its one-line explanation."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How the target model and the loss prediction module are trained; defaults are the paper's for CIFAR-10."""

    __pydantic_config__ = STRICT

    task: str = option(
        "",
        "what learns, such as a plugin for the project's kind of labels; empty: the one named like the labels",
    )
    head: Literal["network", "probe"] = option(
        "network",
        "network: the target model with its loss prediction module; "
        "probe: a linear classifier on the frozen embeddings of `alctl embed`, fitted in seconds",
    )
    head_l2: Annotated[float, Ge(1e-6)] | Literal["cv"] = option(
        1e-4, "L2 penalty of the probe; cv: chosen by cross-validation"
    )
    model: str = option(
        "auto",
        "resnet18-cifar, or any torchvision classification model; for boxes ssd-tiny, ssd300_vgg16 and others; auto: by "
        "images and device",
    )
    weights: str = option(
        "auto", "pretrained, none, or a .safetensors/.pt file; auto: pretrained if it can be had"
    )
    taps: str = option(
        "",
        "layers the loss prediction module reads, comma separated; <layer: what goes into one; empty: last of each stage",
    )
    width: Width = option(64, "channels of resnet18-cifar's first stage; 64 is the paper's network")
    image_size: Annotated[int, Interval(ge=0, le=4096)] = option(
        0, "side of the network's input in pixels; 0: the images' own up to 64, else 224"
    )
    image_height: Annotated[int, Interval(ge=0, le=4096)] = option(
        0,
        "height of the network's input, where it is not as high as it is wide; image-size is the width then",
    )
    start: Literal["cold", "warm"] = option(
        "cold",
        "cold: from the initial weights each time; warm: from the last training run's, as the paper words it",
    )
    epochs: Annotated[int, Ge(0)] = option(
        0,
        "passes over the labeled images; 0: 200, or 30 from weights that were learned before, and more with few images",
    )
    batch_size: Annotated[int, Ge(2)] = option(128, "images per step; the ranking loss compares two")
    optimizer: Literal["sgd", "rmsprop", "adamw"] = option("sgd", "sgd (the paper), rmsprop or adamw")
    lr: NotNegative = option(
        0.0,
        "learning rate; 0: a tenth of the optimizer's usual one from weights that were learned before, else that one, "
        "0.1 with sgd and 0.001 with the others",
    )
    momentum: Share = option(0.9, "momentum of sgd and rmsprop, β₁ of adamw")
    weight_decay: NotNegative = option(5e-4, "weight decay")
    schedule: Literal["step", "poly", "cosine"] = option(
        "step",
        "step: a tenth of the learning rate from lr-drop on; poly: (1 - share done)^power; cosine: half a wave",
    )
    lr_drop: Share = option(
        0.8, "share of the epochs after which the learning rate is divided by 10, with step"
    )
    power: NotNegative = option(0.9, "how the learning rate falls with poly")
    loss_weight: NotNegative = option(
        1.0, "λ: weight of the ranking loss; 0 trains without the loss prediction module"
    )
    margin: NotNegative = option(1.0, "ξ: margin of the ranking loss")
    grad_stop: Share = option(
        0.6, "share of the epochs after which the ranking loss stops reaching the target model"
    )
    rank_loss: Literal["hinge", "mse", "bce", "kl"] = option(
        "hinge", "hinge (the paper), mse, bce (learning loss v2) or kl (LearningLoss++)"
    )
    pairing: Literal["half", "flip", "all"] = option(
        "half", "pairs within a batch: half (i, i+B/2), flip (i, B-1-i) or all"
    )
    module: Literal["shallow", "deeper"] = option(
        "shallow", "loss prediction module: shallow (the paper), or deeper, with a convolution for each tap"
    )
    embedding: Annotated[int, Interval(ge=1, le=65536)] = option(128, "width of the loss prediction module")
    dropout: Annotated[float, Interval(ge=0, lt=1)] = option(
        0.0,
        "share of the last layer's inputs that training leaves out at random; bald and mc-dropout need some, such as 0.2",
    )
    flip: bool | Literal["auto"] = option(
        "auto", "also train on mirror images; auto: unless all classes are single characters, such as digits"
    )
    report_model: bool = option(
        default=False,
        doc="also train the same model without the loss prediction module, and report its metrics",
    )
    precision: Literal["auto", "fp32", "bf16"] = option("auto", "fp32 or bf16; auto: bf16 on CUDA, else fp32")
    device: str = option("auto", "cpu, cuda, cuda:1 or mps; auto: the best there is")
    checkpoint_every: Count = option(5, "epochs between checkpoints; a killed run goes on from the last one")

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the images that the cache holds."""
        return self.image_height or self.image_size, self.image_size

    @property
    def tap_names(self) -> list[str]:
        """The layers that `taps` names."""
        return [name.strip() for name in self.taps.split(",") if name.strip()]


@dataclass(frozen=True, slots=True)
class SelectConfig:
    """How images are chosen for annotation."""

    __pydantic_config__ = STRICT

    strategy: str = option(
        "auto",
        "the query strategy, once a model is trained; auto: uherding after a probe, learning-loss after a network",
    )
    first: str = option(
        "auto",
        "the query strategy before anything is trained; auto: uherding where embeddings are at hand, else random",
    )
    subset: Annotated[int, Ge(0)] = option(
        10_000, "random unlabeled images that are scored; 0: the whole pool"
    )
    guard: GuardRule | bool = option(
        default="below",
        doc="choose by `fallback` while predicted losses rank the validation images below margin; "
        "above: unless they rank them above it; false: never",
    )
    duplicates: Share | Literal["auto"] = option(
        "auto",
        "cosine of embeddings from which two images are near-duplicates, of which one is chosen at most; 0: never; "
        "auto: 0.92 with efficientnet-lite0, else as `alctl embed` measured",
    )
    fallback: str = option(
        "auto",
        "the query strategy of a round that the guard does not leave to predicted losses; "
        "auto: uherding where embeddings are at hand, else margin, or random with fewer than 20 labeled validation images",
    )
    control: Share = option(
        0.0, "share of a round that is random, to compare the strategy with; such a round is exported blind"
    )


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """What is kept on disk."""

    __pydantic_config__ = STRICT

    database: str = option(
        "",
        "PostgreSQL URL of the state, without its password, or a file that holds the URL; "
        "empty: SQLite in the project folder",
    )
    cache: str = option(
        "", "folder of decoded, resized images, relative to the project; empty: cache in the project folder"
    )
    cache_gb: NotNegative = option(
        20.0, "most disk space for decoded, resized images; they are made again when needed"
    )


@dataclass(frozen=True, slots=True)
class Sections:
    """The whole of `alctl.toml`."""

    __pydantic_config__ = STRICT

    train: TrainConfig = TrainConfig()
    select: SelectConfig = SelectConfig()
    storage: StorageConfig = StorageConfig()


@dataclass(frozen=True, slots=True)
class Config(Sections):
    """`alctl.toml`, and which of its settings somebody gave."""

    given: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of the training settings that the file gives: a task has defaults of its own for the others."""

    def train_for(self, defaults: Mapping[str, Any], over: Mapping[str, object]) -> TrainConfig:
        """Return whole training settings: a task's ``defaults``, over them the file's, over these those of ``over``."""
        own = {name: getattr(self.train, name) for name in self.given}
        return check_config({"train": {**defaults, **own, **over}}, "the command line").train


def read_config(path: Path) -> Config:
    """Read `alctl.toml`; one AlctlError names every bad key and value at once."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AlctlError(f"{path} is not valid TOML: {error}") from error
    return check_config(values, str(path))


def check_config(values: dict[str, Any], source: str) -> Config:
    """Turn nested values into a Config; ``source`` names where they came from in the error."""
    if all(values[name] == {} for name in values) and values.keys() <= {f.name for f in fields(Sections)}:
        return Config()  # as in a new project's file; every command is quicker without pydantic's schema

    from pydantic import TypeAdapter, ValidationError

    try:
        found = TypeAdapter(Sections).validate_python(values)
    except ValidationError as error:
        problems = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise AlctlError(f"{source} has bad settings:", *problems) from error
    return Config(found.train, found.select, found.storage, frozenset(values.get("train", ())))
