"""`ksim sweep`: a grid of configurations and seeds, from a sweep file."""

from __future__ import annotations

import click

from ksim.commands.files import check_free, unwritable
from ksim.commands.options import examples, force_option
from ksim.commands.presentation import refuse_beside


@click.command(
    short_help="Run a scenario over a grid of configurations and seeds.",
    epilog=examples("ksim sweep acks.toml --jobs 2", "ksim sweep acks.toml --csv rows.csv --force"),
)
@click.argument("file")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="How many runs at a time; the rows are the same.")
@click.option("--ledger", metavar="DB", help="Remember what is done, and go on there the next time.")
@click.option("--csv", "csv", metavar="OUT", help="Write one row per configuration and seed; - is standard output, instead of the summary.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per row, instead of the summary.")
@force_option
def command(file: str, jobs: int, ledger: str | None, csv: str | None, as_json: bool, force: bool) -> int:
    """Run a scenario over a grid of configurations and seeds, as the sweep file FILE says.

    0 when every row exists, whatever the verdicts.
    """
    import sys

    from ksim.sweeps import sweep_file

    to_stdout = csv == "-"
    if to_stdout:
        refuse_beside("--csv -", {"--json": as_json})
    check_free(None if to_stdout else csv, force=force)
    table = sweep_file(file, jobs=jobs, ledger=ledger, progress=sys.stderr.isatty())
    if to_stdout:
        table.to_csv(sys.stdout)
        return 0
    if csv is not None:
        try:
            table.to_csv(csv)
        except OSError as error:
            raise unwritable(csv, error) from None
    if as_json:
        for line in table.json_lines():
            click.echo(line)
    else:
        click.echo(table.summary())
    return 0
