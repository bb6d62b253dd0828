"""Where the images of a round went."""

from alctl.database import handouts
from alctl.database.connection import writing
from tests.pools import NOW, pool, send

LATER = "2026-02-02T00:00:00Z"


def test_a_round_is_recorded_once_at_each_place(url):
    with pool(url, 3) as engine, writing(engine) as connection:
        number = send(connection, [1, 2])
        first = handouts.add(connection, round_id=number, tool="csv", place="/a", now=NOW)
        other = handouts.add(connection, round_id=number, tool="csv", place="/b", now=NOW)
        again = handouts.add(connection, round_id=number, tool="csv", place="/a", now=LATER)
        found = handouts.find(connection, round_id=number, tool="csv")
    assert (first, other, again) == (1, 2, 1)
    assert [(row.id, row.place, row.created_at) for row in found] == [(1, "/a", NOW), (2, "/b", NOW)]


def test_hand_outs_are_found_by_round_and_by_tool(url):
    with pool(url, 3) as engine, writing(engine) as connection:
        rounds = [send(connection, [1]), send(connection, [2])]
        for number in rounds:
            for tool in ("csv", "label-studio"):
                handouts.add(connection, round_id=number, tool=tool, place="there", now=NOW)
        of_round = handouts.find(connection, round_id=2)
        of_tool = handouts.find(connection, tool="csv")
        every = handouts.find(connection)
    assert [(row.round_id, row.tool) for row in of_round] == [(2, "csv"), (2, "label-studio")]
    assert [row.round_id for row in of_tool] == [1, 2]
    assert len(every) == 4


def test_a_cursor_moves_one_hand_out_only(url):
    with pool(url, 3) as engine, writing(engine) as connection:
        number = send(connection, [1])
        first = handouts.add(connection, round_id=number, tool="label-studio", place="a", now=NOW)
        handouts.add(connection, round_id=number, tool="label-studio", place="b", now=NOW)
        handouts.set_cursor(connection, first, LATER)
        found = handouts.find(connection, round_id=number)
    assert [row.cursor for row in found] == [LATER, None]
