"""The command line: every command, every option, every exit code; and no traceback, whatever is typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ksim
from ksim.cli import SUMMARY, cli
from ksim.scenario import names

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
format = 1
title = "Small"
kafka = "4.3"
seed = 7
[topics.payments]
config.min.insync.replicas = 2
[producers.p1]
config.acks = "all"
config.enable.idempotence = false
[[workload]]
topic = "payments"
records = 10
every = "5ms"
"""
LOST = """
[[fault]]
when = { request = "Produce", nth = 2 }
do = "lose-response"
"""
NEVER = """
[[fault]]
when = { request = "Produce", nth = 999 }
do = "lose-response"
"""
SWEEP = """
scenario = "small.toml"
seeds = "0..1"
metrics = ["lost", "duplicated"]
[sweep]
producers.p1.config.enable.idempotence = [false, true]
"""
PRODUCER = "bootstrap.servers=localhost:9092\nacks=all\nretries=3\nenable.idempotence=true\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a folder of its own, with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "lost.toml").write_text(SMALL + LOST)
    (tmp_path / "never.toml").write_text(SMALL + NEVER)
    (tmp_path / "acks.toml").write_text(SWEEP)
    (tmp_path / "producer.properties").write_text(PRODUCER)
    return tmp_path


def call(*words: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, list(words), input=stdin)
    assert "Traceback" not in result.output
    return result


def call_json(*words: str) -> Any:
    return json.loads(call(*words, "--json").stdout)


# Help, names, the way in.


NEEDS_KAFKA = ("replay", "compare")


def examples() -> list[Any]:
    found = []
    for name in SUMMARY:
        epilog = import_module(f"ksim.commands.{name}").command.epilog
        marks = [pytest.mark.live, pytest.mark.slow] if name in NEEDS_KAFKA else []
        found += [pytest.param(line.strip(), id=line.strip(), marks=marks) for line in epilog.splitlines() if line.strip().startswith("ksim ")]
    return found


@pytest.mark.parametrize("line", examples())
def test_every_example_of_the_help_runs(line: str) -> None:
    for part in line.partition(" > ")[0].split("; "):
        words = part.split()[1:]
        result = call(*words)
        assert result.exit_code in (0, 1), result.output

    assert result.stdout


@pytest.mark.parametrize("name", SUMMARY)
def test_every_command_has_two_examples_and_one_line_that_the_list_of_commands_repeats(name: str) -> None:
    command = import_module(f"ksim.commands.{name}").command
    helped = call(name, "--help")

    assert helped.exit_code == 0
    assert len(re.findall(r"^ +ksim ", helped.stdout, re.MULTILINE)) == 2
    assert command.get_short_help_str(100) == SUMMARY[name]


def test_the_list_of_commands_is_that_of_the_modules() -> None:
    folder = Path(import_module("ksim.commands").__file__ or "").parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "options", "files", "presentation", "live_options", "columns", "config_difference"}

    assert modules == {*SUMMARY}


def test_ksim_alone_shows_its_help() -> None:
    alone = call()

    assert alone.exit_code == 2
    assert "Commands:" in alone.stderr


def test_the_version_is_told() -> None:
    assert ksim.__version__ in call("--version").stdout


@pytest.mark.parametrize(("typed", "meant"), [("rnu", "run"), ("scenario", "scenarios"), ("explian", "explain"), ("confg", "config")])
def test_a_command_that_does_not_exist_is_told_the_nearest(typed: str, meant: str) -> None:
    result = call(typed)

    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.stderr


@pytest.mark.parametrize("name", ["replay", "compare"])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "Missing option '--cluster'"),
        (("--cluster", "kraft:7.1"), "7.1"),
        (("--cluster", "nowhere"), "Possible: HOST:PORT, kraft, or kraft:VERSION"),
        (("--cluster", "localhost:99999"), "Possible: HOST:PORT, kraft, or kraft:VERSION"),
        (("--cluster", "kraft", "--hooks", "hooks.toml"), "ksim crashes its own brokers itself"),
        (("--cluster", "127.0.0.1:1", "--hooks", "absent.toml"), "absent.toml: the hooks cannot be read"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_anything_is_started(name: str, words: tuple[str, ...], complaint: str) -> None:
    result = call(name, "lost-ack", *words)

    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_built_in_name_that_does_not_exist_is_told_the_nearest() -> None:
    result = call("run", "lost-akc")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Did you mean lost-ack?" in result.stderr


# run


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["small.toml"], 0, id="held"),
        pytest.param(["lost.toml"], 1, id="violated"),
        pytest.param(["never.toml"], 4, id="inconclusive"),
        pytest.param(["lost-ack", "-X", "enable.idempotence=true"], 1, id="not as expected"),
        pytest.param(["lost-ack"], 0, id="as expected"),
        pytest.param(["small.toml", "--seeds", "0..2"], 0, id="seeds, all held"),
        pytest.param(["never.toml", "--seeds", "0..2"], 4, id="seeds, all inconclusive"),
        pytest.param(["lost.toml", "--seeds", "0..2"], 1, id="seeds, violated"),
        pytest.param(["nowhere.toml"], 2, id="no file"),
        pytest.param(["small.toml", "-X", "acks=2"], 2, id="no such acks"),
        pytest.param(["small.toml", "-X", "acks"], 2, id="no value"),
        pytest.param(["small.toml", "--seed", "-1"], 2, id="no such seed"),
        pytest.param(["small.toml", "--seeds", "3..1"], 2, id="seeds the wrong way round"),
        pytest.param(["small.toml", "--seeds", "1"], 2, id="one seed"),
        pytest.param(["small.toml", "--seeds", "0..1", "--seed", "1"], 2, id="seed and seeds"),
        pytest.param(["small.toml", "--seeds", "0..1", "--history", "h.jsonl"], 2, id="seeds and history"),
        pytest.param(["small.toml", "--kafka", "1.0"], 2, id="no such release"),
        pytest.param(["small.toml", "--client", "librdkafka"], 0, id="another client"),
        pytest.param(["small.toml", "--client", "librdkafka", "-X", "queuing.strategy=lifo"], 2, id="a setting that is not simulated"),
        pytest.param(["small.toml", "--producer.config", "nowhere.properties"], 2, id="no such properties"),
        pytest.param(["small.toml", "--nonsense"], 2, id="no such option"),
        pytest.param(["small.toml", "small.toml"], 2, id="two files"),
        pytest.param([], 2, id="nothing"),
    ],
)
def test_run_ends_with_the_exit_code_of_the_contract(words: list[str], code: int) -> None:
    result = call("run", *words)

    assert result.exit_code == code, result.output
    assert bool(result.stderr) == (code == 2)


def test_run_prints_the_report_and_the_verdict_last() -> None:
    lines = call("run", "lost.toml").stdout.splitlines()

    assert lines[0] == "Small"
    assert lines[-1] == "verdict: violated"


def test_quiet_prints_the_verdict_alone() -> None:
    assert call("run", "lost.toml", "--quiet").stdout == "verdict: violated\n"


def test_json_is_one_object_and_with_seeds_one_per_line() -> None:
    one = call("run", "lost.toml", "--json").stdout
    many = call("run", "lost.toml", "--json", "--seeds", "3..5").stdout

    assert json.loads(one)["verdict"] == "violated"
    assert [json.loads(line)["seed"] for line in many.splitlines()] == [3, 4, 5]


def test_many_seeds_are_a_line_each_and_a_sum() -> None:
    lines = call("run", "lost.toml", "--seeds", "0..2").stdout.splitlines()

    assert [line.split()[1] for line in lines[1:4]] == ["0", "1", "2"]
    assert lines[-1] == "3 runs: 3 violated"


def test_the_seed_of_the_command_line_is_stronger_than_that_of_the_file() -> None:
    assert call_json("run", "small.toml", "--seed", "12")["seed"] == 12


def test_without_any_seed_nothing_runs(folder: Path) -> None:
    (folder / "seedless.toml").write_text(SMALL.replace("seed = 7\n", ""))

    assert call("run", "seedless.toml").exit_code == 2
    assert call("run", "seedless.toml", "--check-only").exit_code == 0
    assert call("run", "seedless.toml", "--seed", "1").exit_code == 0


def test_a_producers_own_file_runs_unchanged() -> None:
    """The example program of the handbook's page on producer failures."""
    result = call("run", "leader-crash", "--producer.config", "producer.properties")

    assert result.exit_code == 0, result.output
    assert "note: p1: bootstrap.servers" in result.stdout


def test_secrets_of_a_clients_file_are_never_written(folder: Path) -> None:
    (folder / "secret.properties").write_text(
        'acks=all\nsasl.jaas.config=org.example required password="WORD1";\nssl.keystore.password=WORD2\nssl.key.password=WORD3\nsecurity.protocol=SASL_SSL\n'
    )

    done = call("run", "small.toml", "--producer.config", "secret.properties", "--history", "run.jsonl", "--story", "-X", "sasl.password=WORD4")

    written = (folder / "run.jsonl").read_text()
    assert "WORD" not in written + done.output
    assert "sasl.jaas.config" in written


@pytest.mark.parametrize("option", ["--producer-props", "--command-property"])
def test_several_settings_may_follow_one_option(option: str) -> None:
    values = {line["name"]: line["value"] for line in call_json("config", "small.toml", option, "acks=1", "linger.ms=3", "--kafka", "3.9")["producers"]["p1"]}

    assert (values["acks"], values["linger.ms"]) == ("1", 3)


@pytest.mark.parametrize("option", ["--producer.config", "--command-config"])
def test_a_settings_file_has_both_of_kafkas_spellings(option: str) -> None:
    values = {line["name"]: line["value"] for line in call_json("config", "small.toml", option, "producer.properties")["producers"]["p1"]}

    assert (values["retries"], values["enable.idempotence"]) == (3, True)


def test_the_scenario_comes_from_standard_input_too() -> None:
    assert json.loads(call("run", "-", "--json", stdin=SMALL).stdout)["scenario"] == "Small"


def test_check_only_runs_nothing_and_says_so() -> None:
    assert call("run", "small.toml", "--check-only").stdout == "Small: no mistakes\n"
    assert call_json("run", "small.toml", "--check-only") == {"schema": 1, "error": None, "problems": []}
    assert call("run", "small.toml", "--check-only", "-X", "acks=5").exit_code == 2


def test_the_story_stands_before_the_report() -> None:
    lines = call("run", "lost.toml", "--story").stdout.splitlines()

    assert "ms  p1 is connected to broker-" in lines[1]
    assert lines.index("Small") > 10


# Files.


def test_a_history_is_written_and_judged_again(folder: Path) -> None:
    first = call_json("run", "lost.toml", "--history", "h.jsonl")
    again = call_json("judge", "h.jsonl")

    assert {**first, "wall_ms": None} == again
    assert call("judge", "h.jsonl").exit_code == 1
    assert json.loads(call("judge", "-", "--json", stdin=(folder / "h.jsonl").read_text()).stdout) == again


def test_the_judge_reads_what_the_author_predicted() -> None:
    call("run", "lost-ack", "--history", "h.jsonl")

    assert call("judge", "h.jsonl", "--quiet").stdout == "verdict: violated, as expected\n"
    assert call("judge", "h.jsonl").exit_code == 0


@pytest.mark.parametrize("option", ["--history", "--plot", "--metrics"])
def test_a_file_is_never_overwritten_unless_asked(option: str, folder: Path) -> None:
    name = "mine.csv" if option == "--metrics" else "mine.svg"
    (folder / name).write_text("precious")

    refused = call("run", "small.toml", option, name)

    assert refused.exit_code == 2
    assert f"{name} exists" in refused.stderr
    assert (folder / name).read_text() == "precious"


def test_with_force_it_is(folder: Path) -> None:
    (folder / "h.jsonl").write_text("precious")

    assert call("run", "small.toml", "--history", "h.jsonl", "--force").exit_code == 0
    assert (folder / "h.jsonl").read_text().startswith('{"fact":"run"')


@pytest.mark.parametrize("path", ["nowhere/h.jsonl", "."])
def test_a_place_that_cannot_be_written_is_a_usage_error(path: str) -> None:
    assert call("run", "small.toml", "--history", path, "--force").exit_code == 2


def test_a_timeline_is_drawn(folder: Path) -> None:
    pytest.importorskip("ksim.plots", reason="needs matplotlib")

    assert call("run", "lost.toml", "--plot", "out.svg").exit_code == 1
    assert "<svg" in (folder / "out.svg").read_text()


def test_metrics_are_written_as_csv_and_as_json_lines(folder: Path) -> None:
    assert call("run", "small.toml", "--metrics", "m.csv").exit_code == 0
    assert call("run", "small.toml", "--metrics", "m.jsonl", "--step", "500ms").exit_code == 0
    rows = (folder / "m.csv").read_text().splitlines()
    lines = [json.loads(line) for line in (folder / "m.jsonl").read_text().splitlines()]

    assert rows[:2] == ["at_ms,client,metric,node,topic,value", "0,p1,record-send-rate,,,0"]
    assert lines[0] == {"at_ms": 0, "client": "p1", "metric": "record-send-rate", "value": 0}
    assert {"0", "1000"} & {row.split(",")[0] for row in rows}
    assert {line["at_ms"] % 500 for line in lines if line["at_ms"] < max(line["at_ms"] for line in lines)} == {0}


def test_chosen_metrics_are_drawn(folder: Path) -> None:
    pytest.importorskip("ksim.plots", reason="needs matplotlib")

    assert call("run", "lost.toml", "--plot", "out.svg", "--of", "record-retry-rate", "--of", "buffer-available-bytes").exit_code == 1
    drawn = (folder / "out.svg").read_text()

    assert "<!-- record-retry-rate -->" in drawn
    assert "<!-- record-queue-time-max -->" not in drawn
    assert call("run", "lost.toml", "--plot", "all.svg", "--of", "overview", "--step", "100ms").exit_code == 1
    assert "<!-- record-queue-time-max -->" in (folder / "all.svg").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--of", "record-send-rate"], "needs --plot"),
        (["--plot", "a.svg", "--of", "record-sent-rate"], "Did you mean record-send-rate?"),
        (["--plot", "a.svg", "--of", "msg_cnt"], "msg_cnt has no series here"),
        (["--metrics", "m.xls"], ".csv or .jsonl"),
        (["--metrics", "m.csv", "--step", "1us"], "whole milliseconds"),
        (["--metrics", "m.csv", "--step", "soon"], "whole milliseconds"),
        (["--metrics", "m.csv", "--seeds", "0..3"], "--seeds does not go with --metrics"),
        (["--metrics", "nowhere/m.csv"], "there is no folder nowhere"),
    ],
)
def test_metrics_that_cannot_be_shown_are_a_usage_error(words: list[str], said: str) -> None:
    result = call("run", "small.toml", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.mark.parametrize("text", ["", "{}", "not json\n", '{"fact":"run","schema":1}\n{"fact":"nonsense","at":0}\n', '{"fact":"run","schema":99}\n', "\x00"])
def test_a_file_that_is_no_history_is_a_usage_error_with_its_place(text: str, folder: Path) -> None:
    (folder / "bad.jsonl").write_text(text)

    result = call("judge", "bad.jsonl")

    assert result.exit_code == 2
    assert result.stderr.startswith("bad.jsonl")


# The other commands.


def test_scenarios_lists_all_and_prints_one() -> None:
    listed = call("scenarios").stdout

    assert [line.split()[0] for line in listed.splitlines()] == [name for name, _ in names()]
    assert call("run", "-", "--quiet", stdin=call("scenarios", "lost-ack").stdout).stdout == call("run", "lost-ack", "--quiet").stdout
    assert call("scenarios", "lost-akc").exit_code == 2


def test_explain_tells_the_steps_with_their_rules() -> None:
    assert call("explain", "lost.toml").stdout.startswith("record ")
    assert call_json("explain", "lost.toml", "3")["record"] == "p1/3"
    assert call("explain", "lost.toml", "10").exit_code == 2
    assert call("explain", "lost.toml", "--seed", "3", "-X", "enable.idempotence=true").stdout.startswith("record 0: ok\n")


def test_config_tells_where_each_setting_came_from() -> None:
    lines = call("config", "small.toml", "-X", "linger.ms=20").stdout.splitlines()
    told = {line.split()[0]: re.split(r" {2,}", line.strip())[1:] for line in lines if line.startswith("  ")}

    assert told["linger.ms"] == ["20", "-X linger.ms=20"]
    assert told["acks"] == ["all", "small.toml:9"]
    assert told["batch.size"] == ["16384", "16 KiB", "default of 4.3"]
    assert [line for line in lines if line.startswith("  min.insync.replicas") and "small.toml:" in line]


def test_config_shows_what_was_written_before_the_defaults() -> None:
    lines = call("config", "small.toml", "-X", "linger.ms=20").stdout.splitlines()
    first = lines[1 : lines.index("")]

    assert lines[0] == "producer p1: Java client 4.3"
    assert len(first) < 10
    assert all("default of" not in line for line in first)


def test_what_can_only_be_left_at_its_default_is_told_in_few_lines() -> None:
    told = call("config", "small.toml").stdout

    (idle, *_) = re.findall(r"^  default of 4\.3, without effect here: [^\n]*\n(?:  [^\n]+\n)*", told, re.MULTILINE)
    assert "transaction.two.phase.commit.enable=false" in idle
    assert not re.search(r"^  transaction.two.phase.commit.enable ", told, re.MULTILINE)
    assert max(len(line) for line in told.splitlines() if not line.startswith("note: ")) <= 120


def test_config_takes_a_producers_own_file(folder: Path) -> None:
    (folder / "own.properties").write_text("linger.ms=7\n")

    assert re.search(r"linger.ms +7 +own.properties:1", call("config", "own.properties").stdout)
    assert "give it beside one, --producer.config FILE" in call("run", "own.properties").stderr


def test_config_tells_what_the_client_changed() -> None:
    """Before 4.0 idempotence was switched off without a word where acks was not all."""
    lines = {line["name"]: line for line in call_json("config", "--kafka", "3.9", "-X", "acks=1")["producers"]["p1"]}

    assert lines["enable.idempotence"]["value"] is False
    assert lines["enable.idempotence"]["origin"].startswith("forced by")


def test_config_tells_what_librdkafka_takes_and_refuses() -> None:
    told = call("config", "--client", "librdkafka", "-X", "message.timeout.ms=5s", "-X", "enable.idempotence=true").stdout

    assert re.search(r"delivery.timeout.ms +5000 +5 s +-X message.timeout.ms=5s", told)
    assert re.search(r"max.in.flight.requests.per.connection +5 +forced by enable.idempotence", told)
    assert call("config", "--client", "librdkafka", "-X", "buffer.memory=1").exit_code == 2


def test_a_setting_that_is_not_simulated_is_refused_by_name_and_its_scenario_is_none_the_worse() -> None:
    words = "small.toml", "--client", "librdkafka", "-X", "queuing.strategy=lifo"

    assert "queuing.strategy = lifo is not simulated: `ksim replay` runs the real client" in call("run", *words).stderr
    assert call("run", *words, "--check-only").exit_code == 0


def test_config_without_a_file_is_a_producer_with_the_defaults() -> None:
    told = call("config")

    assert told.exit_code == 0
    assert told.stdout.startswith("producer p1: Java client 4.3\n")
    assert "note:" not in told.stdout


def test_config_compares_two_releases() -> None:
    told = call("config", "--diff", "3.9", "4.3").stdout

    assert re.search(r"linger.ms +0 +5", told)
    assert not re.search(r"^ +batch.size ", told, re.MULTILINE)
    assert "(KAFKA-18019)" in told
    assert "the brokers behave" not in told
    assert call("config", "--diff", "4.3", "4.3").stdout == "nothing that ksim knows differs between 4.3 and 4.3\n"
    assert call("config", "--diff", "3.9", "4.3", "--kafka", "4.0").exit_code == 2
    (linger,) = (row for row in call_json("config", "--diff", "3.9", "4.3")["differing"] if row["name"] == "linger.ms")
    assert linger == {"name": "linger.ms", "values": ["0", "5"], "whose": "producer p1", "origins": ["default of 3.9", "default of 4.3"]}


def test_config_says_what_one_release_refuses() -> None:
    words = "config", "--diff", "3.9", "4.3", "-X", "max.in.flight.requests.per.connection=6"
    told = call(*words)

    assert told.exit_code == 0
    assert "only 4.3 refuses\n- -X max.in.flight.requests.per.connection=6: " in told.stdout
    assert [row["release"] for row in call_json(*words)["refused"]] == ["4.3"]
    assert call(*words, "-X", "acks=2").exit_code == 2


def test_sweep_prints_a_summary_or_its_rows(folder: Path) -> None:
    pytest.importorskip("ksim.sweeps")
    summary = call("sweep", "acks.toml")
    rows = call("sweep", "acks.toml", "--csv", "-").stdout.splitlines()

    assert summary.exit_code == 0, summary.output
    assert len(rows) == 5
    assert "duplicated" in rows[0]
    assert call("sweep", "acks.toml", "--csv", "rows.csv").exit_code == 0
    assert (folder / "rows.csv").read_text().splitlines() == rows
    assert call("sweep", "acks.toml", "--csv", "rows.csv").exit_code == 2


def test_schema_is_json() -> None:
    assert json.loads(call("schema").stdout)["title"] == "A ksim scenario"


def test_demo_shows_the_table_and_draws_the_picture_once(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    first = call("demo")
    drawn = (folder / "ksim-demo.svg").read_bytes()
    (folder / "ksim-demo.svg").write_text("precious")
    second = call("demo")
    kept = (folder / "ksim-demo.svg").read_text()
    third = call("demo", "--force")

    assert [first.exit_code, second.exit_code, third.exit_code] == [0, 0, 0]
    assert "exactly once" in first.stdout
    assert "left alone" in second.stdout
    assert kept == "precious"
    assert (folder / "ksim-demo.svg").read_bytes() == drawn


def test_demo_without_matplotlib_shows_the_table_and_says_how_to_get_the_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    told = call("demo")

    assert told.exit_code == 0
    assert "exactly once" in told.stdout
    assert "pip install 'ksim-kafka[plot]'" in told.stdout
    assert not (folder / "ksim-demo.svg").exists()


def test_the_commands_that_demo_names_give_what_it_shows() -> None:
    told = call_json("demo")["runs"]
    again = [call_json(*run["command"].split()[1:]) for run in told]

    assert [run["report"]["digest"] for run in told] == [run["digest"] for run in again]


# Mistakes.


def test_mistakes_are_told_all_at_once_with_file_line_given_possible_and_nearest(folder: Path) -> None:
    (folder / "bad.toml").write_text(SMALL.replace("config.acks", "config.ackz").replace('topic = "payments"', 'topic = "paymants"'))

    told = call_json("run", "bad.toml")

    assert (told["schema"], told["error"]) == (1, "usage")
    assert [list(problem) for problem in told["problems"]] == [["file", "line", "given", "possible", "nearest", "message"]] * 2
    assert [(problem["file"], problem["line"], problem["nearest"]) for problem in told["problems"]] == [("bad.toml", 9, "acks"), ("bad.toml", 12, "payments")]
    assert [line.split(":")[:2] for line in call("run", "bad.toml").stderr.splitlines()] == [["bad.toml", "9"], ["bad.toml", "12"]]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--json"],
        ["run", "x", "--seeds", "z", "--json"],
        ["replay", "x", "--json"],
        ["judge", "nowhere", "--json"],
        ["explain", "lost-ack", "p9/1", "--json"],
    ],
)
def test_with_json_a_mistake_is_json_on_standard_output(words: list[str]) -> None:
    result = call(*words)

    assert (result.exit_code, result.stderr) == (2, "")
    assert json.loads(result.stdout)["error"] == "usage"


@pytest.mark.parametrize(
    ("words", "given", "possible", "nearest"),
    [
        (["run", "x", "--seeds", "9..0"], "9..0", "FIRST..LAST", None),
        (["run", "x", "--seeds", "0..99999999999"], "0..99999999999", "10_000_000", None),
        (["run", "x", "--seed", "-1"], "-1", "from 0 to 2**64 - 1", None),
        (["run", "x", "--seed", "18446744073709551616"], "18446744073709551616", "from 0 to 2**64 - 1", None),
        (["run", "x", "-X", "acks"], "acks", "NAME=VALUE", None),
        (["run", "x", "--sedd", "3"], "ksim run x --sedd 3 --json", "run --help`", "--seed"),
        (["run", "x", "--plot", "run.xyz"], "ksim run x --plot run.xyz --json", "run --help`", None),
        (["rnu"], "rnu", "run, explain", "run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_words_says_what_was_given_what_is_possible_and_the_nearest(words: list[str], given: str, possible: str, nearest: str | None) -> None:
    (problem,) = call_json(*words)["problems"]

    assert problem["given"] == given
    assert possible in problem["possible"]
    assert problem["nearest"] == nearest
    assert problem["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("words", [[], ["--json"], ["--quiet"]], ids=["report", "json", "quiet"])
def test_a_full_disk_under_the_output_is_no_mistake_of_ours(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-m", "ksim", "run", "small.toml", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (2, "ksim: standard output cannot be written: No space left on device.\n")


def test_a_line_that_is_no_fact_is_shown(folder: Path) -> None:
    (folder / "h.jsonl").write_text('{"fact":"run","at":0,"schema":1}\n{"fact":"ackd","at":3}\n')
    (problem,) = call_json("judge", "h.jsonl")["problems"]

    assert (problem["file"], problem["line"], problem["given"]) == ("h.jsonl", 2, '{"fact":"ackd","at":3}')


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_run() -> None:
    """It ended with an internal error, or a.png was written beside a."""
    for name in ("run.xyz", "run"):
        result = call("run", "small.toml", "--plot", name)

        assert (result.exit_code, result.stdout) == (2, "")
        assert ".svg, .png or .pdf" in result.stderr


def test_a_mistake_of_ours_is_short_and_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise AssertionError("two and two is five")

    monkeypatch.setattr("ksim.simulation.Simulation.run", break_down)

    result = call("run", "small.toml")

    assert result.exit_code == 3
    assert "internal error, AssertionError: two and two is five" in result.stderr
    assert "KSIM_DEBUG=1" in result.stderr
    assert call_json("run", "small.toml")["error"] == "internal"


def test_with_ksim_debug_a_mistake_of_ours_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise AssertionError("two and two is five")

    monkeypatch.setattr("ksim.simulation.Simulation.run", break_down)
    monkeypatch.setenv("KSIM_DEBUG", "1")

    assert isinstance(CliRunner().invoke(cli, ["run", "small.toml"]).exception, AssertionError)


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ksim.simulation.Simulation.run", interrupt)

    result = call("run", "small.toml")

    assert result.exit_code == 130
    assert "interrupted" in result.stderr


# As a program.


def program(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, **more.pop("environment", {})}
    return subprocess.run([sys.executable, "-m", "ksim", *words], capture_output=True, text=True, check=False, env=environment, **more)


def test_the_program_is_as_its_commands_are() -> None:
    done = program("run", "lost.toml", "--quiet")

    assert (done.returncode, done.stdout, done.stderr) == (1, "verdict: violated\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_title_that_the_terminal_cannot_show_does_no_harm(encoding: str, folder: Path) -> None:
    (folder / "title.toml").write_text(SMALL.replace("Small", "Zürich → Genève"), encoding="utf-8")

    done = program("run", "title.toml", environment={"PYTHONIOENCODING": encoding})

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell with pipes as POSIX has them")
def test_a_reader_that_goes_away_is_no_reason_to_complain() -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")])
    ksim_run = f"{shlex.quote(sys.executable)} -m ksim run small.toml --json --seeds 0..300"
    done = subprocess.run(["sh", "-c", f"{ksim_run} | head -1 > first"], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths})

    assert done.stderr == ""
    assert json.loads(Path("first").read_text())["seed"] == 0


def test_the_digest_is_the_same_in_every_process() -> None:
    told = [json.loads(program("run", "lost.toml", "--json", environment={"PYTHONHASHSEED": seed}).stdout)["digest"] for seed in ("0", "1")]

    assert told[0] == told[1]


# The public names.


def test_the_public_names_are_loaded_when_asked_for() -> None:
    code = "import ksim, sys; assert 'ksim.simulation' not in sys.modules; print(*(callable(getattr(ksim, name)) for name in ksim.__all__ if name[0] != '_'))"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths})

    assert (done.returncode, {*done.stdout.split()}) == (0, {"True"}), done.stderr


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="rewind"):
        ksim.rewind  # noqa: B018
    assert {"Scenario", "simulate", "schema"} <= {*dir(ksim)}


def test_show_versions_names_every_library() -> None:
    told = dict(line.split(None, 1) for line in ksim.show_versions().splitlines())

    assert told["ksim"] == ksim.__version__
    assert told["simpy"].startswith("4.")


def test_both_releases_of_a_difference_are_checked_at_once() -> None:
    problems = call_json("config", "--diff", "9.9", "1.1")["problems"]

    assert [problem["file"] for problem in problems] == ["--diff", "--diff"]
