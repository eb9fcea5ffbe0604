"""What is late after routing is moved and routed again, and the best of all turns stays."""

import pytest

from weft.hw.silicon import route


@pytest.fixture
def turns(monkeypatch):
    """``run(folder, lengths)``: places and routes where the longest paths of the turns are these, in ns (more gain nothing);
    the netlists that were routed, and what the report is of."""
    def run(folder, lengths, changes=10):
        waiting, routed = list(lengths), []

        def run_tool(tool, arguments, where, log):
            assert tool == "nextpnr-ecp5" and where == folder
            if "--no-route" in arguments:
                (folder / arguments[arguments.index("--write") + 1]).write_text("placed")
                return
            text = (folder / arguments[arguments.index("--json") + 1]).read_text()
            routed.append(text)
            (folder / "report.json").write_text(text)
            if "--write" in arguments:
                (folder / arguments[arguments.index("--write") + 1]).write_text(text)
                (folder / arguments[arguments.index("--sdf") + 1]).write_text(text)

        def repair(source, delays, target, period_ns, tell):
            assert source.read_text() == delays.read_text() and period_ns == 10.0
            longest = waiting.pop(0)
            again = longest > period_ns and len(routed) <= changes
            if again:
                target.write_text(f"turn {len(routed)}")
            return longest, again

        monkeypatch.setattr(route, "run_tool", run_tool)
        monkeypatch.setattr(route, "refine", lambda source, target, target_ns, tell: target.write_text("refined"))
        monkeypatch.setattr(route, "repair", repair)
        route.place_and_route(folder, "netlist.json", ["--85k"], 100, 1, ["--report", "report.json"], "1")
        assert sorted(path.name for path in folder.iterdir()) == [
            "placed-1.json", "refined-1.json", "report.json", "routed-1.json"]
        assert (folder / "report.json").read_text() == (folder / "routed-1.json").read_text()
        return routed
    return run


def test_what_is_in_time_is_routed_once(turns, tmp_path):
    assert turns(tmp_path, [9.9]) == ["refined"]


def test_until_the_clock_is_reached(turns, tmp_path):
    assert turns(tmp_path, [10.5, 10.2, 10.0]) == ["refined", "turn 1", "turn 2"]


def test_the_best_turn_stays(turns, tmp_path):
    assert turns(tmp_path, [10.5, 10.1, 10.2, 10.3]) == ["refined", "turn 1", "turn 2", "turn 3", "turn 1"]


def test_nothing_left_to_move(turns, tmp_path):
    assert turns(tmp_path, [10.5, 10.1], changes=1) == ["refined", "turn 1"]
