"""`alctl.toml`: what is taken, and that every mistake in it is named at once."""

import dataclasses

import pytest

from alctl.config import Config, SelectConfig, StorageConfig, TrainConfig, check_config, read_config
from alctl.errors import AlctlError


def written(tmp_path, text: str, encoding: str = "utf-8") -> Config:
    (tmp_path / "alctl.toml").write_bytes(text.encode(encoding))
    return read_config(tmp_path / "alctl.toml")


def problems(tmp_path, text: str) -> str:
    with pytest.raises(AlctlError) as error:
        written(tmp_path, text)
    assert str(tmp_path / "alctl.toml") in str(error.value)
    return str(error.value)


def test_an_empty_file_is_all_defaults(tmp_path):
    assert written(tmp_path, "") == written(tmp_path, "[train]\n[select]\n") == Config()


def test_what_is_set_is_taken_and_the_rest_stays(tmp_path):
    config = written(tmp_path, "[train]\nepochs = 3\nlr = 1\n[select]\nsubset = 0\n")
    assert config.train == dataclasses.replace(TrainConfig(), epochs=3, lr=1.0)
    assert isinstance(config.train.lr, float)
    assert config.select == SelectConfig(subset=0)


def test_a_byte_order_mark_of_an_editor_does_not_matter(tmp_path):
    assert written(tmp_path, "[train]\nepochs = 3\n", "utf-8-sig").train.epochs == 3


def test_every_bad_key_and_value_is_named_at_once(tmp_path):
    text = """
        [train]
        epoch = 5
        epochs = -1
        lr = "fast"
        momentum = 1.5
        rank_loss = "squared"
        [selct]
        [select]
        subset = -1
        [storage]
        cache_gb = -0.5
    """
    message = problems(tmp_path, text)
    for part in (
        "train.epoch:",
        "train.epochs:",
        "train.lr:",
        "train.momentum:",
        "train.rank_loss:",
        "selct:",
    ):
        assert f"  {part}" in message
    assert "  select.subset:" in message
    assert "  storage.cache_gb:" in message
    assert "hinge" in message


@pytest.mark.parametrize("setting", ["lr", "weight_decay", "loss_weight", "margin", "momentum", "grad_stop"])
def test_a_value_that_is_not_a_number_is_refused(tmp_path, setting):
    assert f"train.{setting}" in problems(tmp_path, f"[train]\n{setting} = nan\n")


@pytest.mark.parametrize(
    "text", ["[train\n", "epochs 3", "[train]\nepochs = 3\nepochs = 4\n", "\0", "[train]\nmodel = 'a\n"]
)
def test_a_file_that_is_no_toml_gives_a_sentence(tmp_path, text):
    assert "is not valid TOML" in problems(tmp_path, text)


def test_a_file_in_another_encoding_gives_a_sentence(tmp_path):
    (tmp_path / "alctl.toml").write_bytes("# Größe\n".encode("utf-16"))
    with pytest.raises(AlctlError, match="is not valid TOML"):
        read_config(tmp_path / "alctl.toml")


def test_a_section_that_is_no_table_is_named(tmp_path):
    assert "train:" in problems(tmp_path, "train = 3\n")


def test_every_setting_explains_itself_in_one_line():
    for section in (TrainConfig, SelectConfig, StorageConfig):
        for setting in dataclasses.fields(section):
            doc = setting.metadata["doc"]
            assert doc, setting.name
            assert "\n" not in doc


def test_the_defaults_are_the_papers():
    train = TrainConfig()
    assert (train.epochs, train.batch_size, train.lr, train.momentum) == (0, 128, 0.0, 0.9)
    assert (train.weight_decay, train.lr_drop, train.grad_stop) == (5e-4, 0.8, 0.6)
    assert (train.loss_weight, train.margin, train.rank_loss, train.pairing) == (1.0, 1.0, "hinge", "half")
    assert SelectConfig().subset == 10_000
    with pytest.raises(dataclasses.FrozenInstanceError):
        train.lr = 1  # type: ignore[misc]


def test_values_from_elsewhere_name_their_source():
    with pytest.raises(AlctlError, match=r"^the options has bad settings:\n  train\.epochs: "):
        check_config({"train": {"epochs": -1}}, "the options")


def test_a_task_s_own_defaults_hold_where_nobody_gave_a_setting(tmp_path):
    config = written(tmp_path, "[train]\nlr = 0.1\nepochs = 0\n")
    own = {"lr": 1e-4, "epochs": 125, "optimizer": "rmsprop", "batch_size": 6}
    found = config.train_for(own, {"batch_size": 16})
    assert (found.lr, found.epochs, found.optimizer, found.batch_size) == (0.1, 0, "rmsprop", 16)
    assert found.momentum == TrainConfig().momentum
    assert written(tmp_path, "").train_for({}, {}) == TrainConfig()
    with pytest.raises(AlctlError, match=r"the command line has bad settings:\n  train\.lr: "):
        config.train_for(own, {"lr": -1})
    assert "train.given" in problems(tmp_path, "[train]\ngiven = 1\n")
    assert "given:" in problems(tmp_path, "given = []\n")
