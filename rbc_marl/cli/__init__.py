"""The command rbc-marl: reads what was typed, calls the package, prints where the results are and what to run next."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rbc_marl.cli.compare import compare
from rbc_marl.cli.dynamics import impulse, moments, scenario, transition
from rbc_marl.cli.equilibrium import best_response, verify
from rbc_marl.cli.evaluate import evaluate
from rbc_marl.cli.experiments import check, sweep, train
from rbc_marl.cli.options import app
from rbc_marl.cli.package import bench, presets, schema
from rbc_marl.cli.report import report
from rbc_marl.errors import UserError, first_line, shown

_MEASURE = (evaluate, compare, impulse, transition, scenario, moments)
COMMANDS = (train, *_MEASURE, report, check, presets, schema, sweep, best_response, verify, bench)
for command in COMMANDS:  # the order of --help
    app.command(command.__name__.replace("_", "-"))(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 2 an error that is explained in one line, 129, 130 or 143 interrupted.

    Args:
        arguments: What follows `rbc-marl`; None: from the command line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        status = app(given, prog_name="rbc-marl", standalone_mode=False)
    except UserError as error:
        if debug:
            raise
        status = _fail(str(error))
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        status = 141
    except OSError as error:  # of a file that nothing above it knows more of: a name too long, a disk that is gone
        if debug:
            raise
        file = f"{shown(str(error.filename))} " if error.filename else "a file "
        status = _fail(f"{file}cannot be used: {error.strerror or first_line(error)}; name another file")
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors have it, whichever click it brings
            if debug:
                raise
            status = _fail(f"{type(error).__name__}: {str(error).strip()}; run it again with --debug for the traceback")
        else:
            status = _fail(f"{error.format_message().rstrip('.')}; see rbc-marl --help")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"rbc-marl: {' '.join(message.split())}", file=sys.stderr)
    return 2
