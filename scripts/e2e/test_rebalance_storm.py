"""A short rebalance storm: `scripts/rebalance-storm` lasts five minutes and has fifty members."""

from lab import group_storm


def test_groups_miss_no_record_in_a_storm_of_members_and_kills(binary, tmp_path, capsys):
    arguments = group_storm.parse_arguments([
        "--minutes", "0.3", "--members", "9", "--java", "0", "--kills", "1", "--rate", "200",
        "--seed", "1", "--binary", str(binary), "--home", str(tmp_path / "storm")])
    assert group_storm.blow(arguments), capsys.readouterr().out


def test_the_judge_finds_what_is_missed_and_what_comes_twice(tmp_path):
    def life(name, *lines, troubles=()):
        notes = tmp_path / name
        notes.write_text("".join(line + "\n" for line in lines))
        return group_storm.Life(name, notes, list(troubles))

    written = {0: set(range(10))}
    calm = [life("a", "10.0 0 0 4", "10.1 committed 0 5"), life("b", "20.0 0 5 9")]
    assert group_storm.judge(calm, written, []).is_good
    assert group_storm.judge(calm[:1], written, []).missed == [(0, each) for each in range(5, 10)]
    again = [life("c", "10.0 0 0 9"), life("d", "20.0 0 8 9")]
    assert len(group_storm.judge(again, written, []).unexplained) == 2
    assert group_storm.judge(again, written, [(15.0, 16.0)]).is_good, "the broker was killed"
    dead = [life("e", "10.0 0 0 9", troubles=[(12.0, 12.1)]), life("f", "20.0 0 8 9")]
    assert group_storm.judge(dead, written, []).twice == 2
    assert group_storm.judge(dead, written, []).is_good
    broken = [life("g", "10.0 0 0 9", "10.1 committed 0 10", troubles=[(12.0, 12.1)]), dead[1]]
    assert len(group_storm.judge(broken, written, []).unexplained) == 2, "it was committed"
    away = [broken[0], life("h", "20.0 0 8 9", "20.1 lost", troubles=[(8.0, 26.0)])]
    assert group_storm.judge(away, written, []).is_good, "it had them before it was paused"
