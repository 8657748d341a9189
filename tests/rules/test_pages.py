"""Pages that are drawn from the code are current."""

from tools import states


def test_the_page_of_states_is_drawn_from_the_table_in_force() -> None:
    assert states.main(["--check"]) == 0
