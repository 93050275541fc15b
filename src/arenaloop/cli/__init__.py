"""The `arenaloop` command: thin verbs, each importing only what it needs, and the exit codes that scripts rely on.

0 done · 1 a bug · 2 refused before the first call · 3 finished, some battles undecided · 4 stopped early and
resumable · 130 interrupted, resumable.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from arenaloop.cli.adopt import adopt
from arenaloop.cli.agree import agree
from arenaloop.cli.annotate import annotate
from arenaloop.cli.audit import audit
from arenaloop.cli.battle import battle
from arenaloop.cli.clean import clean
from arenaloop.cli.export import export
from arenaloop.cli.merge import merge
from arenaloop.cli.options import add_verb
from arenaloop.cli.rank import rank
from arenaloop.cli.recover import recover
from arenaloop.cli.rejudge import rejudge
from arenaloop.cli.report import report
from arenaloop.cli.reward_server import reward_server
from arenaloop.cli.run import demo, run
from arenaloop.cli.sample import sample
from arenaloop.cli.sandbox import sandbox_app
from arenaloop.cli.self_instruct import self_instruct
from arenaloop.cli.show import show
from arenaloop.cli.signals import ending_like_interrupt, told_to_end
from arenaloop.cli.testset import testset
from arenaloop.cli.trace import trace
from arenaloop.cli.train import train
from arenaloop.cli.watch import watch
from arenaloop.cli.winrate import winrate
from arenaloop.errors import ArenaloopError
from arenaloop.models.secrets import without_secrets
from arenaloop.terminal import plain

__all__ = ["app", "main"]

_BEGIN = """\
arenaloop improves chat models with simulated battles instead of human labels.

Begin with one of these:

  arenaloop demo
      watch a tiny model learn from lost battles: no GPU, no key, no download
  arenaloop battle --model a=file:a.json --model b=file:b.json \\
      --prompts prompts.jsonl --judge openai:gpt-4o --out runs/ab --dry-run
      compare answers that you have; with --dry-run, first what that costs
  arenaloop rank runs/ab
      the leaderboard of a run, or of any file of battles, votes or judgments
  arenaloop report runs/ab
      one HTML page: ratings and their worth, judge health, all battles
  arenaloop run recipe.yaml
      train a model from what it lost (examples/ has recipes)

arenaloop --help lists all verbs; arenaloop VERB --help shows one in full.
"""
"""What stands in a terminal where nothing was asked for."""

# typer may carry a click of its own: its classes are reached through the one that it exports
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="arenaloop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("arenaloop"))
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Improve chat models with simulated battles instead of human labels.

    Models answer prompts, an AI judge decides each pair from both seats, Bradley–Terry ratings with honest intervals
    say who is better, and what the target lost becomes the data that it is trained on next.

    Start here (no GPU, no key, no download):

        arenaloop demo

    Compare answers that you already have:

        arenaloop battle --model a=file:a.json --model b=file:b.json --prompts prompts.jsonl --judge openai:gpt-4o
    """


app.command()(demo)
add_verb(app, run)
app.command()(adopt)
add_verb(app, battle)
app.command()(rank)
app.command()(winrate)
app.command()(agree)
add_verb(app, audit)
add_verb(app, annotate)
add_verb(app, clean)
add_verb(app, train)
add_verb(app, sample)
add_verb(app, reward_server)
add_verb(app, self_instruct)
add_verb(app, rejudge)
add_verb(app, testset)
app.command()(export)
app.command()(report)
app.command()(watch)
app.command()(trace)
app.command()(show)
app.command()(merge)
app.command()(recover)
app.add_typer(sandbox_app, name="sandbox")


def main() -> None:
    """Entry point: run a verb, print errors as one line, and exit with the code that the contract names."""
    if len(sys.argv) == 1:
        typer.echo(_BEGIN, nl=False, err=True)
        sys.exit(2)
    try:
        with ending_like_interrupt():
            code = app(standalone_mode=False)
        if code == 130:  # so typer says that it was interrupted
            raise KeyboardInterrupt
    except ArenaloopError as error:
        _complain(str(error))
        code = error.exit_code
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message(), err=True)
        else:
            _complain(error.format_message(), f"{context.command_path}: " if context else "arenaloop: ")
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        together = sys.modules.get("arenaloop.train.processes")
        ended = "interrupted"
        if together is not None and together.wanted() > 1 and told_to_end():
            ended = "ended by the launcher: another process of this training is gone, or all were told to end"
        _complain(f"{ended}; the same command resumes")
        code = 130
    except SystemExit as stopped:  # typer's own end when the reader of our output has gone (`| head`): not our failure
        code = 0 if isinstance(stopped.__context__, BrokenPipeError) else stopped.code
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, where: str = "arenaloop: ") -> None:
    together = sys.modules.get("arenaloop.train.processes")
    if together is not None and not together.first_to_fail():
        return  # of several processes that train together one says why all of them stop
    print(where + plain(without_secrets(" ".join(message.split()))), file=sys.stderr)
